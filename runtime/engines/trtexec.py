"""NVIDIA's own benchmark program, `trtexec`, as an engine: a check on what `tensorrt` measures.

It builds and times one model for each call. TensorRT 11 made the default what had to be asked for in 10 (a CUDA graph,
no transfers, waiting without sleep), so that the command depends on the version.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from nasc.compiler.manifest import Target
from nasc.runtime.device import Device, Environment
from nasc.runtime.engines.base import Session, TimingOptions
from nasc.runtime.engines.onnxruntime_session import yardsticks
from nasc.runtime.engines.tensorrt import OLDEST, effective_precision, gpu_environment
from nasc.runtime.engines.tensorrt_builder import failure
from nasc.runtime.engines.tensorrt_cache import cache_file
from nasc.runtime.engines.tensorrt_cuda import this_gpu, why_no_gpu
from nasc.runtime.engines.tensorrt_timing import TRTEXEC, latency_row, sampled
from nasc.runtime.measurement import Measurement

Version = tuple[int, int, int]


@dataclass
class Trtexec:
    """The engine that runs `trtexec`, wherever the PATH has it."""

    options: TimingOptions = field(default_factory=TimingOptions)
    name: ClassVar[str] = "trtexec"

    def available(self) -> str | None:
        """None where `trtexec` of a version that is known and a GPU are there, else what is missing."""
        if shutil.which("trtexec") is None:
            return (
                "the program `trtexec` is not on the PATH: it comes with TensorRT's tar and Debian packages and with "
                "NVIDIA's containers, not with `pip install tensorrt`"
            )
        if self.version is None or self.version[0] < OLDEST:
            found = "one whose version cannot be told" if self.version is None else _text(self.version)
            return f"`trtexec` of TensorRT {OLDEST} or newer is needed; the PATH has {found}"
        return why_no_gpu()

    @cached_property
    def version(self) -> Version | None:
        """The version of the program; None where it does not say."""
        done = subprocess.run(["trtexec", "--help"], capture_output=True, text=True, errors="replace", timeout=60)
        return version_of(done.stdout)

    @cached_property
    def device(self) -> Device:
        """The GPU. Raises `CudaError`."""
        return this_gpu(import_module("cuda.bindings.runtime"))

    def environment(self, target: Target) -> Environment:
        """This machine's first visible GPU. Raises `NascError` for another device or an unknown precision."""
        return gpu_environment(self.name, _text(self.version or (0, 0, 0)), target, lambda: self.device, self.options)

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        """Build and time ONNX models one after another; see `Engine.measure`."""
        rows = tuple(self._row(model, environment, self.identity_us) for model in models)
        return Session(rows, reference_us)

    @cached_property
    def identity_us(self) -> float | None:
        """What an Identity alone takes, which is the launch; None where it cannot be measured."""
        return self._row(yardsticks()[1], None, None).median

    def _row(self, model: bytes, environment: Environment | None, identity_us: float | None) -> Measurement:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            path, times = Path(folder, "model.onnx"), Path(folder, "times.json")
            path.write_bytes(model)
            failed = self._run(path, times)
            seconds = time.perf_counter() - began
            if failed is not None:
                return failed.model_copy(update={"seconds": seconds})
            try:
                counted = compute_times(times.read_bytes())
            except (OSError, ValidationError) as error:
                return Measurement.failure("build_failed", f"trtexec wrote no times that can be read: {error}", seconds)
        precision = "fp32" if environment is None else effective_precision(environment)
        return latency_row(counted, precision, error=self.options.error, identity_us=identity_us, seconds=seconds)

    def _run(self, model: Path, times: Path) -> Measurement | None:
        """Run the program; the row that says why it failed, if it did."""
        cache = cache_file(self.name, _text(self.version or (0, 0, 0)), self.device.fingerprint)
        with suppress(OSError):  # trtexec goes on without a cache
            cache.parent.mkdir(parents=True, exist_ok=True)
        command = command_line(self.version or (OLDEST, 0, 0), model, times, cache, self.options)
        limit = self.options.build_seconds + self.options.point_seconds
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit)
        except subprocess.TimeoutExpired:
            return Measurement.failure("timeout", f"building and timing took longer than {limit:g} s")
        if done.returncode < 0:
            return Measurement.failure("crash", f"trtexec was ended by {signal.Signals(-done.returncode).name}")
        if done.returncode > 0:
            error = failure(errors_of(done.stdout + done.stderr), f"trtexec ended with status {done.returncode}")
            return Measurement.failure(error.status, str(error))
        return None


def command_line(version: Version, model: Path, times: Path, cache: Path, options: TimingOptions) -> list[str]:
    """The command that times a model, so that versions 10 and 11 measure the same."""
    if version[0] >= 11:
        mode = [] if options.cuda_graph else ["--noCudaGraph"]
    else:
        mode = ["--stronglyTyped", "--noDataTransfers", "--useSpinWait"]
        mode += ["--useCudaGraph"] if options.cuda_graph else []
    return [
        "trtexec",
        f"--onnx={model}",
        *mode,
        f"--builderOptimizationLevel={options.builder_level}",
        f"--warmUp={TRTEXEC.warm_up_ms:g}",
        f"--duration={TRTEXEC.duration_ms / 1000:g}",
        f"--iterations={TRTEXEC.iterations}",
        f"--timingCacheFile={cache}",
        f"--exportTimes={times}",
    ]


def version_of(output: str) -> Version | None:
    """The version in the first line that `trtexec` prints: `[TensorRT v100200]` is 10.2.0, `[TensorRT v8601]` 8.6.1."""
    found = re.search(r"\[TensorRT v(\d+)\]", output)
    if found is None:
        return None
    number = int(found[1])
    major, minor = (
        (number // 10_000, number // 100 % 100) if number >= 100_000 else (number // 1000, number // 100 % 10)
    )
    return major, minor, number % 100


def errors_of(output: str) -> list[str]:
    """The messages of error severity: `[07/30/2024-15:30:36] [E] …`."""
    return re.findall(r"^\[[^\]]*\] \[E\] (.+)$", output, re.MULTILINE)


class _Query(BaseModel):
    """A query in the file of `--exportTimes`; times are milliseconds since the start, warm-up included."""

    startComputeMs: float
    computeMs: float


_QUERIES = TypeAdapter(list[_Query])


def compute_times(text: bytes) -> list[float]:
    """GPU compute times (ms) of the queries that count, from the file of `--exportTimes`. Raises `ValidationError`."""
    return sampled((q.startComputeMs, q.computeMs) for q in _QUERIES.validate_json(text))


def _text(version: Version) -> str:
    return ".".join(map(str, version))
