"""Fuzzing of `.nas` files: inputs of the grammar, changed files, nearly sensible programs and bytes, for a given time.

Run from the repository's root: `python -m benchmarks.fuzz --minutes 60 --out fuzz_run`. Every input is handled as the
commands would (`tests/fuzz_commands.py`) in a child with all imports done that may take 1 GiB of memory more than it
begins with and 2 s of processor time for a command. A child is forked anew after some hundred inputs and after each
finding. What goes wrong is kept in the folder, once for each place in nasc, first as found and then made smaller.
An input is told by the seed and its number: `--seed 1 --only 17` runs one again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tests.fuzz_commands import SECONDS, Broken, Opened, allow_long_numbers, commands_for, run
from tests.fuzz_inputs import generate
from tests.fuzz_words import ROOT, pieces

MEMORY = 1 << 30
BATCH = 400  # inputs of a child
PATIENCE = 60.0  # seconds of the clock without a sign of the child
SHRINKING = 20.0  # seconds for making one finding smaller


Input = tuple[str, bytes]
"""The kind of an input, and the input."""


class TooSlow(BaseException):
    """A command has used up its processor time."""


@dataclass(frozen=True)
class Finding:
    """What went wrong with an input: the command, the place in nasc that tells it from others, and the words."""

    command: str
    place: str
    detail: str


@dataclass(frozen=True)
class Outcome:
    """One input handled. `seconds`: the slowest command's; `sound`: without errors; `peak`: MiB held at most."""

    kind: str
    slowest: str
    seconds: float
    sound: bool
    peak: int
    finding: Finding | None


# ------------------------------------------------------------------------------------------------ in the child


def handle(kind: str, data: bytes, folder: Path) -> Outcome:
    """Run every command on an input, until one goes wrong."""
    path = folder / "fuzzed.nas"
    path.write_bytes(data)
    opened = Opened(path)
    slowest, seconds, finding = "", 0.0, None
    for name in commands_for(opened):
        started = time.process_time()
        finding = _guarded(name, opened)
        taken = time.process_time() - started
        if taken > seconds:
            slowest, seconds = name, taken
        if finding is not None:
            break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return Outcome(kind, slowest, seconds, opened.is_sound, peak, finding)


def _guarded(name: str, opened: Opened) -> Finding | None:
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        run(name, opened)
    except Broken as error:
        return Finding(name, f"{name}: {re.sub(r'[0-9]+|`.*', '#', str(error).split(chr(10))[0])[:60]}", str(error))
    except TooSlow as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        return Finding(name, f"{name} is slow", _trace(error)[-3000:])
    except (Exception, RecursionError) as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        return Finding(name, f"{type(error).__name__} at {_last_place(error)}", _trace(error)[-3000:])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _last_place(error: BaseException) -> str:
    """The innermost line of nasc that the exception passed, by function."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow


def limit() -> None:
    """Bound this process: memory from what it has now, each command's processor time, and no core dumps."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, _too_slow)
    allow_long_numbers()


def warm() -> None:
    """Load all that the commands import when they first run, and what they keep, for the children to share."""
    for name in ("spaces/digits.nas", "spaces/networks/mobilenet_v1.nas"):
        opened = Opened(ROOT / name)
        for command in commands_for(opened):
            run(command, opened)


# ------------------------------------------------------------------------------------------------ children


class Child:
    """A forked process that handles inputs and answers a line of JSON for each."""

    def __init__(self, inputs: Iterable[Input], folder: Path) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            _work(inputs, folder, writing)
        os.close(writing)
        self.lines = os.fdopen(reading, "rb")

    def __iter__(self) -> Iterator[Outcome]:
        """The outcomes, in order; the last one is a finding where the child did not live to answer."""
        while select.select([self.lines], [], [], PATIENCE)[0]:
            line = self.lines.readline()
            if not line:
                break
            yield _outcome(json.loads(line))
        else:
            os.kill(self.pid, signal.SIGKILL)
        self.lines.close()
        status = os.waitpid(self.pid, 0)[1]
        if status:
            ended = os.waitstatus_to_exitcode(status)
            yield Outcome("?", "", PATIENCE, False, 0, Finding("?", f"the process ended with {ended}", ""))

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.lines.close()
        os.waitpid(self.pid, 0)


def _work(inputs: Iterable[Input], folder: Path, writing: int) -> None:
    code = 1
    try:
        limit()
        with os.fdopen(writing, "wb", buffering=0) as lines:
            for kind, data in inputs:
                outcome = handle(kind, data, folder)
                lines.write(json.dumps(asdict(outcome)).encode() + b"\n")
                if outcome.finding is not None:
                    break
        code = 0
    finally:
        os._exit(code)


def _outcome(found: dict[str, Any]) -> Outcome:
    finding = found.pop("finding")
    return Outcome(**found, finding=Finding(**finding) if finding else None)


def judge(data: bytes, folder: Path) -> Finding | None:
    """What goes wrong with one input, in a child of its own."""
    return next((outcome.finding for outcome in Child([("", data)], folder)), None)


# ------------------------------------------------------------------------------------------------ making it smaller


def smaller(data: bytes, finding: Finding, folder: Path) -> bytes:
    """The input with lines, then words left out as long as the same goes wrong (Zeller's delta debugging, halves)."""
    until = time.monotonic() + SHRINKING

    def same(parts: list[str]) -> bool:
        found = judge("".join(parts).encode("utf-8", "surrogatepass"), folder) if time.monotonic() < until else None
        return found is not None and found.place == finding.place

    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data
    for cut in (lambda t: t.splitlines(keepends=True), pieces):
        text = "".join(_reduced(cut(text), same))
    return text.encode("utf-8")


def _reduced(parts: list[str], same: Callable[[list[str]], bool]) -> list[str]:
    size = len(parts) // 2
    while size:
        at = 0
        while at < len(parts):
            fewer = parts[:at] + parts[at + size :]
            if same(fewer):
                parts = fewer
            else:
                at += size
        size //= 2
    return parts


# ------------------------------------------------------------------------------------------------ the run


@dataclass
class Run:
    """A run so far."""

    seed: str
    out: Path
    started: float = field(default_factory=time.monotonic)
    inputs: int = 0
    sound: int = 0
    peak: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    slowest: dict[str, tuple[float, int]] = field(default_factory=dict)

    def batch(self, folder: Path) -> None:
        """Handle some further inputs in one child."""
        first = self.inputs

        def inputs() -> Iterator[Input]:
            for number in range(first, first + BATCH):
                yield generate(f"{self.seed}:{number}")

        for outcome in Child(inputs(), folder):
            self._note(outcome, folder)

    def _note(self, outcome: Outcome, folder: Path) -> None:
        number = self.inputs
        self.inputs += 1
        self.kinds[outcome.kind] += 1
        self.sound += outcome.sound
        self.peak = max(self.peak, outcome.peak)
        self.times.append(outcome.seconds)
        if outcome.seconds > self.slowest.get(outcome.slowest, (0.0, 0))[0]:
            self.slowest[outcome.slowest] = (outcome.seconds, number)
        if outcome.finding is not None:
            self._keep(number, outcome.finding, folder)

    def _keep(self, number: int, finding: Finding, folder: Path) -> None:
        if finding.place.endswith("is slow") and self._passes(number, folder):
            self.found[f"{finding.place}, but not a second time"] += 1
            return
        self.found[finding.place] += 1
        if self.found[finding.place] > 1:
            return
        kind, data = generate(f"{self.seed}:{number}")
        name = re.sub(r"[^A-Za-z0-9]+", "_", finding.place).strip("_")[:70]
        (self.out / f"{name}.nas").write_bytes(data)
        print(f"{self.seed}:{number} ({kind}): {finding.place}", file=sys.stderr, flush=True)
        least = smaller(data, finding, folder)
        (self.out / f"{name}.min.nas").write_bytes(least)
        (self.out / f"{name}.txt").write_text(
            f"{self.seed}:{number} {kind}\n{finding.command}: {finding.place}\n{finding.detail}"
        )

    def _passes(self, number: int, folder: Path) -> bool:
        """Whether an input that was slow is not when tried again: the machine may have been busy."""
        return judge(generate(f"{self.seed}:{number}")[1], folder) is None

    def report(self) -> str:
        """A Markdown table of the run."""
        minutes = (time.monotonic() - self.started) / 60
        times = sorted(self.times) or [0.0]
        usual = f"{times[len(times) // 2]:.3f} s, {times[-1 - len(times) // 1000]:.3f} s"
        rows = [
            ("minutes", f"{minutes:.1f}"),
            ("inputs", f"{self.inputs:,} ({self.inputs / max(minutes, 0.01):,.0f} a minute)"),
            *((f"of them {kind}", f"{count:,}") for kind, count in sorted(self.kinds.items())),
            ("without errors, so that all commands ran", f"{self.sound:,}"),
            ("slowest command of an input: median, 99.9 %", usual),
            ("slowest of all", ", ".join(f"{n} {t:.2f} s (number {i})" for n, (t, i) in sorted(self.slowest.items()))),
            ("most memory held", f"{self.peak} MiB"),
            ("different findings", f"{sum('second time' not in place for place in self.found)}"),
            *((f"`{place}`", f"{count}") for place, count in self.found.most_common()),
        ]  # fmt: skip
        return "\n".join(["| what | how much |", "| --- | --- |", *(f"| {what} | {much} |" for what, much in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--only", type=int, help="run the input of this number alone and say how it went")
    parser.add_argument("--file", type=Path, help="run this file alone and say how it went")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    warm()
    with tempfile.TemporaryDirectory() as folder:
        if given.only is not None or given.file is not None:
            data = given.file.read_bytes() if given.file else generate(f"{given.seed}:{given.only}")[1]
            for outcome in Child([("", data)], Path(folder)):
                print(outcome.finding.detail if outcome.finding else outcome)
            return
        run_ = Run(given.seed, given.out)
        while time.monotonic() - run_.started < given.minutes * 60:
            run_.batch(Path(folder))
            (given.out / "report.md").write_text(run_.report() + "\n")
        print(run_.report())


if __name__ == "__main__":
    main()
