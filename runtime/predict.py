"""The latency of a network as the sum of its blocks' latencies, less the calls that one network does not make."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nasc.compiler.expr import Rational
from nasc.compiler.manifest import Entry
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment
from nasc.runtime.measurement import Measurement
from nasc.runtime.table import LatencyTable, Point, point_text

Use = tuple[Entry, Point | Mapping[str, Rational]]
"""A block as one network uses it: its manifest entry and a value for each of its widths, in order or by address."""


@dataclass(frozen=True)
class Prediction:
    """A network's latency in microseconds, its standard error, and the blocks that have no latency."""

    us: float
    error_us: float
    missing: tuple[str, ...]


def predict(uses: Sequence[Use], table: LatencyTable, environment: Environment, *, partial: bool = False) -> Prediction:
    """sum(block medians) - (n - 1) * Identity, over the n blocks of which something is left.

    A block timed alone pays for one call of the engine; n blocks in one network pay for one call together, and an
    Identity costs little else. With `partial`, blocks without a latency count nothing and are listed.

    Raises `NascError` for a block without a latency, naming the command that measures it, unless `partial` is set.
    """
    rows: list[Measurement] = []
    missing: list[str] = []
    for entry, values in uses:
        point = point_of(entry, values)
        row = table.get(entry.key, point, environment)
        if row is not None and row.usable:
            rows.append(row)
        else:
            missing.append(_described(entry, point, row))
    if missing and not partial:
        raise _unmeasured(missing, len(uses), table, environment)
    return Prediction(*_total(rows), tuple(missing))


def point_of(entry: Entry, values: Point | Mapping[str, Rational]) -> Point:
    """A value for each width of an entry, in its order. Raises `NascError` where one is missing."""
    if not isinstance(values, Mapping):
        return values
    absent = [width.address for width in entry.widths if width.address not in values]
    if absent:
        raise NascError(f"block `{entry.block}` needs a value for {', '.join(absent)}")
    return tuple(values[width.address] for width in entry.widths)


def _total(rows: Sequence[Measurement]) -> tuple[float, float]:
    present = [row for row in rows if row.status == "ok"]
    if not present:
        return 0.0, 0.0
    call = statistics.median(row.identity or 0.0 for row in present)
    total = sum(row.median or 0.0 for row in present) - (len(present) - 1) * call
    return total, math.hypot(*(row.standard_error for row in present))


def _described(entry: Entry, point: Point, row: Measurement | None) -> str:
    reason = "" if row is None else f" ({row.status}: {row.error or 'no latency'})"
    return f"{entry.block}{point_text(point)}{reason}"


def _unmeasured(missing: list[str], blocks: int, table: LatencyTable, environment: Environment) -> NascError:
    listed = "; ".join(missing[:3]) + ("; …" if len(missing) > 3 else "")
    retry = " --retry-failed" if any(name.endswith(")") for name in missing) else ""
    return NascError(
        f"{len(missing)} of {blocks} blocks have no latency in {table.path} for {environment}: {listed}",
        help=f"`nasc profile DIR --table {table.path}{retry}` measures them, with DIR the compiled folder",
    )
