"""Profiling that survives: engines that die, runs that are killed, runs that share a table, and disks that are full."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nasc.compiler.manifest import Target
from nasc.dsl.diagnostics import NascError
from nasc.runtime import worker_process
from nasc.runtime.engine_worker import EngineWorker
from nasc.runtime.engines import ENGINES, TimingOptions
from nasc.runtime.models import graph_json
from nasc.runtime.profile import ProfileReport, profile
from nasc.runtime.progress import SilentProgress
from nasc.runtime.table import LatencyTable
from nasc.runtime.worker_process import Lost, Message, WorkerProcess
from tests.scripted_engine import NAMES, blocks, logged, write_script
from tests.tiny_blocks import conv_relu, pretended_environment, tiny_onnx

ROOT = Path(__file__).parent.parent
ENV = pretended_environment()
SHORT = TimingOptions(point_seconds=0.1, build_seconds=0.1)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NASC_TEST_ENGINE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(ROOT))
    for name, place in NAMES.items():
        monkeypatch.setitem(ENGINES, name, place)
    write_script({})
    return tmp_path


@pytest.fixture
def worker() -> Iterator[EngineWorker]:
    with EngineWorker("scripted", SHORT, margin=0.5) as made:
        yield made


def run(path: Path, engine: EngineWorker, count: int, **options: Any) -> ProfileReport:
    with LatencyTable(path) as table:
        return profile(blocks(count, engine.name), table, engine, progress=SilentProgress(), **options)


def wait_until(true: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "this takes too long"
        time.sleep(0.005)


# ------------------------------------------------------------------------------------------------- engines that die


DEATHS = {
    3: ("segv the kernel is at 0x0", "crash", "killed by SIGSEGV; it wrote last: the kernel is at 0x0"),
    4: ("abort terminate: std::bad_alloc", "out_of_memory", "killed by SIGABRT; it wrote last: terminate: std::bad_a"),
    5: ("exit", "crash", "ended with exit code 3"),
    8: ("hang waiting", "timeout", "no answer within 0.8 s; it wrote last: waiting"),
    9: ("memory", "out_of_memory", "MemoryError"),
    12: ("error", "build_failed", "RuntimeError: a kernel said no"),
}


def test_only_the_guilty_models_become_failures(folder: Path, worker: EngineWorker) -> None:
    write_script({width: what for width, (what, _, _) in DEATHS.items()})
    report = run(folder / "t.db", worker, 12)
    assert (report.measured, report.left) == (6, 0)
    assert {f.point[0]: f.status for f in report.failures} == {width: s for width, (_, s, _) in DEATHS.items()}
    for failure in report.failures:
        assert DEATHS[int(failure.point[0])][2] in failure.error
    with LatencyTable(folder / "t.db", readonly=True) as table:
        medians = {point[0]: row.median for point, row in table.points("key-a", ENV).items()}
        assert medians == {n: None if n in DEATHS else n for n in range(1, 13)}
        assert table.reference(ENV) == 25.0
    write_script({})
    again = run(folder / "t.db", worker, 12, retry_failed=True)
    assert (again.present, again.measured, again.failures) == (6, 6, ())


@pytest.mark.parametrize(("beats", "reason"), [("yes", "no sign of life for 0.3 s"), ("", "no answer within 1.5 s")])
def test_a_model_that_hangs_among_others_is_noticed_by_the_silence(beats: str, reason: str) -> None:
    """An engine that gives no signs of life has the time of the whole group."""
    write_script({1: "", 2: "hang"}, beats=beats)
    process = WorkerProcess("nasc.runtime.worker_main")
    options = SHORT.model_dump(mode="json")
    try:
        process.ask(Message({"call": "begin", "place": NAMES["scripted"], "options": options}), 60)
        models = [graph_json(conv_relu(width)).encode() for width in (1, 2)]
        call = {"call": "measure", "environment": ENV.model_dump(mode="json"), "reference_us": None}
        with pytest.raises(Lost, match=reason) as caught:
            process.ask(Message(call, models), 1.5, silence=0.3)
        assert caught.value.status == "timeout"
    finally:
        process.close()


def test_signs_of_life_are_no_answers() -> None:
    write_script({}, seconds=0.4, beats="yes")
    with EngineWorker("scripted", SHORT, margin=5.0) as worker:
        models = [graph_json(conv_relu(width)).encode() for width in (1, 2, 3, 4)]
        rows = worker.measure(models, ENV, None).measurements
    assert [row.median for row in rows] == [1, 2, 3, 4]


def test_killed_by_the_system_for_want_of_memory(
    folder: Path, worker: EngineWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_script({2: "kill"})
    report = run(folder / "crash.db", worker, 2)
    assert [(f.status, f.error) for f in report.failures] == [("crash", "killed by SIGKILL")]
    kills = iter(range(100))
    monkeypatch.setattr(worker_process, "_kernel_kills", lambda: next(kills))
    report = run(folder / "memory.db", worker, 2)
    assert [f.status for f in report.failures] == ["out_of_memory"]
    assert "killed by the system for want of memory" in report.failures[0].error


def test_a_model_alone_is_tried_once_more(folder: Path, worker: EngineWorker) -> None:
    write_script({1: "once"})
    report = run(folder / "t.db", worker, 1)
    assert (report.measured, report.failures) == (1, ())
    write_script({1: "segv"})
    assert [f.status for f in run(folder / "u.db", worker, 1).failures] == ["crash"]


def test_the_real_engine_killed_from_outside_is_asked_again(folder: Path) -> None:
    models = [tiny_onnx(conv_relu(width)).SerializeToString() for width in (4, 8)]
    with EngineWorker("onnxruntime", TimingOptions(batch_us=20_000, max_rounds=20)) as engine:
        environment = engine.environment(Target())
        first = engine.pid
        assert first is not None
        killer = threading.Timer(0.5, os.kill, (first, signal.SIGSEGV))
        killer.start()
        session = engine.measure(models, environment, None)
        assert engine.pid != first
    assert [row.status for row in session.measurements] == ["ok", "ok"] and session.reference_us


def test_engines_that_cannot_run_or_start_say_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "asleep").touch()
    with EngineWorker("scripted") as worker, pytest.raises(NascError, match="cannot run here: it is asleep"):
        run(folder / "t.db", worker, 1)
    monkeypatch.setitem(ENGINES, "broken", "tests.no_such_module:Engine")
    with EngineWorker("broken") as worker:
        assert "No module named 'tests.no_such_module'" in str(worker.available())
        with pytest.raises(NascError, match="engine `broken` cannot run here"):
            worker.environment(Target())
    with pytest.raises(NascError, match="there is no engine `brokn`"):
        EngineWorker("brokn")
    with EngineWorker("onnxruntime") as worker, pytest.raises(NascError, match="cannot measure precision `int4`"):
        worker.environment(Target(precision="int4"))


# ------------------------------------------------------------------------------------------------- building


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_cannot_be_built_is_a_failure_and_builders_end(folder: Path, jobs: int) -> None:
    write_script({-2: "segv", -5: "hang", -6: "error", -7: "refuse"})
    builders = [EngineWorker("building", SHORT, margin=0.5) for _ in range(jobs)] if jobs > 1 else []
    with EngineWorker("building", SHORT, margin=0.5) as engine:
        report = run(folder / "t.db", engine, 20, builders=builders)
    statuses = {f.point[0]: f.status for f in report.failures}
    assert statuses == {2: "crash", 5: "timeout", 6: "build_failed", 7: "unsupported"}
    assert report.measured == 16 and all(builder.pid is None for builder in builders)
    built = Counter(int(path.name.split("-")[1]) for path in folder.glob("built-*"))
    assert built == dict.fromkeys(set(range(1, 21)) - {2, 5, 6, 7}, 1)
    assert len({path.name.split("-")[2] for path in folder.glob("built-*")}) >= min(jobs, 2)


def test_an_interruption_ends_builders_at_once(folder: Path) -> None:
    class Stopped(SilentProgress):
        def advance(self, text: str = "") -> None:
            raise KeyboardInterrupt

    write_script({-9: "hang"})
    slow = TimingOptions(build_seconds=600)
    builders = [EngineWorker("building", slow) for _ in range(2)]
    began = time.monotonic()
    with (
        EngineWorker("building", slow) as engine,
        LatencyTable(folder / "t.db") as table,
        pytest.raises(KeyboardInterrupt),
    ):
        profile(blocks(30, "building"), table, engine, progress=Stopped(), builders=builders)
    assert time.monotonic() - began < 30 and all(builder.pid is None for builder in builders)
    with LatencyTable(folder / "t.db") as table:
        assert table.claims() == {}


# ------------------------------------------------------------------------------------------------- runs that share

RUN = """
import sys
from nasc.runtime.engine_worker import EngineWorker
from nasc.runtime.profile import profile
from nasc.runtime.progress import SilentProgress
from nasc.runtime.table import LatencyTable
from nasc.runtime.engines import ENGINES
from tests.scripted_engine import NAMES, blocks
ENGINES |= NAMES
with LatencyTable(sys.argv[1]) as table, EngineWorker("scripted") as engine:
    print(engine.available() or engine.pid, flush=True)
    sys.stdin.readline()
    report = profile(blocks(int(sys.argv[2])), table, engine, progress=SilentProgress())
    print(report.measured)
"""


def start(path: Path, count: int) -> subprocess.Popen[str]:
    """A run in a process of its own, that has its engine and waits for a line."""
    command = [sys.executable, "-c", RUN, str(path), str(count)]
    begun = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert begun.stdout is not None
    begun.engine = int(begun.stdout.readline())  # type: ignore[attr-defined]
    return begun


def go(begun: subprocess.Popen[str]) -> None:
    assert begun.stdin is not None
    begun.stdin.write("\n")
    begun.stdin.flush()


def test_four_runs_share_a_table_and_nothing_is_measured_twice(folder: Path) -> None:
    write_script({}, seconds=0.002)
    runs = [start(folder / "t.db", 200) for _ in range(4)]
    for each in runs:
        go(each)
    measured = [int(each.communicate(timeout=60)[0]) for each in runs]
    assert sum(measured) == 200 and [each.returncode for each in runs] == [0, 0, 0, 0]
    assert Counter(width for width, _, _ in logged()) == dict.fromkeys(range(1, 201), 1)
    spans = sorted((began, ended) for _, began, ended in logged())
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans)), "one at a time"
    with LatencyTable(folder / "t.db") as table:
        assert len(table) == 200 and table.claims() == {}


def test_runs_killed_again_and_again_lose_and_double_nothing(folder: Path) -> None:
    write_script({}, seconds=0.004)
    random_ = random.Random(0)
    path = folder / "t.db"
    for _ in range(6):
        begun = start(path, 120)
        go(begun)
        time.sleep(0.03 + 0.12 * random_.random())
        begun.kill()
        begun.communicate()
        wait_until(lambda pid=begun.engine: not alive(pid), 5)  # type: ignore[attr-defined,misc]
        with LatencyTable(path, readonly=True) as table:
            kept = table.points("key-a", ENV)
        assert all(row.median == point[0] for point, row in kept.items())
        lost = len(logged()) - len(kept)
        assert lost <= 8 * (_ + 1), "at most the group in flight each time"
    last = start(path, 120)
    go(last)
    last.communicate(timeout=60)
    times = Counter(width for width, _, _ in logged())
    with LatencyTable(path) as table:
        assert {point[0] for point in table.points("key-a", ENV)} == set(range(1, 121)) == set(times)
        assert table.claims() == {}
    assert sum(times.values()) <= 120 + 6 * 8


def alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def test_claims_of_a_run_at_work_are_left_and_those_of_a_dead_one_taken_over(
    folder: Path, worker: EngineWorker
) -> None:
    write_script({}, seconds=0.2)
    other = start(folder / "t.db", 30)
    go(other)
    wait_until(logged)
    write_script({}, seconds=0.0)
    report = run(folder / "t.db", worker, 30)
    assert report.measured + report.elsewhere + report.held == 30 and report.held + report.elsewhere >= 8
    other.communicate(timeout=60)
    write_script({}, seconds=0.2)
    other = start(folder / "u.db", 10)
    before = len(logged())
    go(other)
    wait_until(lambda: len(logged()) > before)
    other.kill()
    other.communicate()
    write_script({})
    report = run(folder / "u.db", worker, 10)
    assert (report.points, report.measured, report.held) == (10, 10, 0)


# ------------------------------------------------------------------------------------------------- the command


def nasc(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nasc", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, **options)


@pytest.fixture
def compiled(folder: Path) -> Path:
    from nasc.compiler.compile import compile_file

    compile_file(ROOT / "spaces" / "digits.nas", folder / "built")
    return folder / "built"


def test_control_c_ends_with_130_and_gives_claims_back(folder: Path, compiled: Path) -> None:
    path = folder / "t.db"
    command = [sys.executable, "-m", "nasc", "profile", str(compiled), "--table", str(path)]
    begun = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell lets what it starts in the background ignore Control-C, and so would what that starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: path.exists() and path.stat().st_size and rows_in(path))
    # As a terminal does it: to the whole group, the engine's process too.
    os.killpg(begun.pid, signal.SIGINT)
    _, errors = begun.communicate(timeout=30)
    assert begun.returncode == 130 and "interrupted" in errors and "Traceback" not in errors
    assert not [p for p in Path("/proc").glob("[0-9]*") if group_of(p) == begun.pid], "no process is left"
    with LatencyTable(path) as table:
        assert table.claims() == {} and len(table) >= 1
    assert {p.name for p in folder.glob("t.db*")} == {"t.db"}


def rows_in(path: Path) -> int:
    try:
        with LatencyTable(path, readonly=True) as table:
            return len(table)
    except NascError:
        return 0


def group_of(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[2])
    except (OSError, IndexError, ValueError):
        return None


def test_a_disk_that_is_full(folder: Path, compiled: Path) -> None:
    path = folder / "t.db"
    LatencyTable(path).close()
    room = path.stat().st_size + 40_000

    def little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    done = nasc("profile", compiled, "--table", path, preexec_fn=little_room)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"error: the latency table {path} cannot" in done.stderr
    with LatencyTable(path) as table:
        kept = len(table)
    whole = nasc("profile", compiled, "--table", path, "--limit", "8", "--format", "json")
    report = json.loads(whole.stdout)["onnxruntime"]
    assert (report["present"], report["measured"]) == (kept, 8)


def test_a_corrupted_table_and_one_of_another_program(folder: Path, compiled: Path) -> None:
    path = folder / "t.db"
    with LatencyTable(path) as table:
        for block in range(200):
            table.set_calibration(pretended_environment(batch=block + 1), {"x": "y" * 100})
    path.write_bytes(path.read_bytes()[:-5000])
    done = nasc("profile", compiled, "--table", path)
    assert done.returncode == 1 and f"error: the latency table {path} is damaged" in done.stderr
    assert "restore it from a copy" in done.stderr
    other = sqlite3.connect(folder / "other.db")
    other.executescript("CREATE TABLE photo (id)")
    other.close()
    done = nasc("profile", compiled, "--table", folder / "other.db")
    assert done.returncode == 1 and "is not a latency table of nasc" in done.stderr


def as_others() -> None:
    """Root, too, is to be bound by permissions: without CAP_DAC_OVERRIDE, and PR_CAPBSET_DROP is 24."""
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, 1, 0, 0, 0):
        os._exit(99)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's capabilities")
def test_a_table_that_cannot_be_written(folder: Path, compiled: Path) -> None:
    path = folder / "t.db"
    LatencyTable(path).close()
    path.chmod(0o444)
    before = path.read_bytes()
    done = nasc("profile", compiled, "--table", path, preexec_fn=as_others)
    assert done.returncode == 1 and f"error: the latency table {path} cannot be" in done.stderr
    assert "check its permissions" in done.stderr and path.read_bytes() == before


@pytest.mark.parametrize("age", ["3", "d", "-3d", "3x", "1.5h", "999999999w"])
def test_what_is_no_age(folder: Path, compiled: Path, age: str) -> None:
    done = nasc("profile", compiled, "--table", folder / "t.db", "--stale", age)
    assert done.returncode == 2 and "is no age" in done.stderr


def test_what_is_stale_is_measured_again(folder: Path, worker: EngineWorker) -> None:
    from datetime import timedelta

    run(folder / "t.db", worker, 3)
    db = sqlite3.connect(folder / "t.db")
    db.execute("UPDATE measurement SET timestamp = '2020-01-01T00:00:00+00:00' WHERE point = '[2]'")
    db.commit()
    db.close()
    assert run(folder / "t.db", worker, 3).measured == 0
    report = run(folder / "t.db", worker, 3, stale=timedelta(days=30))
    assert (report.present, report.measured) == (2, 1)
    assert Counter(width for width, _, _ in logged()) == {1: 1, 2: 2, 3: 1}
