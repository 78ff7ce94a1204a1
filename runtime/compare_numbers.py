"""The numbers that a comparison is judged by: the hypervolume of a set of networks, and its interval over seeds.

The hypervolume is the part of the box between a reference point and the ideal (no cost, every answer right) that the
networks dominate: 0 for none, 1 for the ideal (Zitzler and Thiele, 1998). Intervals are Student's t at 95 %: they say
how far another set of seeds would move the mean, not how networks of one seed differ.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from nasc.runtime.sweep_table import pareto_front

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean and the ends of its interval; None where one seed cannot tell."""

    mean: float
    low: float | None
    high: float | None


def hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """The dominated part of the box from `reference` (cost, accuracy) to (0, 1), from 0 to 1.

    `points` are costs and accuracies; those that are not better than the reference in both add nothing.
    """
    most, chance = reference
    inside = [(cost, accuracy) for cost, accuracy in points if cost < most and accuracy > chance]
    area, height = 0.0, chance
    for at in pareto_front(inside):
        cost, accuracy = inside[at]
        area += (most - cost) * (accuracy - height)
        height = accuracy
    box = most * (1 - chance)
    return area / box if box > 0 else 0.0


def interval(values: Sequence[float]) -> Interval | None:
    """The mean with its t-interval, cut to 0 .. 1; None of nothing, and without ends of a single value.

    What is compared are shares: accuracies and hypervolumes.
    """
    from scipy.stats import t  # type: ignore[import-untyped]

    if not values:
        return None
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return Interval(mean, None, None)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * statistics.stdev(values) / count**0.5
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))
