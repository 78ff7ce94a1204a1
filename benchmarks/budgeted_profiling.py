"""Budgeted profiling against exhaustive: how far are latencies off that were not measured, and do their bars hold?

Measure: `python benchmarks/budgeted_profiling.py measure raw.jsonl --space gpunet1 --passes 3` times every point of a
space on the ONNX Runtime CPU engine, pass after pass, in groups of random points, and appends each to a file, so that
it goes on where it was stopped. `--entries 8` takes a random 8 of the blocks with all their widths, `--set name=value`
changes a parameter of the space. On a machine that does other work, `--cpu-time` counts the thread's CPU time instead
of what passes, so that being interrupted counts nothing.

Evaluate, without measuring: `python benchmarks/budgeted_profiling.py evaluate raw.jsonl --budget 15%` lets a plan
choose points of the first pass, once for each of `--seeds`, and compares its estimates of all other points with the
last pass, which it never saw. The first row is the first pass against the second at all points: how far two exhaustive
runs differ. The second is the first pass against the last where the plans estimate, were it all measured. `--plot
figure.svg` draws some blocks as the first plan knows them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import SPACES

from nasc.compiler.build_manifest import manifest_of
from nasc.compiler.lower_onnx import block_onnx
from nasc.compiler.manifest import Entry, Target
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.specialise import specialise
from nasc.runtime.budget import BAR, Budget, Key, Plan, Stated
from nasc.runtime.engines import interleave
from nasc.runtime.engines.base import TimingOptions
from nasc.runtime.engines.onnxruntime_cpu import OnnxRuntimeCpu
from nasc.runtime.measurement import Estimate, Measurement
from nasc.runtime.table import Point, parse_point, point_text

GROUP = 8


def blocks(space: str, sets: Sequence[str], share: int | None) -> list[Entry]:
    """The blocks of a space, or so many random ones of those that have widths."""
    network = network_of(space_of(open_file(SPACES / f"{space}.nas", sets=tuple(sets))))
    entries = list(manifest_of(network).entries)
    if share is None:
        return entries
    wide = [entry for entry in entries if entry.points > 1]
    random.Random(0).shuffle(wide)
    return wide[:share]


def measure(options: argparse.Namespace) -> None:
    """Time what the file lacks."""
    entries = blocks(options.space, options.set, options.entries)
    if options.cpu_time:
        interleave.time_batch = cpu_batch
    engine, target = OnnxRuntimeCpu(TimingOptions(max_rounds=options.rounds)), Target()
    environment = engine.environment(target)
    held, reference = read(options.raw) if options.raw.exists() else ({}, None)
    with options.raw.open("a") as file:
        if not held:
            about = {
                "space": options.space,
                "set": options.set,
                "entries": options.entries,
                "cpu_time": options.cpu_time,
            }
            print(json.dumps({**about, "environment": str(environment)}), file=file, flush=True)
        for number in range(options.passes):
            there = held.get(number, {})
            points = [(e, p) for e in entries for p in points_of(e) if (e.key, p) not in there]
            random.Random(number).shuffle(points)
            began = time.perf_counter()
            for at in range(0, len(points), GROUP):
                group = points[at : at + GROUP]
                session = engine.measure([model(*each) for each in group], environment, reference)
                reference = session.reference_us
                for (entry, point), row in zip(group, session.measurements, strict=True):
                    line = {"pass": number, "block": entry.key, "point": point_text(point), "reference": reference}
                    print(json.dumps({**line, **row.model_dump(exclude_none=True)}), file=file, flush=True)
                done = at + len(group)
                print(f"pass {number}: {done}/{len(points)} in {time.perf_counter() - began:.0f} s", file=sys.stderr)


def cpu_batch(run: Callable[[], object], repeats: int) -> interleave.Batch:
    """`interleave.time_batch` in CPU time of this thread."""
    stamps = [time.thread_time_ns()]
    for _ in range(repeats):
        run()
        stamps.append(time.thread_time_ns())
    runs = [b - a for a, b in itertools.pairwise(stamps)]
    return interleave.Batch(statistics.median(runs) / 1e3, min(runs) / 1e3, 1.0)


def points_of(entry: Entry) -> Iterator[Point]:
    """Every combination of an entry's width values."""
    return itertools.product(*(width.domain for width in entry.widths))


def model(entry: Entry, point: Point) -> bytes:
    """The ONNX model of a block at a point."""
    values = {width.address: value for width, value in zip(entry.widths, point, strict=True)}
    return block_onnx(specialise(entry.graph, values)).SerializeToString()


def read(path: Path) -> tuple[dict[int, dict[Key, Measurement]], float | None]:
    """The rows of a file by pass, and the canary time that they are relative to."""
    passes: dict[int, dict[Key, Measurement]] = {}
    reference = None
    for line in path.read_text().splitlines()[1:]:
        row: dict[str, Any] = json.loads(line)
        number, reference = row.pop("pass"), row.pop("reference")
        key = row.pop("block"), parse_point(row.pop("point"))
        passes.setdefault(number, {})[key] = Measurement(**row)
    return passes, reference


def evaluate(options: argparse.Namespace) -> None:
    """Print how far estimates are from the last pass."""
    about = json.loads(options.raw.read_text().splitlines()[0])
    entries = blocks(about["space"], about["set"], about["entries"])
    every = [(entry.key, point) for entry in entries for point in points_of(entry)]
    passes = [rows for rows in read(options.raw)[0].values() if all(key in rows and rows[key].usable for key in every)]
    first, second, last = passes[0], passes[1], passes[-1]
    print(f"{len(entries)} blocks, {len(every)} points, {len(passes)} passes; {about['environment']}")
    print()
    print("| | points measured | median error | 95th percentile | within their bars | stated median, 95th percentile |")
    print("| --- | --- | --- | --- | --- | --- |")
    apart = [relative(first[key].median, second[key].median) for key in every]
    print(f"| two passes | {len(every)} | {quantiles(apart)} | | |")
    results = [replayed(entries, options.budget, seed, first, last) for seed in range(options.seeds)]
    unmeasured = [relative(first[key].median, last[key].median) for r in results for key in r.estimates]
    print(f"| the points estimated, measured | {len(every)} | {quantiles(unmeasured)} | | |")
    for seed, result in enumerate(results):
        stated = result.stated and f"{result.stated.median:.1%}, {result.stated.high:.1%} at {result.stated.points}"
        print(f"| seed {seed} | {result.measured} | {quantiles(result.errors)} | {result.within:.1%} | {stated} |")
    middle, high = (statistics.median(np.quantile(r.errors, q) for r in results) for q in (0.5, 0.95))
    within = statistics.mean(r.within for r in results)
    print(f"| all seeds | {results[0].measured} | {middle:.1%} | {high:.1%} | {within:.1%} | |")
    repeat = np.quantile(apart, [0.5, 0.95])
    print()
    print(f"median error {middle:.2%}, goal {max(0.02, 1.5 * repeat[0]):.2%}")
    goals = f"{max(0.08, 2 * repeat[0]):.2%} (by the 95th percentile of two passes: {max(0.08, 2 * repeat[1]):.2%})"
    print(f"95th percentile {high:.2%}, goal {goals}")
    print(f"within their bars {within:.1%}, goal 90%")
    if options.plot:
        plot(options.plot, entries, results[0], first, last)


@dataclass(frozen=True)
class Replayed:
    """What a plan ended in: what it asked for, its estimates, their errors and how many lie within their bars."""

    asked: frozenset[Key]
    estimates: dict[Key, Estimate]
    errors: list[float]
    within: float
    stated: Stated | None

    @property
    def measured(self) -> int:
        return len(self.asked)


def replayed(
    entries: Sequence[Entry], budget: str, seed: int, told: dict[Key, Measurement], truth: dict[Key, Measurement]
) -> Replayed:
    """A plan that is told one pass where it asks, against another."""
    plan = Plan(entries, Budget.parse(budget), seed=seed)
    asked: set[Key] = set()
    results: dict[Key, Measurement] = {}
    while batch := plan.next(results):
        results = {(entry.key, point): told[entry.key, point] for entry, point in batch}
        asked |= results.keys()
    estimates = plan.estimates()
    errors = [relative(e.median, truth[key].median) for key, e in estimates.items()]
    within = [abs(e.median - (truth[key].median or 0.0)) <= BAR * e.error for key, e in estimates.items()]
    return Replayed(frozenset(asked), estimates, errors, statistics.mean(within), plan.stated)


def relative(us: float | None, truth: float | None) -> float:
    """How far a latency is from another, as a part of it."""
    assert us is not None and truth
    return abs(us / truth - 1)


def quantiles(errors: Sequence[float]) -> str:
    """Median and 95th percentile as two cells of a table."""
    middle, high = np.quantile(errors, [0.5, 0.95])
    return f"{middle:.1%} | {high:.1%}"


def plot(
    path: Path, entries: Sequence[Entry], result: Replayed, told: dict[Key, Measurement], truth: dict[Key, Measurement]
) -> None:
    """Six blocks over their width: the pass that was held back, the points told, estimates and their bars."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    wide = sorted((e for e in entries if len(e.widths) == 1 and e.points > 2), key=lambda e: e.points)
    shown = [wide[i * (len(wide) - 1) // 5] for i in range(6)]
    figure, axes = pyplot.subplots(2, 3, figsize=(11, 6), layout="constrained")
    for axis, entry in zip(axes.flat, shown, strict=True):
        points = [(entry.key, point) for point in points_of(entry)]
        axis.plot(*curve(points, lambda key: truth[key].median), ".", color="0.6", label="held-back pass")
        guessed = [key for key in points if key in result.estimates]
        widths, us = curve(guessed, lambda key: result.estimates[key].median)
        bars = BAR * np.array([result.estimates[key].error for key in guessed])
        axis.plot(widths, us, color="C0", lw=1, label="estimate")
        axis.fill_between(widths, us - bars, us + bars, color="C0", alpha=0.25, lw=0, label="nine in ten")
        asked = [key for key in points if key in result.asked]
        axis.plot(*curve(asked, lambda key: told[key].median), "o", mfc="none", color="C3", label="was measured")
        tensor = next(iter(entry.graph.inputs.values()))
        axis.set_title(f"{entry.block}, from {tensor.channels} x {tensor.height} x {tensor.width}", fontsize=9)
    axes[0, 0].legend(fontsize=8)
    figure.supxlabel("hidden channels")
    figure.supylabel("latency, µs")
    figure.savefig(path, metadata={"Date": None})


def curve(keys: Sequence[Key], of: Callable[[Key], float | None]) -> tuple[np.ndarray, np.ndarray]:
    """The widths of points, and a number of each."""
    return np.array([float(point[0]) for _, point in keys]), np.array([of(key) for key in keys])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("raw", type=Path)
    measuring.add_argument("--space", default="gpunet1")
    measuring.add_argument("--set", action="append", default=[])
    measuring.add_argument("--entries", type=int)
    measuring.add_argument("--passes", type=int, default=3)
    measuring.add_argument("--cpu-time", action="store_true")
    measuring.add_argument("--rounds", type=int, default=100)
    measuring.set_defaults(run=measure)
    evaluating = commands.add_parser("evaluate")
    evaluating.add_argument("raw", type=Path)
    evaluating.add_argument("--budget", default="15%")
    evaluating.add_argument("--seeds", type=int, default=5)
    evaluating.add_argument("--plot", type=Path)
    evaluating.set_defaults(run=evaluate)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
