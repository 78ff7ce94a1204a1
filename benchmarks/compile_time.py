"""CPU seconds of `nasc check` and `nasc compile` on gpunet1, and whether they grow with the number of members.

Run: `python benchmarks/compile_time.py`. Each figure is user + system time of a whole process, best of five, the
commands in turn. "cold" removes the grammar cache before each run. The growth columns compile the same space with
granularity 32, 16 and 8 (where an interval has two and four times as many widths) and print ratios to the first.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNS = 5


def cpu_seconds(arguments: list[str], cache: Path) -> float:
    """User and system seconds of one nasc process. Raises `CalledProcessError` where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-m", "nasc", *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def variants(folder: Path) -> dict[str, Path]:
    """gpunet1 with finer grids: many more members, the same layers. Steps of 8 keep widths divisible."""
    text = (ROOT / "spaces" / "gpunet1.nas").read_text(encoding="utf-8")
    files: dict[str, Path] = {}
    for granularity in (32, 16, 8):
        path = folder / f"granularity_{granularity}.nas"
        path.write_text(re.sub(r"granularity 32", f"granularity {granularity}", text), encoding="utf-8")
        files[f"granularity {granularity}"] = path
    return files


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = folder / "cache"
        files = variants(folder)
        commands = {
            "check": ["check", "spaces/gpunet1.nas"],
            "compile": ["compile", "spaces/gpunet1.nas", "-o", str(folder / "out")],
            **{f"compile, {k}": ["compile", str(v), "-o", str(folder / v.stem)] for k, v in files.items()},
        }
        for arguments in commands.values():
            cpu_seconds(arguments, cache)
        best = {k: float("inf") for k in [*commands, "check, cold", "compile, cold"]}
        for _ in range(RUNS):
            for label, arguments in commands.items():
                best[label] = min(best[label], cpu_seconds(arguments, cache))
            for label in ("check", "compile"):
                shutil.rmtree(cache, ignore_errors=True)
                best[f"{label}, cold"] = min(best[f"{label}, cold"], cpu_seconds(commands[label], cache))
    base = best["compile, granularity 32"]
    for label, seconds in best.items():
        ratio = f"  x {seconds / base:.2f}" if "granularity" in label else ""
        print(f"{label:28} {seconds:6.2f} s{ratio}")


if __name__ == "__main__":
    main()
