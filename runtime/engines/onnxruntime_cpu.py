"""ONNX Runtime on one CPU core: one thread, pinned, blocks interleaved with a canary and an Identity."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from nasc.compiler.manifest import Target
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment, this_cpu
from nasc.runtime.engines.base import Session, TimingOptions
from nasc.runtime.engines.interleave import Interleaved, Statistics, Subject, interleave, repeats_for, time_batch
from nasc.runtime.engines.onnxruntime_session import TooSlow, bind, effective_precision, yardsticks
from nasc.runtime.measurement import Measurement, Status

PROTOCOL_VERSION = 1
"""Raised whenever the way of measuring changes what is measured."""
PRECISIONS = ("fp32", "fp16")
WARM_UP_SECONDS = 0.02


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
        if target.device not in (None, "cpu"):
            raise NascError(
                f"engine `{self.name}` measures on this machine's cpu, not on `{target.device}`",
                help="write `device cpu` in the target, or leave `device` out",
            )
        if target.precision not in PRECISIONS:
            raise NascError(
                f"engine `{self.name}` cannot measure precision `{target.precision}`",
                help=f"it measures {' and '.join(PRECISIONS)}",
            )
        return Environment(
            device=this_cpu(),
            engine=self.name,
            engine_version=importlib.metadata.version("onnxruntime"),
            precision=target.precision,
            batch=target.batch,
            threads=1,
            timing_mode="pinned" if hasattr(os, "sched_setaffinity") else "floating",
            protocol_version=PROTOCOL_VERSION,
        )

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        """Time models interleaved, all their sessions alive at once; see `Engine.measure`."""
        with _pinned(self.cpu):
            prepared = [self._prepare(model, environment.precision) for model in models]
            ready = [p for p in prepared if isinstance(p, _Ready)]
            if not ready:
                return Session(tuple(p for p in prepared if isinstance(p, Measurement)), reference_us)
            canary, identity = (self._subject(model) for model in yardsticks())
            result = interleave([p.subject for p in ready], canary, identity, self.options, reference_us)
        rows = iter(result.subjects)
        return Session(
            tuple(p if isinstance(p, Measurement) else _row(p, next(rows), result) for p in prepared),
            result.reference_us,
        )

    def _prepare(self, model: bytes, precision: str) -> _Ready | Measurement:
        """A model warmed up, or the row that says why it cannot run."""
        began = time.perf_counter()
        try:
            effective = effective_precision(model) if precision == "fp16" else precision
            return _Ready(self._subject(model), effective, time.perf_counter() - began)
        except TooSlow as slow:
            return Measurement.failure("timeout", str(slow), time.perf_counter() - began)
        except Exception as error:
            # ONNX Runtime's exceptions share no base class below Exception, and any model may fail in any of its ways.
            return Measurement.failure(_status(error), _reason(error), time.perf_counter() - began)

    def _subject(self, model: bytes) -> Subject:
        run, first_run = bind(model)
        first_us = first_run(self.options.point_seconds)
        warm_up = max(1, min(10, int(WARM_UP_SECONDS * 1e6 / first_us)))
        return Subject(run, repeats_for(time_batch(run, warm_up).median_us, self.options))


@dataclass(frozen=True)
class _Ready:
    subject: Subject
    effective_precision: str
    seconds: float


def _row(ready: _Ready, found: Statistics, session: Interleaved) -> Measurement:
    return Measurement(
        status="ok",
        effective_precision=ready.effective_precision,
        minimum=found.minimum,
        median=found.median,
        mad=found.mad,
        samples=found.samples,
        dropped=found.dropped,
        canary=session.canary_us,
        identity=session.identity.median,
        quality=found.quality,
        seconds=ready.seconds + ready.subject.seconds,
    )


def _status(error: Exception) -> Status:
    text = str(error).lower()
    if isinstance(error, MemoryError) or "failed to allocate" in text or "bad allocation" in text:
        return "out_of_memory"
    return "unsupported" if "not_implemented" in text else "build_failed"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def _pinned(cpu: int | None) -> Iterator[None]:
    """Keep this thread on one core, where the system can. Raises `NascError` for a core that is not allowed."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    if cpu is not None and cpu not in allowed:
        raise NascError(f"cannot measure on core {cpu}", help=f"cores allowed here: {', '.join(map(str, allowed))}")
    os.sched_setaffinity(0, {max(allowed) if cpu is None else cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
