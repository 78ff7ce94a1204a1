"""The latencies of one environment of a table, each block's read once: measured where they were, else interpolated."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from nasc.compiler.manifest import Entry
from nasc.runtime.device import Environment
from nasc.runtime.measurement import Estimate, Measurement
from nasc.runtime.table import LatencyTable, Point


@dataclass(frozen=True)
class BlockLatency:
    """A block's latency timed alone, and its standard error, in microseconds. `empty`: nothing of it is left."""

    us: float
    error_us: float
    empty: bool = False


class Latencies:
    """Looks blocks up in a table. Raises what the table raises."""

    def __init__(self, table: LatencyTable, environment: Environment) -> None:
        self.table, self.environment = table, environment
        self._rows: dict[str, dict[Point, Measurement]] = {}
        self._estimates: dict[str, dict[Point, Estimate]] = {}

    def find(self, entry: Entry, point: Point) -> BlockLatency | None:
        """A block's latency at a point; None where there is none."""
        row = self._of(entry).get(point)
        if row is not None and row.usable and row.median is not None:
            return BlockLatency(row.median, row.standard_error, row.status == "empty")
        estimate = self._estimates[entry.key].get(point) if row is None else None
        return None if estimate is None else BlockLatency(estimate.median, estimate.error)

    def why_not(self, entry: Entry, point: Point) -> str:
        """What became of a point without a latency: ` (status: reason)`, empty where it was never tried."""
        row = self._of(entry).get(point)
        return "" if row is None else f" ({row.status}: {row.error or 'no latency'})"

    def call(self, entries: Iterable[Entry]) -> float:
        """What the engine's call alone costs, in microseconds: the median over everything measured of these blocks."""
        calls = [row.identity for entry in entries for row in self._of(entry).values() if row.identity is not None]
        return statistics.median(calls) if calls else 0.0

    def _of(self, entry: Entry) -> dict[Point, Measurement]:
        if entry.key not in self._rows:
            self._rows[entry.key] = self.table.points(entry.key, self.environment)
            self._estimates[entry.key] = self.table.estimates(entry.key, self.environment)
        return self._rows[entry.key]
