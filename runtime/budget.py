"""Which points to measure when not all can be: a plan that is told results and says what to measure next.

A plan measures the ends and the middle of every block, then wherever a measurement would lessen the doubts that the
latencies known so far leave by most, and in between points drawn at random that nothing is learned from: how far those
are predicted wrong is the error that the plan states, and the yardstick that the error bars are stretched by. It
measures nothing itself, reads no clock, and asks for the same points when it is told the same results. Which points are
held back depends on the seed, the blocks and the budget alone, so that a plan that goes on with what a killed run left
still holds them back.
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
from nasc.runtime.interpolate import Grid, Interpolated, interpolate
from nasc.runtime.measurement import Estimate, Measurement
from nasc.runtime.seeds import derive_seed
from nasc.runtime.table import Point

if TYPE_CHECKING:
    from nasc.runtime.interpolate import Array

Key = tuple[str, Point]
"""A manifest entry's key and a value for each of its widths."""

HELD_SHARE, HELD_LEAST = 6, 8
"""One point in six is held back, and at least eight, but never more than a third of what was measured."""
BATCH = (8, 64)
"""Fewest and most points that are asked for at once."""
GROWTH = 4
"""A batch is a quarter of what was measured before."""
CONFIDENCE = 0.9
BAR = 1.6449
"""Nine in ten of what is normally distributed lies within this many standard deviations."""
UNKNOWN_STRETCH, LEAST_STRETCH = 2.0, 1.0
"""What error bars are multiplied by where too few points are held back, and the least ever."""
COMPARED = 1500
"""At most so many points are compared for what to measure next."""
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

    def limit(self, total: int, there: int = 0) -> int:
        """How many further points of `total` may be measured when so many are there, by points and share alone."""
        limits = [total - there]
        if self.points is not None:
            limits.append(self.points)
        if self.share is not None:
            limits.append(math.floor(self.share * total + 1e-9) - there)
        return max(0, min(limits))


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
    """What was measured: rows of the grid with their latencies and standard errors; failures; and what is empty."""

    us: dict[int, float] = field(default_factory=dict)
    errors: dict[int, float] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    empty: set[int] = field(default_factory=set)


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
        self._there = len(self._asked)
        self._limit = budget.limit(len(self.grid), self._there)
        self._first = self._corners()
        self._reserve = self._drawn()
        self._held = frozenset(self._reserve)

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

    def estimates(self) -> dict[Key, Estimate]:
        """Every point that was not measured; none where nothing was, or where the nearest measured point failed."""
        import numpy as np

        known = self._known
        if not known.us:
            return {}
        found = self._interpolated(sorted(known.us))
        stretch = self._stretch(self._predicted())
        us, errors = np.exp(found.log), np.exp(found.log) * found.deviation * stretch
        return {
            self.grid.keys[row]: Estimate(float(us[row]), float(errors[row]))
            for row in range(len(self.grid))
            if row not in known.us and row not in known.empty and not self._near_failure(row)
        }

    @property
    def stated(self) -> Stated | None:
        """How far held-back points were predicted wrong by the others; None where none are."""
        import numpy as np

        predicted = self._predicted()
        if predicted is None:
            return None
        wrong = np.sort(np.abs(np.expm1(predicted.wrong)))
        bound = wrong[min(len(wrong), _rank_above_median(len(wrong))) - 1]
        middle, high = np.quantile(wrong, [0.5, 0.95])
        return Stated(len(wrong), float(middle), float(bound), float(high), self._stretch(predicted))

    @property
    def measured(self) -> int:
        """How many points were asked for so far."""
        return len(self._asked) - self._there

    # --------------------------------------------------------------------------------------------- what is known

    def _learn(self, results: Mapping[Key, Measurement]) -> None:
        known = self._known
        for key, row in results.items():
            at = self.rows.get(key)
            if at is None:
                continue
            self._asked.add(at)
            known.failed.discard(at)
            if row.usable and row.median:
                known.us[at] = row.median
                known.errors[at] = max(row.standard_error, LEAST_ERROR * row.median)
            elif row.usable:
                known.empty.add(at)
            else:
                known.failed.add(at)

    def _interpolated(self, rows: Sequence[int]) -> Interpolated:
        known = self._known
        return interpolate(self.grid, rows, [known.us[row] for row in rows], [known.errors[row] for row in rows])

    def _predicted(self) -> _Predicted | None:
        """The held-back points as the others predict them."""
        import numpy as np

        known = self._known
        held, others = sorted(known.us.keys() & self._held), sorted(known.us.keys() - self._held)
        if not held or not others:
            return None
        found = self._interpolated(others)
        wrong = found.log[held] - np.log([known.us[row] for row in held])
        return _Predicted(wrong, found.deviation[held])

    def _stretch(self, predicted: _Predicted | None) -> float:
        """What error bars must be multiplied by, so that nine in ten of the held-back points lie within theirs.

        The rank is that of split conformal prediction, whose bars hold for a further point drawn like the held-back
        ones however wrong the model is (Lei et al., Distribution-Free Predictive Inference, 2018, section 2.2).
        """
        import numpy as np

        if predicted is None or len(predicted.wrong) < HELD_LEAST:
            return UNKNOWN_STRETCH
        ratios = np.sort(np.abs(predicted.wrong / predicted.deviation))
        rank = min(len(ratios), math.ceil(CONFIDENCE * (len(ratios) + 1)))
        return max(LEAST_STRETCH, float(ratios[rank - 1]) / BAR)

    def _near_failure(self, row: int) -> bool:
        import numpy as np

        grid, known = self.grid, self._known
        if not known.failed:
            return False
        settled = np.array(sorted(known.failed | known.us.keys()))
        settled = settled[grid.block[settled] == grid.block[row]]
        if not len(settled):
            return False
        distance = np.abs(grid.where[settled] - grid.where[row]).sum(1)
        return int(settled[distance.argmin()]) in known.failed

    # --------------------------------------------------------------------------------------------- what to measure

    def _size(self, seconds: float) -> int:
        """How many points the next batch has."""
        asked, (fewest, most) = self.measured, BATCH
        size = min(max(fewest, asked // GROWTH), most, self._limit - asked, len(self.grid) - len(self._asked))
        if self.budget.seconds is None or not asked:
            return size
        each = max(seconds, 1e-9) / asked
        return min(size, int((self.budget.seconds - seconds) / each))

    def _good_enough(self) -> bool:
        if self.budget.error is None or len(self._known.us.keys() & self._held) < HELD_LEAST:
            return False
        stated = self.stated
        return stated is not None and stated.bound <= self.budget.error

    def _choose(self, size: int) -> list[int]:
        """`size` points that were not asked for; some of them are held back."""
        reserve = [row for row in self._reserve if row not in self._asked]
        back = reserve[: max(0, _held_of(len(self._asked) + size) - (len(self._reserve) - len(reserve)))]
        first = [row for row in self._first if row not in self._asked][: size - len(back)]
        chosen = back + first + self._most_telling(size - len(back) - len(first), {*first, *self._reserve})
        chosen += [row for row in reserve if row not in back][: size - len(chosen)]
        self._random.shuffle(chosen)
        return chosen

    def _corners(self) -> list[int]:
        """The largest, smallest and middle points of all blocks, in this order, for at most half of the budget."""
        import numpy as np

        blocks = [np.flatnonzero(self.grid.block == number) for number in range(len(self.entries))]
        corners = [[int(b[i]) for b in blocks] for i in (-1, 0)] + [[int(b[len(b) // 2]) for b in blocks]]
        for stage in corners:
            self._random.shuffle(stage)
        return list(dict.fromkeys(row for stage in corners for row in stage))[: (self._there + self._limit + 1) // 2]

    def _drawn(self) -> list[int]:
        """The points held back, in the order in which they are measured."""
        left = sorted(set(range(len(self.grid))) - set(self._first))
        self._random.shuffle(left)
        return left[: _held_of(self._there + self._limit)]

    def _most_telling(self, size: int, taken: set[int]) -> list[int]:
        """Points, one after the other, whose measurement would lessen the sum of all variances most."""
        import numpy as np

        if size <= 0:
            return []
        known = self._known
        left = [row for row in range(len(self.grid)) if row not in self._asked and row not in taken]
        rows = np.array(sorted(self._random.sample(left, min(len(left), COMPARED))), dtype=int)
        learned = sorted(known.us.keys() - self._held)
        if not learned:
            return [int(row) for row in rows[:size]]
        found = self._interpolated(learned)
        return [int(rows[i]) for i in _greedy(found.covariance(rows), found.noise, self.importance[rows] ** 2, size)]


@dataclass(frozen=True)
class _Predicted:
    """Held-back points: how far the logarithm was predicted wrong and its standard deviation; see `Interpolated`."""

    wrong: Array
    deviation: Array


def _greedy(covariance: Array, noise: float, weights: Array, size: int) -> list[int]:
    """Numbers of points whose measurement, one after the other, takes most from the weighted sum of variances."""
    import numpy as np

    chosen: list[int] = []
    for _ in range(min(size, len(covariance))):
        variance = np.diag(covariance) + noise
        gain = (weights[:, None] * covariance**2).sum(0) / variance
        gain[chosen] = -1.0
        best = int(gain.argmax())
        column = covariance[:, best]
        covariance = covariance - np.outer(column, column) / variance[best]
        chosen.append(best)
    return chosen


def _held_of(measured: int) -> int:
    """How many of so many measured points are held back."""
    return max(measured // HELD_SHARE, min(HELD_LEAST, measured // 3))


def _rank_above_median(count: int) -> int:
    """The rank of the least of `count` draws that lies above the median of what they come from, nine times in ten."""
    below = 0.0
    for rank in range(1, count + 1):
        below += math.comb(count, rank - 1) / 2**count
        if below >= CONFIDENCE:
            return rank
    return count
