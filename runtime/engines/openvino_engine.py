"""OpenVINO on one CPU core."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from nasc.compiler.manifest import Target
from nasc.runtime.device import Environment
from nasc.runtime.engines.base import Session, TimingOptions
from nasc.runtime.engines.cpu_timing import Bound, TooSlow, cpu_environment, measure_on_cpu
from nasc.runtime.engines.onnxruntime_session import yardsticks

PRECISIONS = ("fp32",)
"""A CPU without 16-bit arithmetic computes 16-bit models in 32 bits."""


SETTINGS = {
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_NUM_THREADS": "1",
    "NUM_STREAMS": "1",
    "ENABLE_CPU_PINNING": "NO",
    "INFERENCE_PRECISION_HINT": "f32",
}
"""One thread, which the caller pins; and 32 bits also where the CPU has instructions for 16-bit brain floats."""


@dataclass(frozen=True)
class OpenVino:
    """OpenVINO's CPU plug-in. `cpu` is the logical core to pin to; by default the last one allowed."""

    options: TimingOptions = field(default_factory=TimingOptions)
    cpu: int | None = None
    name: str = "openvino"

    def available(self) -> str | None:
        """None where the package `openvino` is installed, else how to install it."""
        if importlib.util.find_spec("openvino") is None:
            return "the package `openvino` is not installed: `pip install 'nasc[openvino]'`"
        return None

    def environment(self, target: Target) -> Environment:
        """One thread of this machine's CPU. Raises `NascError` for another device or an unknown precision."""
        return cpu_environment(self.name, importlib.metadata.version("openvino"), target, PRECISIONS)

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        """Time models interleaved, all of them alive at once; see `Engine.measure`."""
        import openvino

        core = openvino.Core()
        return measure_on_cpu(
            models,
            environment.precision,
            partial(_bound, core),
            yardsticks(),
            self.options,
            cpu=self.cpu,
            reference_us=reference_us,
        )


def _bound(core: Any, model: bytes, precision: str) -> Bound:
    compiled = core.compile_model(core.read_model(model), "CPU", SETTINGS)
    request = compiled.create_infer_request()
    for port in compiled.inputs:
        values = request.get_tensor(port).data
        whole = values.dtype == np.int64  # token numbers, of which 0 always exists
        values[...] = 0 if whole else np.random.default_rng(0).standard_normal(values.shape, dtype=np.float32)
    return Bound(request.infer, partial(_first_run, request), precision)


def _first_run(request: Any, limit_s: float) -> float:
    """Microseconds of the first run. Raises `TooSlow` once it takes longer than `limit_s`."""
    began = time.perf_counter()
    request.start_async()
    if not request.wait_for(int(limit_s * 1000)):
        request.cancel()
        raise TooSlow(f"one run takes longer than {limit_s:g} s")
    return (time.perf_counter() - began) * 1e6
