"""The latency of a network as the sum of its blocks' latencies, less the calls that one network does not make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nasc.compiler.expr import Rational
from nasc.compiler.manifest import Entry
from nasc.dsl.diagnostics import NascError
from nasc.runtime.calibration import PLAIN, Calibration
from nasc.runtime.latencies import BlockLatency, Latencies
from nasc.runtime.table import Point, point_text

Use = tuple[Entry, Point | Mapping[str, Rational]]
"""A block as one network uses it: its manifest entry and a value for each of its widths, in order or by address."""


@dataclass(frozen=True)
class Prediction:
    """A network's latency in microseconds, its standard error, and the blocks that have no latency."""

    us: float
    error_us: float
    missing: tuple[str, ...]


def predict(
    uses: Sequence[Use],
    latencies: Latencies,
    *,
    call_us: float | None = None,
    calibration: Calibration = PLAIN,
    partial: bool = False,
) -> Prediction:
    """call + sum over the blocks of which something is left of what each adds (`nasc.runtime.calibration`).

    A block timed alone pays for one call of the engine; the blocks in one network pay for one call together, and an
    Identity costs little else. `call_us` is that cost, by default as measured beside these blocks. With `partial`,
    blocks without a latency count nothing and are listed.

    Raises `NascError` for a block without a latency, naming the command that measures it, unless `partial` is set.
    """
    found, missing = _found(uses, latencies)
    if missing and not partial:
        raise _unmeasured(missing, len(uses), latencies)
    present = [block for block in found if not block.empty]
    if not present:
        return Prediction(0.0, 0.0, tuple(missing))
    call = latencies.call(entry for entry, _ in uses) if call_us is None else call_us
    us = call + sum(calibration.block(block.us - call) for block in present)
    return Prediction(us, calibration.scale * math.hypot(*(block.error_us for block in present)), tuple(missing))


def blocks_of(uses: Sequence[Use], latencies: Latencies, call_us: float) -> tuple[float, ...]:
    """What each block of which something is left adds, in microseconds, without correction. Raises as `predict`."""
    found, missing = _found(uses, latencies)
    if missing:
        raise _unmeasured(missing, len(uses), latencies)
    return tuple(block.us - call_us for block in found if not block.empty)


def point_of(entry: Entry, values: Point | Mapping[str, Rational]) -> Point:
    """A value for each width of an entry, in its order. Raises `NascError` where one is missing."""
    if not isinstance(values, Mapping):
        return values
    absent = [width.address for width in entry.widths if width.address not in values]
    if absent:
        raise NascError(f"block `{entry.block}` needs a value for {', '.join(absent)}")
    return tuple(values[width.address] for width in entry.widths)


def _found(uses: Sequence[Use], latencies: Latencies) -> tuple[list[BlockLatency], list[str]]:
    found: list[BlockLatency] = []
    missing: list[str] = []
    for entry, values in uses:
        point = point_of(entry, values)
        block = latencies.find(entry, point)
        if block is not None:
            found.append(block)
        else:
            missing.append(f"{entry.block}{point_text(point)}{latencies.why_not(entry, point)}")
    return found, missing


def _unmeasured(missing: list[str], blocks: int, latencies: Latencies) -> NascError:
    path = latencies.table.path
    listed = "; ".join(missing[:3]) + ("; …" if len(missing) > 3 else "")
    retry = " --retry-failed" if any(name.endswith(")") for name in missing) else ""
    return NascError(
        f"{len(missing)} of {blocks} blocks have no latency in {path} for {latencies.environment}: {listed}",
        help=f"`nasc profile DIR --table {path}{retry}` measures them, with DIR the compiled folder",
    )
