"""Budgeted profiling against exhaustive: how far are latencies off that were not measured, and do their bars hold?

Measure: `python benchmarks/budgeted_profiling.py measure raw.jsonl --space gpunet1 --passes 3` times every point of a
space on the ONNX Runtime CPU engine, pass after pass, in groups of random points, and appends each to a file, so that
it goes on where it was stopped. `--entries 8` takes a random 8 of the blocks with all their widths, `--set name=value`
changes a parameter of the space. On a machine that does other work, `--cpu-time` counts the thread's CPU time instead of
what passes, so that being interrupted counts nothing.
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
from pathlib import Path
from typing import Any

from measuring import SPACES

from nasc.compiler.build_manifest import manifest_of
from nasc.compiler.lower_onnx import block_onnx
from nasc.compiler.manifest import Entry, Target
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.specialise import specialise
from nasc.runtime.engines import interleave
from nasc.runtime.engines.base import TimingOptions
from nasc.runtime.engines.onnxruntime_cpu import OnnxRuntimeCpu
from nasc.runtime.measurement import Measurement
from nasc.runtime.table import Point, parse_point, point_text

GROUP = 8
Key = tuple[str, Point]


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
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
