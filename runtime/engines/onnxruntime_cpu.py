"""ONNX Runtime on one CPU core."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field

from nasc.compiler.manifest import Target
from nasc.runtime.device import Environment
from nasc.runtime.engines.base import Session, TimingOptions
from nasc.runtime.engines.cpu_timing import Bound, cpu_environment, measure_on_cpu
from nasc.runtime.engines.onnxruntime_session import bind, effective_precision, yardsticks

PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class OnnxRuntimeCpu:
    """The ONNX Runtime CPU engine. `cpu` is the logical core to pin to; by default the last one allowed."""

    options: TimingOptions = field(default_factory=TimingOptions)
    cpu: int | None = None
    name: str = "onnxruntime"

    def available(self) -> str | None:
        """None where the `onnxruntime` package is installed, else how to install it."""
        if importlib.util.find_spec("onnxruntime") is None:
            return "the package `onnxruntime` is not installed: `pip install onnxruntime`"
        return None

    def environment(self, target: Target) -> Environment:
        """One thread of this machine's CPU. Raises `NascError` for another device or an unknown precision."""
        return cpu_environment(self.name, importlib.metadata.version("onnxruntime"), target, PRECISIONS)

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        """Time models interleaved, all their sessions alive at once; see `Engine.measure`."""
        return measure_on_cpu(
            models, environment.precision, _bound, yardsticks(), self.options, cpu=self.cpu, reference_us=reference_us
        )


def _bound(model: bytes, precision: str) -> Bound:
    effective = effective_precision(model) if precision == "fp16" else precision
    return Bound(*bind(model), effective)
