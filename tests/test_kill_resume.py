"""Searches and sweeps killed by the system at random moments and in the middle of writing, and resumed: bit-identical.

Each attempt runs in a forked child, so what it dies of is a signal: nothing is caught, closed or cleaned up. Moments
are CPU time, not the clock's, so that they lie all over the run however busy the machine is.
"""

from __future__ import annotations

import json
import os
import random
import signal
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from nasc.compiler.compile import compile_file
from nasc.compiler.contains import contains
from nasc.compiler.count import count_members
from nasc.runtime import search_run
from nasc.runtime.metrics import read_metrics
from nasc.runtime.progress import SilentProgress
from nasc.runtime.search import Job, Settings
from nasc.runtime.search_job import options_of, search
from nasc.runtime.sweep import sweep
from tests import searches
from tests.spaces import space_of

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="autograd's threads for a GPU do not outlive a fork")

POINTS = 30

TINY = """nas 1
space tiny {
  input       image 1 x 4 x 4
  output      classes 3
  granularity 4
  skip        same_shape

  stage stem  conv     { kernel 3 }                                       -> 4
  stage low   irb x 2  { kernel {1, 3}  hidden 4 .. 32 step 4  }           -> 4
  stage last  one of { conv { kernel 1 }  irb { kernel 3  hidden 4 } }    -> 4
  head        global_pool | linear
}
search prunet {
  epochs 6  warmup 2  batch 16  alpha 0.3  cost macs  split 0.5  lambda 0.55
  architecture adam { rate 0.4 }
}
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    source = tmp_path_factory.mktemp("space") / "tiny.nas"
    source.write_text(TINY)
    folder = source.parent / "build"
    compile_file(source, folder)
    with searches.job_of(folder) as found:
        yield found


# ------------------------------------------------------------------------------------------------ children


@dataclass(frozen=True)
class End:
    """How a child ended: what it died of (0 where it did not), and the seconds of CPU time that it took."""

    signal: int
    cpu: float


def child(work: Callable[[], object], trap: Callable[[], None] = lambda: None) -> End:
    """Do some work in a child that `trap` may kill; a child that fails by itself fails the test."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            trap()
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code <= 0, "the child failed, see above"
    return End(-code, usage.ru_utime + usage.ru_stime)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(cpu: float) -> Callable[[], None]:
    """Be killed when so much CPU time has passed, by the timer's signal and its default action."""

    def trap() -> None:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, max(cpu, 1e-6))

    return trap


def at_replacing(name: str, time: int = 1, done: bool = False) -> Callable[[], None]:
    """Be killed just before (or just after) a file of this name takes its place, for the `time`-th time."""

    def trap() -> None:
        replace, left = os.replace, time

        def replacing(source: str, target: Path) -> None:
            nonlocal left
            hit = Path(target).name == name
            left -= hit
            if hit and not left and not done:
                die()
            replace(source, target)
            if hit and not left:
                die()

        os.replace = replacing  # type: ignore[assignment]

    return trap


def in_the_metrics_line(epoch: int) -> Callable[[], None]:
    """Be killed when half of a line of the log is written."""

    def trap() -> None:
        append = search_run.append_metrics

        def appending(path: Path, record: dict[str, Any]) -> None:
            if record["epoch"] != epoch:
                append(path, record)
                return
            with path.open("a") as file:
                file.write(json.dumps(record)[:40])
            die()

        search_run.append_metrics = appending  # type: ignore[attr-defined]

    return trap


# ------------------------------------------------------------------------------------------------ searches


def run(job: Job, out: Path) -> None:
    settings = Settings(data="synthetic:48", out=out, threads=1, resume=True)
    search(job, options_of(job, {}), settings, SilentProgress())


def outcome(out: Path) -> dict[str, Any]:
    """All that a run leaves but for how long it took."""
    names = ["best.nas", "best.safetensors", "model.py", "model.onnx"]
    names += [f"states/{path.name}" for path in sorted((out / "states").glob("*.nas"))]
    found: dict[str, Any] = {name: (out / name).read_bytes() for name in names}
    found["result.json"] = without_seconds(json.loads((out / "result.json").read_text()))
    found["metrics.jsonl"] = without_seconds(read_metrics(out / "metrics.jsonl"))
    return found


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_seconds(item) for name, item in value.items() if name != "seconds"}
    return [without_seconds(item) for item in value] if isinstance(value, list) else value


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


@dataclass(frozen=True)
class Whole:
    """The undisturbed run."""

    out: Path
    cpu: float
    outcome: dict[str, Any]


@pytest.fixture(scope="module")
def whole(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    run(job, out)
    again = out.parent / "again"
    cpu = child(lambda: run(job, again)).cpu
    assert differences(outcome(out), outcome(again)) == []
    return Whole(out, cpu, outcome(out))


def test_the_undisturbed_run_does_all_that_a_search_does(whole: Whole) -> None:
    """Else the kills below would not come between anything."""
    records = read_metrics(whole.out / "metrics.jsonl")
    events = " ".join(event for record in records for event in record["events"])
    assert [record["phase"] for record in records] == ["warm-up"] * 2 + ["search"] * 4
    assert "is gone" in events and "the skip replaces" in events
    assert len({str(record["masks"]) for record in records}) >= 3
    assert len(whole.outcome["metrics.jsonl"]) == 6 == len(list((whole.out / "states").iterdir()))


def test_each_state_contains_the_next(job: Job, whole: Whole) -> None:
    """From the space over the states after each epoch to the found network; the number of members never grows."""
    paths = [job.folder / "space.nas", *sorted((whole.out / "states").iterdir()), whole.out / "best.nas"]
    chain = [space_of(path) for path in paths]
    for (name, outer), inner in zip(zip(paths, chain, strict=True), chain[1:], strict=False):
        assert contains(outer, inner).yes is True, name
    counts = [count_members(space) for space in chain]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1] == 1


def test_killed_at_random_moments(job: Job, whole: Whole, tmp_path: Path) -> None:
    """Every third run is killed again after it was resumed."""
    draw, killed, attempt = random.Random(20), 0, 0
    while killed < POINTS:
        attempt += 1
        assert attempt < 3 * POINTS, "hardly any run lived long enough to be killed"
        out = tmp_path / str(attempt)
        moments = [draw.uniform(0, 0.9) * whole.cpu]
        moments += [draw.uniform(0, 0.5) * whole.cpu] if attempt % 3 == 0 else []
        deaths = [child(lambda out=out: run(job, out), after(moment)).signal for moment in moments]
        killed += signal.SIGPROF in deaths  # a run may end before its moment comes
        child(lambda out=out: run(job, out))
        assert differences(outcome(out), whole.outcome) == [], f"killed after {moments} of {whole.cpu} s"


WRITING: dict[str, Callable[[], None]] = {
    "in a line of the log": in_the_metrics_line(3),
    "in the first line of the log": in_the_metrics_line(0),
    "between log and state": at_replacing("epoch_003.nas"),
    "between state and checkpoint": at_replacing("epoch_004.nas", done=True),
    "before the first checkpoint": at_replacing("checkpoint.pt"),
    "before the warm-up's checkpoint": at_replacing("warmup.pt"),
    "between the warm-up's checkpoint and the run's": at_replacing("warmup.pt", done=True),
    "after the last checkpoint": at_replacing("checkpoint.pt", 6, done=True),
    "before the weights": at_replacing("best.safetensors"),
    "before the network": at_replacing("best.nas"),
    "before the result": at_replacing("result.json"),
    "after the result": at_replacing("result.json", done=True),
}


@pytest.mark.parametrize("place", WRITING)
def test_killed_while_writing(job: Job, whole: Whole, tmp_path: Path, place: str) -> None:
    assert child(lambda: run(job, tmp_path / "run"), WRITING[place]).signal == signal.SIGKILL
    child(lambda: run(job, tmp_path / "run"))
    assert differences(outcome(tmp_path / "run"), whole.outcome) == []


def test_killed_when_the_log_is_taken_back(job: Job, whole: Whole, tmp_path: Path) -> None:
    """Twice: after a line of an epoch that has no checkpoint, then where resuming drops that line."""
    out = tmp_path / "run"
    child(lambda: run(job, out), at_replacing("epoch_005.nas"))
    assert len(read_metrics(out / "metrics.jsonl")) == 5
    assert child(lambda: run(job, out), at_replacing("metrics.jsonl")).signal == signal.SIGKILL
    child(lambda: run(job, out))
    assert differences(outcome(out), whole.outcome) == []


# ------------------------------------------------------------------------------------------------ sweeps


def run_sweep(job: Job, out: Path) -> None:
    options = options_of(job, {"epochs": 2, "warmup": 1, "alpha": (0.1, 0.6), "lambda": (0.4, 0.85)})
    sweep(job, options, Settings(data="synthetic:48", out=out, threads=1, resume=True), None, SilentProgress())


def sweep_outcome(out: Path) -> dict[str, Any]:
    found = {path.name: outcome(path) for path in sorted((out / "runs").iterdir())}
    return {**found, "sweep.json": without_seconds(json.loads((out / "sweep.json").read_text()))}


def test_a_killed_sweep_goes_on_to_the_same_end(job: Job, tmp_path: Path) -> None:
    cpu = child(lambda: run_sweep(job, tmp_path / "whole")).cpu
    expected = sweep_outcome(tmp_path / "whole")
    assert len(expected) == 5 and {r["state"] for r in expected["sweep.json"]["runs"]} == {"done"}
    for name, traps in {
        "in the warm-up": [at_replacing("warmup.pt")],
        "between two runs": [at_replacing("sweep.json", 3)],
        "twice": [after(0.3 * cpu), after(0.4 * cpu)],
    }.items():
        out = tmp_path / name.replace(" ", "_")
        assert all(child(lambda out=out: run_sweep(job, out), trap).signal for trap in traps), name
        child(lambda out=out: run_sweep(job, out))
        assert differences(sweep_outcome(out), expected) == [], name
