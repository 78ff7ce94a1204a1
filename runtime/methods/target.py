"""A search for a target: the trade-off of eq. 2 adjusted as it runs, and a member that meets the target at its end.

PruNet sweeps alpha by hand (A.2.1). Here a controller moves it so that the expected cost comes down to the target along
a curve that is set beforehand, and stays there while the search decides; what is left then is rounded to a member whose
cost lies in the window below the target.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

WINDOW = 0.03
"""The found network's cost lies at most this part below the target, where the space has such members."""

_AIM = 1 - WINDOW / 2
_ARRIVES = 0.5
"""The part of the search after which the expected cost is to be at its aim."""
_PROPORTIONAL, _INTEGRAL = 10.0, 30.0
_LOG_LIMIT = math.log(100.0)
"""Beyond this factor either way one of the two terms of eq. 2 is all that counts."""
_NEGATIVE = 2.0
_BINS = 400


class Multiplier:
    """alpha as the search runs: a proportional-integral controller on the log of the expected cost."""

    def __init__(self, target: float, alpha: float) -> None:
        """`target`: what the found network may cost at most; `alpha`: where the multiplier starts."""
        self.target, self.first = target, alpha
        self.begun: float | None = None
        self.integral, self.done = 0.0, 0.0
        self.alpha = alpha

    def reference(self, done: float) -> float:
        """What is to be expected when this part (0 to 1) of the search is done: from what it began with to the aim."""
        assert self.begun is not None
        part = min(1.0, done / _ARRIVES)
        return self.begun ** (1 - part) * (self.target * _AIM) ** part

    def step(self, done: float, expected: float) -> float:
        """The next alpha, after the step that completes the part `done` of the search, from the cost expected now."""
        if self.begun is None:
            self.begun = max(expected, 1e-9)
        error = math.log(max(expected, 1e-9) / self.reference(done))
        wanted = self.integral + _PROPORTIONAL * error
        if abs(wanted) < _LOG_LIMIT or wanted * error < 0:  # what is at its limit already would take long to come back
            self.integral += _INTEGRAL * error * (done - self.done)
        self.done = done
        self.alpha = self.first * _factor(max(-_LOG_LIMIT, min(_LOG_LIMIT, wanted)))
        return self.alpha

    def state(self) -> dict[str, Any]:
        return {"begun": self.begun, "integral": self.integral, "done": self.done, "alpha": self.alpha}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`. Raises `LookupError`, `TypeError` or `ValueError` for anything else."""
        begun = state["begun"]
        self.begun = None if begun is None else float(begun)
        self.integral, self.done, self.alpha = (float(state[name]) for name in ("integral", "done", "alpha"))
        if not all(map(math.isfinite, (self.begun or 0.0, self.integral, self.done, self.alpha))):
            raise ValueError("a multiplier that is not finite")


def _factor(wanted: float) -> float:
    """Grows with `wanted` as exp(wanted), is 1 at 0, and negative far below it: the multiplier of an equality.

    A search that would end far below its target is thus rewarded for what costs more.
    """
    return (math.exp(wanted) - math.exp(-wanted - _NEGATIVE)) / (1 - math.exp(-_NEGATIVE))


@dataclass(frozen=True)
class Option:
    """One way to decide a layer: its cost, and the log of how probable the search finds it."""

    cost: float
    score: float


def best_within(layers: Sequence[Sequence[Option]], fixed: float, target: float) -> list[int] | None:
    """For each layer the number of an option, so that the sum of their scores is the largest of those in the window.

    The window is `target` less `WINDOW` to `target`, `fixed` included. Where no choice lies in it, the dearest below
    it that was found; None where every choice costs more than the target. Costs are rounded up to a 400th of the
    target for each layer, which only ever finds less than there is, by a quarter of a percent.
    """
    room = target - fixed
    if room < 0:
        return None
    bins = _BINS * max(1, len(layers))
    unit = max(room, 1e-9 * target) / bins
    scores = numpy.full(bins + 1, -numpy.inf)
    scores[0] = 0.0
    taken: list[numpy.ndarray[Any, Any]] = []
    for options in layers:
        after = numpy.full(bins + 1, -numpy.inf)
        choice = numpy.full(bins + 1, -1)
        for number, option in enumerate(options):
            size = _bins_of(option.cost, unit)
            if size > bins:
                continue
            reached = numpy.full(bins + 1, -numpy.inf)
            reached[size:] = scores[: bins + 1 - size] + option.score
            better = reached > after
            after[better], choice[better] = reached[better], number
        scores = after
        taken.append(choice)
    end = _end(scores, (target * (1 - WINDOW + 1 / _BINS) - fixed) / unit)
    return None if end is None else _walk_back(layers, taken, end, unit)


def _bins_of(cost: float, unit: float) -> int:
    return math.ceil(cost / unit - 1e-9)


def _end(scores: numpy.ndarray[Any, Any], lowest: float) -> int | None:
    """The bin to end in: the best of the window, else the dearest that can be reached."""
    reached = numpy.flatnonzero(numpy.isfinite(scores))
    if not len(reached):
        return None
    inside = reached[reached >= lowest]
    return int(inside[scores[inside].argmax()]) if len(inside) else int(reached[-1])


def _walk_back(
    layers: Sequence[Sequence[Option]], taken: Sequence[numpy.ndarray[Any, Any]], end: int, unit: float
) -> list[int]:
    found: list[int] = []
    for options, choice in zip(reversed(layers), reversed(taken), strict=True):
        number = int(choice[end])
        found.append(number)
        end -= _bins_of(options[number].cost, unit)
    return found[::-1]
