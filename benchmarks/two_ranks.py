"""One search in two processes against one that computes the same two half-batches in turn.

Run: `python benchmarks/two_ranks.py` on two cores with nothing else to do (some minutes). A trial of a search over
`spaces/fashion.nas` on Fashion-MNIST by MACs, so many steps for weights and as many for architecture weights:
`--accumulate 2` in one process, and two processes started by torchrun that talk through gloo, each with one thread. The
two take turns, round after round. "wall" is the epoch as the search's log has it, "CPU" the user + system time of all
its processes beyond what the same command takes for one step of each kind. Ratios are of one round, median (quartiles);
on a machine that others use the wall time is as much theirs, so the load average of each round is told.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import SPACES, spread

BATCH = 64
START = {
    "one process, two parts": ([], ["--accumulate", "2"]),
    "two processes": (["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"], []),
}
"""What comes before the search module, and after its arguments."""


def trial(folder: Path, name: str, steps: int) -> tuple[float, float]:
    """The seconds of a trial's epoch, and the CPU seconds of all processes from start to end."""
    launcher, more = START[name]
    with tempfile.TemporaryDirectory(dir=folder) as out:
        words = ["--data", "fashion", "--cost", "macs", "--steps", str(steps), "--batch", str(BATCH), "--threads", "1"]
        command = [sys.executable, *launcher, str(folder / "search.py"), *words, "--out", f"{out}/run", *more]
        before = cpu_of_children()
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        metrics = (Path(out) / "run" / "metrics.jsonl").read_text(encoding="utf-8")
        return float(json.loads(metrics.splitlines()[-1])["seconds"]), cpu_of_children() - before


def cpu_of_children() -> float:
    """User and system seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    wall: dict[str, list[float]] = {name: [] for name in START}
    cpu: dict[str, list[float]] = {name: [] for name in START}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compiling = [sys.executable, "-m", "nasc", "compile", str(SPACES / "fashion.nas"), "-o", str(folder)]
        subprocess.run(compiling, check=True, capture_output=True)
        alone = {each: trial(folder, each, 1)[1] for each in START}
        for number in range(arguments.rounds):
            for each in START:
                seconds, used = trial(folder, each, arguments.steps)
                wall[each].append(seconds)
                cpu[each].append(used - alone[each])
            print(f"round {number + 1} of {arguments.rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    base = next(iter(START))
    print("| search | wall, s | one process is longer by | CPU, s | ratio to one process |")
    print("| --- | --- | --- | --- | --- |")
    for each in START:
        gains = [a / b for a, b in zip(wall[base], wall[each], strict=True)]
        costs = [a / b for a, b in zip(cpu[each], cpu[base], strict=True)]
        print(
            f"| {each} | {statistics.median(wall[each]):.1f} | {spread(gains)} "
            f"| {statistics.median(cpu[each]):.1f} | {spread(costs)} |"
        )


if __name__ == "__main__":
    main()
