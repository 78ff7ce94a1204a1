"""CPU seconds of `nasc check` and `nasc compile`, and how they grow with layers and with members.

Run: `python benchmarks/compile_time.py` (some minutes). Each figure is user + system time of a whole process, the
median of the rounds; the commands take turns, round after round. "cold" removes the grammar cache before each run.
Layers: a body of 1 to 1,000 inverted residuals; "of linear" is what a layer takes beyond what one alone does, against
the same with 100 layers. Members: 100 layers with more and more widths up to the same largest one. Ratios are those of
one round: median (quartiles).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from math import log10
from pathlib import Path

ROOT = Path(__file__).parent.parent
LAYERS = (1, 100, 200, 500, 1000)
STEPS = {3: (200, 400), 10: (100, 100), 100: (10, 10), 1000: (1, 1)}
"""How many widths there are up to 1,000: the first of them, and the step."""
SPACE = """nas 1
space deep {{
  input   image 3 x 16 x 16
  output  classes 10
  stage stem  conv            {{ kernel 3 }}   -> 16
  stage body  irb x {layers}  {{ {choices} }}  -> 16
  head    global_pool | linear
}}
search prunet {{ }}
"""


def cpu_seconds(arguments: Sequence[str], cache: Path) -> float:
    """User and system seconds of one nasc process. Raises `CalledProcessError` where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-m", "nasc", *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(folder: Path) -> dict[str, list[str]]:
    """What is timed, by name; spaces are written to `folder`."""
    found = {name: [name, "spaces/gpunet1.nas"] for name in ("check", "compile")}
    for layers in LAYERS:
        found[f"layers {layers}"] = ["compile", space(folder, layers, "kernel {3, 5}  hidden 8 .. 64 step 8")]
    for widths, (first, step) in STEPS.items():
        found[f"widths {widths}"] = ["compile", space(folder, 100, f"kernel 3  hidden {first} .. 1000 step {step}")]
    return {k: [*v, "-o", str(folder / k)] if v[0] == "compile" else v for k, v in found.items()}


def space(folder: Path, layers: int, choices: str) -> str:
    """A file with a space of so many layers."""
    path = folder / f"{len(list(folder.iterdir()))}.nas"
    path.write_text(SPACE.format(layers=layers, choices=choices), encoding="utf-8")
    return str(path)


def measured(rounds: int) -> dict[str, list[float]]:
    """The seconds of each command in each round, after one to fill the caches."""
    with tempfile.TemporaryDirectory() as name:
        cache, all_of_them = Path(name) / "cache", commands(Path(name))
        seconds: dict[str, list[float]] = {k: [] for k in [*all_of_them, "check, cold", "compile, cold"]}
        for label in ("check", "compile"):
            cpu_seconds(all_of_them[label], cache)
        for number in range(rounds):
            for label, arguments in all_of_them.items():
                seconds[label].append(cpu_seconds(arguments, cache))
            for label in ("check", "compile"):
                shutil.rmtree(cache)
                seconds[f"{label}, cold"].append(cpu_seconds(all_of_them[label], cache))
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    seconds = measured(parser.parse_args().rounds)
    print("| gpunet1 | seconds |\n| --- | --- |")
    for label in ("check", "check, cold", "compile", "compile, cold"):
        print(f"| {label} | {statistics.median(seconds[label]):.2f} |")
    print("\n| layers | seconds | of linear |\n| --- | --- | --- |")
    one, hundred = seconds["layers 1"], seconds["layers 100"]
    for layers in LAYERS:
        own = seconds[f"layers {layers}"]
        ratios = [
            (t - a) / (b - a) * 99 / (layers - 1) for t, a, b in zip(own, one, hundred, strict=True) if layers > 1
        ]
        print(f"| {layers:,} | {statistics.median(own):.2f} | {spread(ratios)} |")
    print("\n| members | seconds | ratio |\n| --- | --- | --- |")
    base = seconds[f"widths {min(STEPS)}"]
    for widths in STEPS:
        own = seconds[f"widths {widths}"]
        ratios = [a / b for a, b in zip(own, base, strict=True)]
        print(f"| 10^{100 * log10(widths):.0f} | {statistics.median(own):.2f} | {spread(ratios)} |")


def spread(ratios: Sequence[float]) -> str:
    """Median and quartiles."""
    if len(ratios) < 2:
        return "".join(f"{ratio:.2f}" for ratio in ratios)
    first, middle, third = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.2f} ({first:.2f}–{third:.2f})"


if __name__ == "__main__":
    main()
