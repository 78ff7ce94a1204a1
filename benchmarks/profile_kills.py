"""Profiling killed again and again, alone and with others on one table: is anything lost, or measured twice?

Run: `python benchmarks/profile_kills.py --kills 200 --together 50 --runs 4`. Profiles the manifest of spaces/digits.nas
with ONNX Runtime, each block timed briefly. One run at a time is started and killed with SIGKILL at a random moment of
its start or its work, again and again, and a new table is begun whenever one is full; then several runs fill one table
together, of which one is killed at a random moment and replaced, again and again. After each kill the table is opened,
which checks it, and must hold every row that was there before, unchanged; the killed run's engine must end by itself.
A last run fills each table: then every point must be there, no claim, and no file beside the table. Each run notes each
row that it has committed, which tells whether a point was measured twice.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nasc.compiler.compile import compile_file
from nasc.runtime.engine_worker import EngineWorker
from nasc.runtime.engines import TimingOptions
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.profile import count_points, profile
from nasc.runtime.progress import SilentProgress
from nasc.runtime.table import LatencyTable

SPACE = Path(__file__).parents[1] / "spaces" / "digits.nas"
BRIEF = TimingOptions(batch_us=200, min_rounds=2, max_rounds=3)
WORK_SECONDS = 1.0
"""Kills come at most so long after a run has its engine."""
START_SHARE = 0.2
"""Part of the kills that come while a run starts."""


@dataclass
class Counts:
    """What was seen; all of it but the first three numbers should be 0."""

    kills: int = 0
    tables: int = 0
    rows: int = 0
    lost: int = 0
    changed: int = 0
    twice: int = 0
    refused: int = 0
    claims: int = 0
    engines: int = 0
    files: int = 0


class Noting(LatencyTable):
    """A table that notes each row once it is committed."""

    def put(self, entry_key: str, point: Any, environment: Any, measurement: Any, block_json: str = "{}") -> None:
        super().put(entry_key, point, environment, measurement, block_json)
        with self.path.with_suffix(".log").open("a") as log:
            log.write(f"{entry_key} {environment.env_id} {point}\n")


def run(folder: Path, path: Path) -> None:
    """What a started process does: it says that its engine is there, by its process, and profiles."""
    with Noting(path) as table, EngineWorker("onnxruntime", BRIEF) as engine:
        manifest = load_manifest(folder)
        engine.available()
        print(engine.pid, flush=True)
        report = profile(manifest, table, engine, progress=SilentProgress())
    sys.exit(len(report.failures))


class Run:
    """A run in a process of its own."""

    def __init__(self, folder: Path, path: Path) -> None:
        command = [sys.executable, __file__, "--folder", str(folder), "--table", str(path)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.engine: int | None = None

    def ready(self) -> None:
        assert self.process.stdout is not None
        self.engine = int(self.process.stdout.readline())

    def kill(self) -> bool:
        """Kill it, and say whether it was still at work."""
        at_work = self.process.poll() is None
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
        return at_work and self.process.returncode == -signal.SIGKILL

    def leaves_its_engine(self) -> bool:
        """Is the engine's process still there after a second?"""
        end = time.monotonic() + 1
        while self.engine is not None and _lives(self.engine):
            if time.monotonic() > end:
                return True
            time.sleep(0.005)
        return False


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Observer:
    """One table at a time, and what must be true of it."""

    def __init__(self, folder: Path, home: Path, counts: Counts) -> None:
        self.folder, self.home, self.counts = folder, home, counts
        self.points = count_points(load_manifest(folder))
        self.begin()

    def begin(self) -> None:
        self.path = self.home / f"{time.monotonic_ns()}.db"
        self.lines: set[str] = set()

    def look(self) -> int:
        """How many rows there are, all earlier ones among them."""
        if not self.path.exists():
            return 0
        try:
            with LatencyTable(self.path, readonly=True) as table:
                lines = set(table.export())
        except Exception as error:
            # A run killed before it wrote its schema leaves an empty file, which the next one fills.
            if self.path.stat().st_size:
                print(error, file=sys.stderr)
                self.counts.refused += 1
            return 0
        gone = self.lines - lines
        self.counts.changed += min(len(gone), len(lines - self.lines))
        self.counts.lost += max(0, len(self.lines) - len(lines))
        self.lines = lines
        return len(lines)

    def full(self) -> bool:
        return self.look() == self.points

    def finish(self) -> None:
        """Let a last run fill the table, and judge it."""
        last = Run(self.folder, self.path)
        last.process.communicate()
        assert last.process.returncode == 0
        rows = self.look()
        noted = Counter(self.path.with_suffix(".log").read_text().splitlines())
        self.counts.tables += 1
        self.counts.rows += rows
        self.counts.lost += self.points - rows
        self.counts.twice += sum(times - 1 for times in noted.values())
        with LatencyTable(self.path) as table:
            self.counts.claims += sum(table.claims().values())
        self.counts.files += len(list(self.home.glob(f"{self.path.name}-*")))
        self.begin()


def alone(observer: Observer, kills: int, order: random.Random) -> None:
    """One run after another, each killed."""
    while observer.counts.kills < kills:
        each = Run(observer.folder, observer.path)
        if order.random() < START_SHARE:
            time.sleep(order.random())
        else:
            each.ready()
            time.sleep(WORK_SECONDS * order.random())
        observer.counts.kills += each.kill()
        observer.counts.engines += each.leaves_its_engine()
        if observer.full():
            observer.finish()
    observer.finish()


def together(observer: Observer, kills: int, count: int, order: random.Random) -> None:
    """Several runs on one table; one of them is killed and replaced, again and again."""
    while observer.counts.kills < kills:
        runs = [Run(observer.folder, observer.path) for _ in range(count)]
        for each in runs:
            each.ready()
        while not observer.full() and observer.counts.kills < kills:
            time.sleep(WORK_SECONDS / 2 * order.random())
            victim = runs.pop(order.randrange(count))
            observer.counts.kills += victim.kill()
            observer.counts.engines += victim.leaves_its_engine()
            runs.append(Run(observer.folder, observer.path))
            runs[-1].ready()
        for each in runs:
            each.process.communicate()
        observer.finish()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of one run alone")
    parser.add_argument("--together", type=int, default=50, help="kills among several runs on one table")
    parser.add_argument("--runs", type=int, default=4, help="on one table at the same time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        run(options.folder, options.table)
    order = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as home:
        os.environ["XDG_CACHE_HOME"] = home
        folder = Path(home) / "built"
        compile_file(SPACE, folder)
        one, several = Counts(), Counts()
        alone(Observer(folder, Path(home), one), options.kills, order)
        together(Observer(folder, Path(home), several), options.together, options.runs, order)
    names = [field.name for field in fields(Counts)]
    print(f"| runs at once | {' | '.join(names)} |", "|" + " --- |" * (len(names) + 1), sep="\n")
    for runs, counts in ((1, one), (options.runs, several)):
        print(f"| {runs} | {' | '.join(str(getattr(counts, name)) for name in names)} |")


if __name__ == "__main__":
    main()
