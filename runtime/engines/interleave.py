"""Interleaved timing on a shared CPU, relative to a canary.

Rounds are paired: in each one every block, a canary block and an Identity run once, in random order, so that what slows
the machine down slows all of them, and the canary tells by how much. CPU time shows time-slicing but not interference
through caches and sibling cores, which is why both are watched.
"""

from __future__ import annotations

import gc
import itertools
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from nasc.runtime.engines.base import TimingOptions
from nasc.runtime.engines.beat import alive
from nasc.runtime.measurement import Quality, error_of_median, median_absolute_deviation


@dataclass(frozen=True)
class Batch:
    """One round of one block: the median and the shortest of its runs, and how much of the time it had the CPU."""

    median_us: float
    minimum_us: float
    wall_over_cpu: float


@dataclass
class Subject:
    """Something to time: `run` executes it once; `repeats` runs make a batch."""

    run: Callable[[], object]
    repeats: int
    rounds: dict[int, Batch] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Statistics:
    """A subject's latency over the rounds kept, in microseconds relative to the reference canary."""

    minimum: float
    median: float
    mad: float
    samples: int
    dropped: int
    quality: Quality


@dataclass(frozen=True)
class Interleaved:
    """Statistics of every subject, of Identity, the canary's raw median and the reference that was used."""

    subjects: tuple[Statistics, ...]
    identity: Statistics
    canary_us: float
    reference_us: float


def repeats_for(run_us: float, options: TimingOptions) -> int:
    """Runs that make a batch of at least `batch_us`."""
    return max(1, math.ceil(options.batch_us / max(run_us, 0.1)))


def time_batch(run: Callable[[], object], repeats: int) -> Batch:
    """Time `repeats` runs one by one."""
    clock = time.perf_counter_ns
    stamps = [0] * (repeats + 1)
    before = time.thread_time_ns()
    stamps[0] = clock()
    for i in range(1, repeats + 1):
        run()
        stamps[i] = clock()
    cpu = time.thread_time_ns() - before
    runs = [b - a for a, b in itertools.pairwise(stamps)]
    return Batch(statistics.median(runs) / 1e3, min(runs) / 1e3, (stamps[-1] - stamps[0]) / max(cpu, 1))


def interleave(
    subjects: Sequence[Subject],
    canary: Subject,
    identity: Subject,
    options: TimingOptions,
    reference_us: float | None = None,
) -> Interleaved:
    """Run rounds until every subject is settled, at most `options.max_rounds`, and say what they showed.

    Without a `reference_us` the lower quartile of the canary's rounds becomes the reference.
    """
    order = random.Random(options.seed)
    active = list(subjects)
    with _no_collection():
        for number in range(options.max_rounds):
            _round(number, [*active, canary, identity], order)
            judge = _Judge(canary, reference_us, options)
            active = [s for s in active if not judge.done(s)]
            if not active:
                break
    return Interleaved(
        tuple(judge.statistics(s) for s in subjects), judge.statistics(identity), judge.canary_us, judge.reference_us
    )


def _round(number: int, subjects: list[Subject], order: random.Random) -> None:
    order.shuffle(subjects)
    for subject in subjects:
        alive()
        began = time.perf_counter()
        subject.rounds[number] = time_batch(subject.run, subject.repeats)
        subject.seconds += time.perf_counter() - began


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection within, and none left over from before."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Judge:
    """Decides which rounds count, from the canary's."""

    def __init__(self, canary: Subject, reference_us: float | None, options: TimingOptions) -> None:
        self.options = options
        times = {number: batch.median_us for number, batch in canary.rounds.items()}
        self.canary_us = statistics.median(times.values())
        self.reference_us = reference_us or sorted(times.values())[len(times) // 4]
        self.drift = {number: us / self.reference_us for number, us in times.items()}
        self.quiet = {
            number
            for number, batch in canary.rounds.items()
            if batch.wall_over_cpu <= options.wall_over_cpu
            and abs(batch.median_us / self.canary_us - 1) <= options.canary_tolerance
        }

    def _kept(self, subject: Subject) -> list[int]:
        limit = self.options.wall_over_cpu
        return [n for n, b in subject.rounds.items() if n in self.quiet and b.wall_over_cpu <= limit]

    def done(self, subject: Subject) -> bool:
        """Settled, or out of time for another round?"""
        each = subject.seconds / len(subject.rounds)
        return self.statistics(subject).quality == "good" or subject.seconds + each > self.options.point_seconds

    def statistics(self, subject: Subject) -> Statistics:
        kept = self._kept(subject)
        dropped = len(subject.rounds) - len(kept)
        enough = len(kept) >= self.options.min_rounds
        rounds = kept if enough else list(subject.rounds)
        values = [subject.rounds[n].median_us / self.drift[n] for n in rounds]
        median, mad = statistics.median(values), median_absolute_deviation(values)
        settled = error_of_median(mad, len(values)) < self.options.error * median
        return Statistics(
            minimum=min(subject.rounds[n].minimum_us / self.drift[n] for n in rounds),
            median=median,
            mad=mad,
            samples=len(rounds),
            dropped=dropped,
            quality=("good" if settled else "unsettled") if enough else "noisy",
        )
