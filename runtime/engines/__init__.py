"""Inference engines whose latency can be measured."""

from __future__ import annotations

from collections.abc import Callable

from nasc.dsl.diagnostics import NascError, did_you_mean
from nasc.runtime.engines.base import Engine, Session, TimingOptions
from nasc.runtime.engines.onnxruntime_cpu import OnnxRuntimeCpu

ENGINES: dict[str, Callable[[TimingOptions], Engine]] = {"onnxruntime": OnnxRuntimeCpu}
"""How to make each engine, by name."""


def make_engine(name: str, options: TimingOptions | None = None) -> Engine:
    """The engine of a name. Raises `NascError` for an unknown one and for one that cannot run on this machine."""
    if name not in ENGINES:
        raise NascError(
            f"there is no engine `{name}`", help=did_you_mean(name, ENGINES) or f"engines: {', '.join(ENGINES)}"
        )
    engine = ENGINES[name](options or TimingOptions())
    reason = engine.available()
    if reason is not None:
        raise NascError(f"engine `{name}` cannot run here: {reason}")
    return engine


__all__ = ["ENGINES", "Engine", "OnnxRuntimeCpu", "Session", "TimingOptions", "make_engine"]
