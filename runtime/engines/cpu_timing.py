"""What engines on one CPU core share: one thread, pinned, models interleaved with a canary and an Identity.

An engine says how a model becomes something to run (`Bind`); what a latency means is the same for all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from nasc.compiler.manifest import Target
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment, this_cpu
from nasc.runtime.engines.base import Session, TimingOptions
from nasc.runtime.engines.beat import alive
from nasc.runtime.engines.interleave import Interleaved, Statistics, Subject, interleave, repeats_for, time_batch
from nasc.runtime.measurement import Measurement, Status

PROTOCOL_VERSION = 2
"""Raised whenever the way of measuring changes what is measured. 2: one whole batch says how many repeats make one, not
the first runs, which are slow."""
WARM_UP_SECONDS = 0.02


class TooSlow(Exception):
    """A model's build or one run of it took longer than a point may."""


@dataclass(frozen=True)
class Bound:
    """A model that is ready: `run` is what is timed, `first_run` runs it once within a limit in seconds.

    `first_run` gives microseconds and raises `TooSlow`. `effective_precision` is what really runs.
    """

    run: Callable[[], object]
    first_run: Callable[[float], float]
    effective_precision: str


Bind = Callable[[bytes, str], Bound]
"""Makes a model ready to run in a precision; whatever it raises becomes the model's row."""


def cpu_environment(
    name: str, version: str, target: Target, precisions: Sequence[str], mode: str = "", protocol: int = PROTOCOL_VERSION
) -> Environment:
    """One thread of this machine's CPU; `mode` is what a latency depends on beside pinning.

    Raises `NascError` for another device or a precision that the engine does not measure.
    """
    if target.device not in (None, "cpu"):
        raise NascError(
            f"engine `{name}` measures on this machine's cpu, not on `{target.device}`",
            help="write `device cpu` in the target, or leave `device` out",
        )
    check_precision(name, target, precisions)
    pinned = "pinned" if hasattr(os, "sched_setaffinity") else "floating"
    return Environment(
        device=this_cpu(),
        engine=name,
        engine_version=version,
        precision=target.precision,
        batch=target.batch,
        threads=1,
        timing_mode=f"{pinned}, {mode}" if mode else pinned,
        protocol_version=protocol,
    )


def check_precision(name: str, target: Target, precisions: Sequence[str]) -> None:
    """Raise `NascError` for a precision that an engine does not measure."""
    if target.precision not in precisions:
        raise NascError(
            f"engine `{name}` cannot measure precision `{target.precision}`",
            help=f"it measures {' and '.join(precisions)}",
        )


def measure_on_cpu(
    models: Sequence[bytes],
    precision: str,
    bind: Bind,
    yardsticks: tuple[bytes, bytes],
    options: TimingOptions,
    *,
    cpu: int | None = None,
    reference_us: float | None = None,
) -> Session:
    """Time models interleaved, all of them alive at once; see `Engine.measure`.

    `yardsticks` are the canary and an Identity as 32-bit models; `cpu` is the core, by default the last one allowed.
    """
    with pinned(cpu):
        prepared = [_prepare(bind, model, precision, options) for model in models]
        ready = [p for p in prepared if isinstance(p, _Ready)]
        if not ready:
            return Session(tuple(p for p in prepared if isinstance(p, Measurement)), reference_us)
        canary, identity = (_subject(bind(model, "fp32"), options) for model in yardsticks)
        result = interleave([p.subject for p in ready], canary, identity, options, reference_us)
    rows = iter(result.subjects)
    return Session(
        tuple(p if isinstance(p, Measurement) else _row(p, next(rows), result) for p in prepared),
        result.reference_us,
    )


@dataclass(frozen=True)
class _Ready:
    subject: Subject
    effective_precision: str
    seconds: float


def _prepare(bind: Bind, model: bytes, precision: str, options: TimingOptions) -> _Ready | Measurement:
    """A model warmed up, or the row that says why it cannot run."""
    alive()
    began = time.perf_counter()
    try:
        bound = bind(model, precision)
        return _Ready(_subject(bound, options), bound.effective_precision, time.perf_counter() - began)
    except Exception as error:
        # Engines' exceptions share no base class below Exception, and any model may fail in any of their ways.
        return failure_of(error, time.perf_counter() - began)


def _subject(bound: Bound, options: TimingOptions) -> Subject:
    """A model with as many repeats as make a batch. The first runs are slow; one whole batch tells how many to make."""
    first_us = bound.first_run(options.point_seconds)
    warm_up = max(1, min(10, int(WARM_UP_SECONDS * 1e6 / max(first_us, 0.1))))
    about = repeats_for(time_batch(bound.run, warm_up).minimum_us, options)
    return Subject(bound.run, repeats_for(time_batch(bound.run, about).median_us, options))


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


def timed_once(run: Callable[[], object], limit_s: float) -> float:
    """Microseconds of a run that cannot be stopped. Raises `TooSlow` after one that took longer than `limit_s`."""
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    if seconds > limit_s:
        raise TooSlow(f"one run takes longer than {limit_s:g} s")
    return seconds * 1e6


def failure_of(error: Exception, seconds: float) -> Measurement:
    """The row of a model that could not be built or run."""
    if isinstance(error, TooSlow):
        return Measurement.failure("timeout", str(error), seconds)
    return Measurement.failure(_status(error), f"{type(error).__name__}: {error}", seconds)


def _status(error: Exception) -> Status:
    text = f"{type(error).__name__} {error}".lower()
    if isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY):
        return "out_of_memory"
    return "unsupported" if any(words in text for words in _UNSUPPORTED) else "build_failed"


_OUT_OF_MEMORY = ("failed to allocate", "bad allocation", "out of memory", "outofmemory", "can't allocate memory")
_UNSUPPORTED = ("not_implemented", "notlowered", "not implemented for")


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
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
