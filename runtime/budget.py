"""Which points to measure when not all can be: a plan that is told results and says what to measure next.

A plan measures the ends and the middle of every block, then wherever the latencies known so far leave the largest
doubt, and in between points drawn at random that nothing is learned from: how far those are predicted wrong is the
error that the plan states, and the yardstick that the error bars are stretched by. It measures nothing itself, reads no
clock, and asks for the same points when it is told the same results.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from nasc.compiler.manifest import Entry
from nasc.dsl.diagnostics import NascError
from nasc.runtime.interpolate import Grid, Interpolated, Point, interpolate
from nasc.runtime.measurement import Measurement
from nasc.runtime.seeds import derive_seed

if TYPE_CHECKING:
    from nasc.runtime.interpolate import Array

Key = tuple[str, Point]
"""A manifest entry's key and a value for each of its widths."""

HELD_SHARE, HELD_LEAST = 10, 8
"""One point in ten is held back, and at least eight, but never more than a third of what was measured."""
BATCH = (8, 64)
"""Fewest and most points that are asked for at once."""
GROWTH = 4
"""A batch is a quarter of what was measured before."""
CONFIDENCE = 0.9
BAR = 1.6449
"""Nine in ten of what is normally distributed lies within this many standard deviations."""
LEAST_ERROR = 1e-3
"""No measurement is taken to be more exact than a thousandth of itself."""


@dataclass(frozen=True)
class Budget:
    """How much to measure: so many points, a share of all points, seconds, until an error is reached, or the first of
    these; `error` is a part of a latency, such as 0.03."""

    points: int | None = None
    share: float | None = None
    seconds: float | None = None
    error: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`15%`, `200`, `90s`, `10min`, `2h`, `error 3%`, or several with commas. Raises `NascError`."""
        found: dict[str, float] = {}
        for part in text.split(","):
            name, value = _budget_part(part.strip(), text)
            if name in found:
                raise NascError(f"the budget `{text}` says twice how much", help=_BUDGET_HELP)
            found[name] = value
        points = found.pop("points", None)
        return cls(points=None if points is None else int(points), **found)

    def limit(self, total: int) -> int:
        """How many of `total` points may be measured."""
        limits = [total]
        if self.points is not None:
            limits.append(self.points)
        if self.share is not None:
            limits.append(math.floor(self.share * total + 1e-9))
        return min(limits)


_BUDGET_HELP = "a share `15%`, points `200`, a time `90s`, `10min` or `2h`, an error `error 3%`, or several with commas"
_BUDGET_PART = re.compile(r"(error\s+)?([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(%|s|min|h|)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def _budget_part(part: str, text: str) -> tuple[str, float]:
    match = _BUDGET_PART.fullmatch(part)
    if match is None:
        raise NascError(f"`{text}` is not a budget", help=_BUDGET_HELP)
    error, number, unit = match[1], float(match[2]), match[3]
    if number <= 0 or (unit == "%" and number > 100) or (error and unit != "%") or (not unit and "." in match[2]):
        raise NascError(f"`{text}` is not a budget", help=_BUDGET_HELP)
    if error:
        return "error", number / 100
    if unit == "%":
        return "share", number / 100
    return ("seconds", number * _SECONDS[unit]) if unit else ("points", number)


@dataclass(frozen=True)
class Estimate:
    """The latency of a point that was not measured, and its standard error, in microseconds."""

    median: float
    error: float


@dataclass(frozen=True)
class Stated:
    """Relative errors of the predictions of `points` held-back points: their median, the bound that the median lies
    below with a confidence of nine in ten, and the 95th percentile. `stretch` is what error bars were multiplied by."""

    points: int
    median: float
    bound: float
    high: float
    stretch: float


@dataclass
class _Known:
    """What was measured: rows of the grid with their latencies and standard errors; those held back; and failures."""

    us: dict[int, float] = field(default_factory=dict)
    errors: dict[int, float] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)


class Plan:
    """The points to measure of some manifest entries within a budget, and estimates of all others.

    `known` are rows that are there already: they are learned from and do not count against the budget, except that a
    share is one of all points. `importance` weighs a block's relative errors against other blocks', 1 by default.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        budget: Budget,
        *,
        known: Mapping[Key, Measurement] | None = None,
        importance: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        import numpy as np

        self.entries = {entry.key: entry for entry in entries}
        self.grid = Grid.of(list(self.entries.values()))
        self.rows = {key: row for row, key in enumerate(self.grid.keys)}
        self.budget = budget
        weights = importance or {}
        self.importance = np.array([weights.get(key, 1.0) for key, _ in self.grid.keys])
        self._random = Random(derive_seed(seed, "budget"))
        self._known = _Known()
        self._asked: set[int] = set()
        self._learn(known or {})
        there = len(self._asked)
        self._limit = budget.limit(len(self.grid)) - (there if budget.share is not None else 0)
        self._there = there

    def next(self, results: Mapping[Key, Measurement], seconds: float = 0.0) -> list[tuple[Entry, Point]]:
        """What to measure next, in this order; nothing when the plan is at its end.

        `results` are the rows of what was asked for before, `seconds` what the run has taken so far: the time that a
        batch will take is expected from it, so a budget in seconds is kept to about one batch.
        """
        self._learn(results)
        size = self._size(seconds)
        if size <= 0 or self._good_enough():
            return []
        chosen = self._choose(size)
        self._asked.update(chosen)
        return [(self.entries[key], point) for key, point in (self.grid.keys[row] for row in chosen)]

    @property
    def measured(self) -> int:
        """How many points were asked for so far."""
        return len(self._asked) - self._there
