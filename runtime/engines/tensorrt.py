"""TensorRT: plans of strongly typed models, timed on an NVIDIA GPU as `trtexec` times them.

`TensorRtRtx` is TensorRT for RTX, a library of its own with nearly the same interface: it builds without a GPU, so that
parsing, building and their errors can be tested anywhere. Its latencies are its own: it compiles kernels on the
machine that runs them, and knows no Hopper GPU.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

from nasc.compiler.manifest import Target
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Device, Environment
from nasc.runtime.engines.base import NotBuilt, Session, TimingOptions
from nasc.runtime.engines.cpu_timing import check_precision
from nasc.runtime.engines.onnxruntime_session import yardsticks
from nasc.runtime.engines.tensorrt_builder import PlanBuilder, message_log
from nasc.runtime.engines.tensorrt_cache import TimingCache, cache_file
from nasc.runtime.engines.tensorrt_cuda import CudaError, queries_of, this_gpu, why_no_gpu
from nasc.runtime.engines.tensorrt_timing import PROTOCOL_VERSION, Protocol, latency_row, sampled
from nasc.runtime.measurement import Measurement

PRECISIONS = ("fp32", "fp16", "bf16")
DEVICES = (None, "cuda", "cuda:0")
OLDEST = 10
"""The first version of TensorRT whose networks can be strongly typed throughout."""


@dataclass
class TensorRt:
    """The TensorRT engine. A subclass may name another library with TensorRT's interface."""

    options: TimingOptions = field(default_factory=TimingOptions)
    name: ClassVar[str] = "tensorrt"
    modules: ClassVar[tuple[str, ...]] = ("tensorrt",)
    packages: ClassVar[tuple[str, ...]] = ("tensorrt", "tensorrt_cu13", "tensorrt_cu12")
    extra: ClassVar[str] = "tensorrt"
    caches: ClassVar[bool] = True

    @cached_property
    def trt(self) -> Any:
        """The module of the library."""
        return import_module(next(name for name in self.modules if _is_there(name)))

    @cached_property
    def cudart(self) -> Any:
        """The module of the CUDA runtime."""
        return import_module("cuda.bindings.runtime")

    def missing(self) -> str | None:
        """None where models can be built on this machine as far as its packages go, else what to install."""
        if not any(map(_is_there, self.modules)):
            return f"the package `{self.packages[0]}` is not installed: `pip install 'nasc[{self.extra}]'`"
        if self.extra == "tensorrt" and int(self.version.split(".")[0]) < OLDEST:
            return f"TensorRT {self.version} is installed; {OLDEST} or newer is needed"
        return None

    def available(self) -> str | None:
        """None where the package and a GPU are there, else what is missing.

        The GPU is asked for through the CUDA runtime: TensorRT may end a process that has none.
        """
        return self.missing() or why_no_gpu()

    @cached_property
    def version(self) -> str:
        """The version of the library's package, or what the module says where it was not installed as a package."""
        for package in self.packages:
            with suppress(importlib.metadata.PackageNotFoundError):
                return importlib.metadata.version(package)
        return str(self.trt.__version__)

    @cached_property
    def device(self) -> Device:
        """The GPU. Raises `CudaError`."""
        return this_gpu(self.cudart)

    def environment(self, target: Target) -> Environment:
        """This machine's first visible GPU. Raises `NascError` for another device or an unknown precision."""
        return gpu_environment(self.name, self.version, target, lambda: self.device, self.options)

    @cached_property
    def builder(self) -> PlanBuilder:
        """The builder of this process, started on first use."""
        cache = TimingCache(cache_file(self.name, self.version, self.device.fingerprint)) if self.caches else None
        return PlanBuilder(self.trt, level=self.options.builder_level, cache=cache)

    def build(self, model: bytes, environment: Environment) -> bytes:
        """The plan of an ONNX model, which holds its precision and batch itself. Raises `NotBuilt`."""
        return self.builder.build(model)

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        """Time plans one after another: a GPU is not time-sliced as a CPU is, so there is no canary.

        Ends the process (`SystemExit`) after an error of the GPU: whatever it tried next would fail as well.
        """
        rows = tuple(self._row(plan, environment) for plan in models)
        return Session(rows, reference_us)

    def _row(self, plan: bytes, environment: Environment) -> Measurement:
        began = time.perf_counter()
        try:
            times = self._times(plan)
            precision = effective_precision(environment)
            seconds = time.perf_counter() - began
            return latency_row(
                times, precision, error=self.options.error, identity_us=self.identity_us, seconds=seconds
            )
        except NotBuilt as error:
            return Measurement.failure(error.status, str(error), time.perf_counter() - began)
        except CudaError as error:
            if error.name != "cudaErrorMemoryAllocation":
                raise SystemExit(f"this process cannot use the GPU any more: {error}") from error
            return Measurement.failure("out_of_memory", str(error), time.perf_counter() - began)

    def _times(self, plan: bytes) -> list[float]:
        protocol = Protocol(limit_ms=1000 * self.options.point_seconds)
        with queries_of(self.trt, self.cudart, self._log, plan, cuda_graph=self.options.cuda_graph) as queries:
            return sampled(queries, protocol)

    @cached_property
    def _log(self) -> Any:
        return message_log(self.trt)

    @cached_property
    def identity_us(self) -> float | None:
        """What an Identity alone takes, which is the launch; None where it cannot be measured."""
        try:
            times = self._times(self.builder.build(yardsticks()[1]))
        except NotBuilt:
            return None
        return latency_row(times, "fp32", error=self.options.error).median


@dataclass
class TensorRtRtx(TensorRt):
    """TensorRT for RTX, the same way. It has no use for a timing cache: it times no kernels when it builds."""

    name: ClassVar[str] = "tensorrt-rtx"
    modules: ClassVar[tuple[str, ...]] = ("tensorrt_rtx", "tensorrt_rtx_bindings")
    packages: ClassVar[tuple[str, ...]] = ("tensorrt_rtx_cu13_bindings", "tensorrt_rtx")
    extra: ClassVar[str] = "tensorrt-rtx"
    caches: ClassVar[bool] = False


def gpu_environment(
    name: str, version: str, target: Target, device: Callable[[], Device], options: TimingOptions
) -> Environment:
    """What a target's latencies on the first visible GPU are measured in.

    Raises `NascError` for another device or a precision that TensorRT does not measure.
    """
    if target.device not in DEVICES:
        raise NascError(
            f"engine `{name}` measures on cuda:0, not on `{target.device}`",
            help="leave `device` out of the target, and choose a GPU with CUDA_VISIBLE_DEVICES",
        )
    check_precision(name, target, PRECISIONS)
    launches = "cuda graph" if options.cuda_graph else "enqueue"
    return Environment(
        device=device(),
        engine=name,
        engine_version=version,
        precision=target.precision,
        batch=target.batch,
        threads=1,
        timing_mode=f"{launches}, builder level {options.builder_level}",
        protocol_version=PROTOCOL_VERSION,
    )


def effective_precision(environment: Environment) -> str:
    """TensorFloat-32 for 32-bit models, which TensorRT takes by default where the GPU has it (compute capability 8)."""
    has_tf32 = any(f.startswith("sm_") and int(f[3:]) >= 80 for f in environment.device.features)
    return "tf32" if environment.precision == "fp32" and has_tf32 else environment.precision


def _is_there(module: str) -> bool:
    """Can a module be imported? A namespace without code, as stub packages leave it, does not count."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        return False
    return spec is not None and spec.origin is not None
