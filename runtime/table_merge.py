"""Latency tables put together, and held against each other.

Rows belong to an environment, which is part of their key, so that latencies of different devices or settings never mix.
Latencies of one environment are relative to its reference, the canary's time when it was first measured
(`nasc.runtime.engines.interleave`): round by round they are multiplied by reference / canary. So where two tables have
different references for one environment, the second's latencies are multiplied by reference of the first / reference of
the second, which is what they would be had they been measured into the first.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from nasc.runtime.measurement import Estimate, Measurement
from nasc.runtime.table_contents import NO_GRAPH, Contents, Key, Known

Keep = Literal["newer", "first"]

ANOTHER_STATE = 0.10
"""A reference further off than this comes from a machine that was not in the same state."""
_SCALED = ("minimum", "median", "mad", "identity")


@dataclass(frozen=True)
class Source:
    """What became of a table that was merged: its rows, how many of them stand in the result, and by what factor the
    latencies of each environment were multiplied where its reference differs."""

    name: str
    rows: int
    kept: int
    scaled: Mapping[str, float]


@dataclass(frozen=True)
class Merged:
    contents: Contents
    sources: tuple[Source, ...]


def merge(tables: Sequence[tuple[str, Contents]], keep: Keep = "newer") -> Merged:
    """The rows of several named tables in one.

    Of two measurements under one key, one with a latency goes before a failure, then the one measured later; with
    `keep` "first" the first table's stays in any case. Of two estimates the one with the smaller error stays, beside a
    measurement if there is one: who reads a latency takes the measurement. References, and calibrations of tables that
    are not rescaled, are the first table's that has one.
    """
    merger = _Merger(keep)
    scaled = [merger.add(number, contents) for number, (_, contents) in enumerate(tables)]
    contents, origins = merger.finished()
    sources = [
        Source(name, len(table.measurements) + len(table.estimates), origins.count(number), scaled[number])
        for number, (name, table) in enumerate(tables)
    ]
    return Merged(contents, tuple(sources))


class _Merger:
    def __init__(self, keep: Keep) -> None:
        self.keep = keep
        self.environments: dict[str, Known] = {}
        self.blocks: dict[str, str] = {}
        self.measurements: dict[Key, tuple[int, Measurement]] = {}
        self.estimates: dict[Key, tuple[int, Estimate]] = {}

    def add(self, number: int, contents: Contents) -> dict[str, float]:
        """Take a table in; returns the factors of the environments that were rescaled."""
        scaled = {key: factor for key, factor in self._factors(contents) if factor != 1}
        for env_id, known in contents.environments.items():
            there = self.environments.get(env_id, known)
            calibration = None if env_id in scaled else known.calibration
            self.environments[env_id] = Known(
                known.environment,
                there.reference_us if there.reference_us is not None else known.reference_us,
                there.calibration if there.calibration is not None else calibration,
            )
        for block, graph in contents.blocks.items():
            if self.blocks.get(block, NO_GRAPH) == NO_GRAPH:
                self.blocks[block] = graph
        for key, row in contents.measurements.items():
            there_row = self.measurements.get(key)
            if there_row is None or self._replaces(there_row[1], row):
                self.measurements[key] = number, rescaled(row, scaled.get(key[1], 1))
        for key, estimate in contents.estimates.items():
            factor = scaled.get(key[1], 1)
            found = Estimate(estimate.median * factor, estimate.error * factor)
            before = self.estimates.get(key)
            if before is None or (self.keep == "newer" and found.error < before[1].error):
                self.estimates[key] = number, found
        return scaled

    def _factors(self, contents: Contents) -> Iterator[tuple[str, float]]:
        for env_id, known in contents.environments.items():
            if env_id in self.environments:
                yield env_id, scale(self.environments[env_id], known)

    def _replaces(self, there: Measurement, row: Measurement) -> bool:
        if self.keep == "first":
            return False
        if there.usable != row.usable:
            return row.usable
        return measured_at(row) > measured_at(there)

    def finished(self) -> tuple[Contents, list[int]]:
        """What came together, and from which table each row is."""
        origins = [number for number, _ in (*self.measurements.values(), *self.estimates.values())]
        measurements = {key: row for key, (_, row) in self.measurements.items()}
        estimates = {key: row for key, (_, row) in self.estimates.items()}
        return Contents(self.environments, self.blocks, measurements, estimates), origins


def scale(to: Known, source: Known) -> float:
    """What latencies relative to one reference are multiplied by to be relative to another; 1 where one has none."""
    if to.reference_us is None or source.reference_us is None:
        return 1.0
    return to.reference_us / source.reference_us


def rescaled(row: Measurement, factor: float) -> Measurement:
    """A row relative to another reference. `canary`, which is a raw time, stays."""
    if factor == 1:
        return row
    times = {name: getattr(row, name) for name in _SCALED}
    return row.model_copy(update={name: time * factor for name, time in times.items() if time is not None})


def measured_at(row: Measurement) -> datetime:
    """When a row was measured; long ago where its timestamp cannot be read."""
    try:
        found = datetime.fromisoformat(row.timestamp)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# ------------------------------------------------------------------------------------------------- differences


@dataclass(frozen=True)
class Pair:
    """A point in both tables: latencies in microseconds, the second's relative to the first's reference."""

    key: Key
    a: float
    b: float
    estimated: bool

    @property
    def ratio(self) -> float:
        """b / a; infinite where a point that took no time takes some."""
        if self.a == self.b:
            return 1.0
        return self.b / self.a if self.a else math.inf

    @property
    def distance(self) -> float:
        """How far the ratio is from 1, the same for x and 1/x."""
        return abs(math.log(self.ratio)) if 0 < self.ratio < math.inf else math.inf


@dataclass(frozen=True)
class Difference:
    """Two tables side by side. `failed` are the points with a latency in one and a failure in the other."""

    pairs: tuple[Pair, ...]
    failed: tuple[Key, ...]
    only_a: tuple[Key, ...]
    only_b: tuple[Key, ...]
    scaled: Mapping[str, float]

    def beyond(self, tolerance: float) -> int:
        """How many points differ by more than a fraction of the first's latency, or failed in one of the tables."""
        return len(self.failed) + sum(abs(pair.ratio - 1) > tolerance for pair in self.pairs)

    @property
    def quartiles(self) -> tuple[float, float, float] | None:
        """First quartile, median and third quartile of the ratios; None where there are none."""
        ratios = [pair.ratio for pair in self.pairs if pair.ratio < math.inf]
        if len(ratios) < 2:
            return (ratios[0],) * 3 if ratios else None
        first, median, third = statistics.quantiles(ratios, method="inclusive")
        return first, median, third

    def largest(self, count: int) -> list[Pair]:
        """The pairs that differ most, those that differ most first."""
        return sorted((p for p in self.pairs if p.distance), key=lambda p: (-p.distance, p.key))[:count]


def difference(a: Contents, b: Contents) -> Difference:
    """Two tables' latencies under the same keys; an estimate stands in where there is no measurement."""
    scaled = {e: scale(a.environments[e], b.environments[e]) for e in a.environments if e in b.environments}
    ours, theirs = _latencies(a), _latencies(b)
    known_a, known_b = {*a.measurements, *ours}, {*b.measurements, *theirs}
    return Difference(
        pairs=tuple(
            Pair(key, ours[key][0], theirs[key][0] * scaled[key[1]], ours[key][1] or theirs[key][1])
            for key in sorted({*ours} & {*theirs})
        ),
        failed=tuple(sorted(known_a & known_b & ({*ours} ^ {*theirs}))),
        only_a=tuple(sorted(known_a - known_b)),
        only_b=tuple(sorted(known_b - known_a)),
        scaled={env_id: factor for env_id, factor in scaled.items() if factor != 1},
    )


def _latencies(contents: Contents) -> dict[Key, tuple[float, bool]]:
    """Each key's latency, and whether it is an estimate."""
    found = {key: (estimate.median, True) for key, estimate in contents.estimates.items()}
    measured = {k: (row.median, False) for k, row in contents.measurements.items() if row.usable}
    return found | {key: (median, computed) for key, (median, computed) in measured.items() if median is not None}
