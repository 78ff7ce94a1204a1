"""ONNX Runtime on an NVIDIA GPU, with its CUDA or its TensorRT execution provider.

A run is timed on the host's clock from the call until the GPU is done, as this is what ONNX Runtime lets see.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import ClassVar

from nasc.compiler.manifest import Target
from nasc.runtime.device import Device, Environment
from nasc.runtime.engines.base import Session, TimingOptions
from nasc.runtime.engines.cpu_timing import check_precision, failure_of
from nasc.runtime.engines.onnxruntime_session import bind_to, yardsticks
from nasc.runtime.engines.tensorrt import effective_precision, gpu_environment
from nasc.runtime.engines.tensorrt_cuda import this_gpu
from nasc.runtime.engines.tensorrt_timing import Protocol, Query, latency_row, sampled
from nasc.runtime.measurement import Measurement

PACKAGES = ("onnxruntime-gpu", "onnxruntime")
PRECISIONS = ("fp32", "fp16")
SHORT = Protocol(warm_up_ms=50, duration_ms=200)
"""How long an Identity is timed."""


@dataclass(frozen=True)
class OnnxRuntimeCuda:
    """ONNX Runtime with kernels of CUDA and cuDNN. A block of which a part would run on the CPU is not built."""

    options: TimingOptions = field(default_factory=TimingOptions)
    name: ClassVar[str] = "onnxruntime-cuda"
    provider: ClassVar[str] = "CUDAExecutionProvider"
    graph_option: ClassVar[str] = "enable_cuda_graph"

    def available(self) -> str | None:
        """None where ONNX Runtime has the provider and there is a GPU, else what is missing."""
        if find_spec("onnxruntime") is None:
            return "the package `onnxruntime-gpu` is not installed: `pip install onnxruntime-gpu`"
        import onnxruntime

        if self.provider not in onnxruntime.get_available_providers():
            return f"this onnxruntime has no {self.provider}: `pip install onnxruntime-gpu` in place of `onnxruntime`"
        if find_spec("cuda") is None or find_spec("cuda.bindings") is None:
            return "the package `cuda-bindings` is not installed: `pip install cuda-bindings`"
        cudart = import_module("cuda.bindings.runtime")
        error, count = cudart.cudaGetDeviceCount()
        there = error == cudart.cudaError_t.cudaSuccess and count
        return None if there else f"there is no NVIDIA GPU with a driver here ({error.name})"

    def environment(self, target: Target) -> Environment:
        """This machine's first visible GPU. Raises `NascError` for another device or an unknown precision."""
        check_precision(self.name, target, PRECISIONS)
        mode = f"host clock, {'cuda graph' if self.options.cuda_graph else 'launches'}"
        found = gpu_environment(self.name, _version(), target, _device, self.options)
        return found.model_copy(update={"timing_mode": mode})

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        """Time models one after another; see `Engine.measure`. A GPU has no canary."""
        precision, whole = effective_precision(environment), Protocol(limit_ms=1000 * self.options.point_seconds)
        call = self._timed(yardsticks()[1], precision, SHORT, None)
        return Session(tuple(self._timed(model, precision, whole, call.median) for model in models), None)

    def provider_options(self) -> Mapping[str, str]:
        """What the provider is asked for."""
        return {"device_id": "0", self.graph_option: "1" if self.options.cuda_graph else "0"}

    def _timed(self, model: bytes, precision: str, protocol: Protocol, call_us: float | None) -> Measurement:
        began = time.perf_counter()
        try:
            run, first_run = bind_to(model, self.provider, self.provider_options(), "cuda")
            first_run(self.options.build_seconds)
            found = sampled(_queries(run), protocol)
        except Exception as error:
            # ONNX Runtime's exceptions share no base class below Exception, and any model may fail in any of its ways.
            return failure_of(error, time.perf_counter() - began)
        seconds = time.perf_counter() - began
        return latency_row(found, precision, error=self.options.error, identity_us=call_us, seconds=seconds)


@dataclass(frozen=True)
class OnnxRuntimeTensorrt(OnnxRuntimeCuda):
    """ONNX Runtime with TensorRT, which builds an engine of each block when it is first run."""

    name: ClassVar[str] = "onnxruntime-tensorrt"
    provider: ClassVar[str] = "TensorrtExecutionProvider"
    graph_option: ClassVar[str] = "trt_cuda_graph_enable"

    def available(self) -> str | None:
        """As `OnnxRuntimeCuda.available`; TensorRT's own libraries must be there too."""
        reason = super().available()
        if reason is None and find_spec("tensorrt") is None:
            return "the libraries of TensorRT are not installed: `pip install 'nasc[tensorrt]'`"
        return reason

    def provider_options(self) -> Mapping[str, str]:
        """What the provider is asked for, with the builder's level."""
        return {**super().provider_options(), "trt_builder_optimization_level": str(self.options.builder_level)}

    def environment(self, target: Target) -> Environment:
        """As `OnnxRuntimeCuda.environment`; the builder's level belongs to it."""
        found = super().environment(target)
        mode = f"{found.timing_mode}, builder level {self.options.builder_level}"
        return found.model_copy(update={"timing_mode": mode})


def _version() -> str:
    installed = {name: v for name in PACKAGES if (v := _version_of(name)) is not None}
    return next(iter(installed.values()), "unknown")


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device() -> Device:
    return this_gpu(import_module("cuda.bindings.runtime"))


def _queries(run: Callable[[], object]) -> Iterator[Query]:
    """Runs one after another, each with its start and its length in milliseconds."""
    origin = time.perf_counter()
    while True:
        start = time.perf_counter()
        run()
        yield (start - origin) * 1e3, (time.perf_counter() - start) * 1e3
