"""Profiling: real ONNX Runtime measurements, resuming after kills, failures as rows, and prediction."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.compiler.domain import Domain
from nasc.compiler.ir import Graph
from nasc.compiler.manifest import Entry, Manifest, Target, entry_key
from nasc.dsl.diagnostics import NascError
from nasc.runtime import preparation
from nasc.runtime.device import available_memory, this_cpu
from nasc.runtime.engines import TimingOptions, make_engine
from nasc.runtime.engines.onnxruntime_cpu import OnnxRuntimeCpu
from nasc.runtime.engines.onnxruntime_session import yardsticks
from nasc.runtime.latencies import Latencies
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.measurement import Measurement
from nasc.runtime.models import memory_estimate
from nasc.runtime.predict import predict
from nasc.runtime.profile import ProfileReport, count_points, points_of, profile
from nasc.runtime.progress import SilentProgress
from nasc.runtime.table import LatencyTable
from tests.tiny_blocks import PretendEngine, conv_relu, entry, manifest, pretended_environment, tiny_onnx

ENV = pretended_environment()
PRETEND = Target(engine="pretend")
QUICK = TimingOptions(batch_us=500, max_rounds=15)


def run(path: Path, what: Manifest, engine: Any, **options: Any) -> ProfileReport:
    with LatencyTable(path) as table:
        return profile(what, table, engine, **{"progress": SilentProgress(), "build": tiny_onnx, **options})


# ------------------------------------------------------------------------------------------------- the real engine


def test_real_latencies_have_the_right_order_and_repeat(tmp_path: Path) -> None:
    what = manifest(entry("irb", Domain.of([4, 64, 512]), side=16))
    engine = OnnxRuntimeCpu(QUICK)
    before = os.sched_getaffinity(0)
    report = run(tmp_path / "t.db", what, engine)
    assert os.sched_getaffinity(0) == before, "the thread is let go again"
    assert (report.points, report.measured, report.failures) == (3, 3, ())
    with LatencyTable(tmp_path / "t.db", readonly=True) as table:
        rows = table.points("key-irb", engine.environment(Target()))
        reference = table.reference(engine.environment(Target()))
    small, middle, large = (rows[(n,)] for n in (4, 64, 512))
    assert 0 < small.median < middle.median < large.median  # type: ignore[operator]
    assert large.median > 10 * small.median  # type: ignore[operator]
    assert reference and reference > 0
    for row in rows.values():
        assert row.minimum <= row.median and 0 < row.identity < small.median  # type: ignore[operator]
        assert (row.effective_precision, row.status) == ("fp32", "ok") and row.samples >= 1 and row.canary


def test_blocks_as_the_compiler_lowers_them(tmp_path: Path) -> None:
    what = manifest(entry("irb", Domain.of([0, 4, 64])))
    report = run(tmp_path / "t.db", what, OnnxRuntimeCpu(QUICK), build=None)
    assert (report.measured, report.failures) == (3, ())


def test_half_precision_records_what_really_ran() -> None:
    engine = OnnxRuntimeCpu(QUICK)
    environment = engine.environment(Target(precision="fp16"))
    model = tiny_onnx(conv_relu(8), precision="fp16").SerializeToString()
    (row,) = engine.measure([model], environment, None).measurements
    assert row.status == "ok"
    if this_cpu().system == "Linux x86_64":
        assert row.effective_precision == "fp32", "x86 has no 16-bit convolution kernels in ONNX Runtime"


def test_what_cannot_run_says_why_beside_what_can() -> None:
    engine = OnnxRuntimeCpu(QUICK)
    fine = tiny_onnx(conv_relu(8)).SerializeToString()
    unknown = onnx.load_from_string(fine)
    unknown.graph.node[0].op_type = "Wonder"
    mismatched = onnx.load_from_string(fine)
    mismatched.graph.initializer[0].dims[1] = 3
    models = [b"junk", fine, unknown.SerializeToString(), mismatched.SerializeToString(), b""]
    rows = engine.measure(models, engine.environment(Target()), 20.0).measurements
    assert [r.status for r in rows] == ["build_failed", "ok", "build_failed", "build_failed", "build_failed"]
    assert all(r.error for r in rows if r.status != "ok")
    assert "Wonder" in str(rows[2].error)


def test_a_run_that_takes_too_long_is_a_timeout() -> None:
    engine = OnnxRuntimeCpu(TimingOptions(point_seconds=0.05))
    nodes = tiny_onnx(conv_relu(1024, channels=512, side=64)).SerializeToString()
    began = time.perf_counter()
    (row,) = engine.measure([nodes], engine.environment(Target()), None).measurements
    assert (row.status, row.error) == ("timeout", "one run takes longer than 0.05 s")
    assert time.perf_counter() - began < 10


def test_targets_that_the_engine_cannot_serve() -> None:
    engine = make_engine("onnxruntime")
    assert engine.available() is None
    with pytest.raises(NascError, match="`int4`"):
        engine.environment(Target(precision="int4"))
    with pytest.raises(NascError, match="not on `cuda:0`"):
        engine.environment(Target(device="cuda:0"))
    with pytest.raises(NascError, match="cannot measure on core 9999"):
        OnnxRuntimeCpu(cpu=9999).measure([b""], engine.environment(Target()), None)
    with pytest.raises(NascError) as caught:
        make_engine("onnxruntme")
    assert caught.value.help == "did you mean `onnxruntime`?"


def test_the_yardsticks_are_valid_models() -> None:
    for model in yardsticks():
        onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    assert yardsticks.__wrapped__() == yardsticks(), "the canary is the same in every process"


# ------------------------------------------------------------------------------------------------- resuming


def test_nothing_is_measured_twice(tmp_path: Path) -> None:
    what = manifest(entry("a", Domain.grid(1, 20)), entry("b", Domain.grid(2, 10, 2)), targets=[PRETEND])
    engine = PretendEngine()
    first = run(tmp_path / "t.db", what, engine, limit=11)
    assert (first.points, first.present, first.measured, first.left) == (25, 0, 11, 14)
    second = run(tmp_path / "t.db", what, engine)
    assert (second.present, second.measured, second.left) == (11, 14, 0)
    third = run(tmp_path / "t.db", what, engine)
    assert (third.present, third.measured, engine.asked) == (25, 0, 25)
    assert engine.groups == [8, 3, 8, 6]


def test_targets_are_measured_each_in_its_environment(tmp_path: Path) -> None:
    targets = [PRETEND, Target(name="big", engine="pretend", batch=4), Target(name="same", engine="pretend"), Target()]
    report = run(tmp_path / "t.db", manifest(entry("a", Domain.grid(1, 3)), targets=targets), PretendEngine())
    assert (report.points, report.measured) == (6, 6)
    with LatencyTable(tmp_path / "t.db") as table:
        assert len(table.points("key-a", pretended_environment(batch=4))) == 3
    with pytest.raises(NascError, match="no target for engine `pretend`"):
        run(tmp_path / "t.db", manifest(entry("a", Domain.grid(1, 3))), PretendEngine())


KILLED = """
import sys
from pathlib import Path
from nasc.compiler.domain import Domain
from nasc.runtime.profile import profile
from nasc.runtime.progress import SilentProgress
from nasc.runtime.table import LatencyTable
from tests.tiny_blocks import PretendEngine, entry, manifest, tiny_onnx
from tests.test_profile import PRETEND
with LatencyTable(sys.argv[1]) as table:
    what = manifest(entry("a", Domain.grid(1, 40)), targets=[PRETEND])
    profile(what, table, PretendEngine(Path(sys.argv[2]), 0.02), progress=SilentProgress(), build=tiny_onnx)
"""


def test_kill_9_loses_at_most_the_group_in_flight(tmp_path: Path) -> None:
    path, log = tmp_path / "t.db", tmp_path / "log"
    killed = subprocess.Popen([sys.executable, "-c", KILLED, str(path), str(log)], cwd=Path(__file__).parent.parent)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not log.exists() or len(log.read_text().split()) < 13):
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    asked = len(log.read_text().split())
    with LatencyTable(path) as table:
        kept = len(table)
    assert kept >= 8 and asked - kept <= 8
    engine = PretendEngine()
    what = manifest(entry("a", Domain.grid(1, 40)), targets=[PRETEND])
    report = run(path, what, engine)
    assert (report.present, report.measured, engine.asked) == (kept, 40 - kept, 40 - kept)


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    class Interrupted(PretendEngine):
        def measure(self, models: Any, environment: Any, reference_us: float | None) -> Any:
            if self.asked >= 8:
                raise KeyboardInterrupt
            return super().measure(models, environment, reference_us)

    class Stopped(SilentProgress):
        stopped = 0

        def stop(self) -> None:
            self.stopped += 1

    what, progress = manifest(entry("a", Domain.grid(1, 20)), targets=[PRETEND]), Stopped()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "t.db", what, Interrupted(), progress=progress)
    assert progress.stopped == 1
    with LatencyTable(tmp_path / "t.db") as table:
        assert len(table) == 8


# ------------------------------------------------------------------------------------------------- failures


def test_failures_are_rows_with_reasons_and_are_retried_only_on_request(tmp_path: Path) -> None:
    broken = True

    def fragile(graph: Graph, **options: Any) -> onnx.ModelProto:
        width = graph.nodes[0].output.channels
        if broken and width == 2:
            raise NascError("`attend` cannot be lowered yet")
        if broken and width == 3:
            raise KeyError("w")
        if broken and width == 4:
            raise MemoryError
        return tiny_onnx(graph, **options)

    what = manifest(entry("a", Domain.grid(1, 6)), targets=[PRETEND])
    report = run(tmp_path / "t.db", what, PretendEngine(), build=fragile)
    assert report.measured == 3
    assert [(f.block, f.point, f.status) for f in report.failures] == [
        ("a", (2,), "unsupported"),
        ("a", (3,), "build_failed"),
        ("a", (4,), "out_of_memory"),
    ]
    broken = False
    again = run(tmp_path / "t.db", what, PretendEngine(), build=fragile)
    assert (again.present, again.measured) == (6, 0)
    mended = run(tmp_path / "t.db", what, PretendEngine(), build=fragile, retry_failed=True)
    assert (mended.present, mended.measured, mended.failures) == (3, 3, ())


def test_an_absent_block_costs_nothing_and_is_not_built(tmp_path: Path) -> None:
    what = manifest(entry("a", Domain.grid(0, 2)), targets=[PRETEND])
    engine = PretendEngine()
    assert run(tmp_path / "t.db", what, engine).measured == 3
    assert engine.asked == 2
    with LatencyTable(tmp_path / "t.db") as table:
        row = table.get("key-a", (0,), ENV)
    assert row is not None and (row.status, row.median, row.usable) == ("empty", 0.0, True)


def test_a_block_too_large_for_memory_is_not_built(tmp_path: Path) -> None:
    def never(graph: Graph, **options: Any) -> onnx.ModelProto:
        raise AssertionError("built")

    report = run(
        tmp_path / "t.db",
        manifest(entry("a", Domain.grid(10**12, 10**12)), targets=[PRETEND]),
        PretendEngine(),
        build=never,
    )
    assert report.failures[0].status == "out_of_memory"
    assert "GiB" in report.failures[0].error
    assert available_memory() is None or available_memory() > 0  # type: ignore[operator]


def test_groups_fit_into_memory_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = memory_estimate(conv_relu(16), 1)
    monkeypatch.setattr(preparation, "memory_for_a_group", lambda: 3.5 * one)
    engine = PretendEngine()
    same = [entry(name, Domain.of([16])) for name in "abcdefg"]
    run(tmp_path / "t.db", manifest(*same, targets=[PRETEND]), engine)
    assert engine.groups == [3, 3, 1]


def test_sizes_that_make_no_sense_are_failures(tmp_path: Path) -> None:
    what = manifest(entry("a", Domain.of([Fraction(5, 2)])), targets=[PRETEND])
    assert (
        run(tmp_path / "t.db", what, PretendEngine())
        .failures[0]
        .error.endswith("5/2 is not a whole number of channels")
    )
    open_graph = entry("b", Domain.of([1])).model_copy(update={"widths": ()})
    failure = run(tmp_path / "t.db", manifest(open_graph, targets=[PRETEND]), PretendEngine()).failures[0]
    assert "`hidden` depends on a decision that has no value" in failure.error


def test_too_many_points_are_refused_at_once() -> None:
    huge = entry("vast", Domain.grid(1, 10**40))
    with pytest.raises(NascError, match="`vast` alone has") as caught:
        count_points(manifest(huge))
    assert "step" in str(caught.value.help)


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=4, unique=True), max_size=3))
def test_points_are_every_combination_once(domains: list[list[int]]) -> None:
    base = entry("a", Domain.of([1]))
    widths = [
        base.widths[0].model_copy(update={"domain": Domain.of(d), "address": f"w{i}"}) for i, d in enumerate(domains)
    ]
    found = list(points_of(base.model_copy(update={"widths": tuple(widths)})))
    expected: list[tuple[int, ...]] = [()]
    for domain in domains:
        expected = [(*head, value) for head in expected for value in sorted(domain)]
    assert found == expected and max(Counter(found).values()) == 1


# ------------------------------------------------------------------------------------------------- prediction


def test_a_prediction_is_the_sum_less_the_calls_saved(tmp_path: Path) -> None:
    block = entry("a", Domain.grid(0, 9))
    with LatencyTable(tmp_path / "t.db") as table:
        for width, us in ((1, 10.0), (2, 20.0), (3, 30.0)):
            row = Measurement(status="ok", minimum=us, median=us, mad=0.3, samples=9, identity=2.0)
            table.put(block.key, (width,), ENV, row)
        table.put(block.key, (0,), ENV, Measurement.empty())
        table.put(block.key, (9,), ENV, Measurement.failure("crash", "signal 11"))
        found = predict([(block, (1,)), (block, {"hidden": 2}), (block, (3,)), (block, (0,))], Latencies(table, ENV))
        assert found.us == pytest.approx(60.0 - 2 * 2.0), "an absent block is no call"
        assert found.error_us == pytest.approx(3**0.5 * 1.2533 * 1.4826 * 0.3 / 3)
        assert predict([(block, (2,))], Latencies(table, ENV)).us == 20.0
        assert predict([], Latencies(table, ENV)).us == 0.0
        with pytest.raises(NascError, match=r"1 of 2 blocks have no latency in .*t\.db.*a\[4\]") as caught:
            predict([(block, (1,)), (block, (4,))], Latencies(table, ENV))
        assert f"`nasc profile DIR --table {tmp_path / 't.db'}`" in str(caught.value.help)
        with pytest.raises(NascError, match="signal 11") as caught:
            predict([(block, (9,))], Latencies(table, ENV))
        assert "--retry-failed" in str(caught.value.help)
        partial = predict([(block, (1,)), (block, (4,))], Latencies(table, ENV), partial=True)
        assert (partial.us, partial.missing) == (10.0, ("a[4]",))
        with pytest.raises(NascError, match="needs a value for hidden"):
            predict([(block, {"other": 1})], Latencies(table, ENV))


# ------------------------------------------------------------------------------------------------- manifests


def written(tmp_path: Path, value: object) -> Path:
    path = tmp_path / "manifest.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def keyed(each: Entry) -> Entry:
    """An entry under the key that its graph has."""
    return each.model_copy(update={"key": entry_key(each.graph)})


def valid() -> dict[str, Any]:
    value: dict[str, Any] = manifest(keyed(entry("a", Domain.grid(1, 3)))).model_dump(mode="json", by_alias=True)
    return value


def test_a_manifest_round_trips_from_its_file_or_folder(tmp_path: Path) -> None:
    what = manifest(keyed(entry("a", Domain.grid(1, 3))), keyed(entry("b", Domain.of([1, 2, 5]), side=9)))
    path = written(tmp_path, what.model_dump_json(by_alias=True))
    assert load_manifest(path) == load_manifest(tmp_path) == what


def changed(*place: str | int, to: object) -> dict[str, Any]:
    value: Any = valid()
    at = value
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = to
    return value  # type: ignore[no-any-return]


WIDTH = ("entries", 0, "widths", 0)
MALFORMED: list[tuple[object, str]] = [
    ("", "line 1, column 1"),
    ("{", "line 1"),
    ("[" * 100_000, "well-formed"),
    ("1" * 5000, "well-formed|is not a manifest"),  # the command line lifts Python's limit on digits
    ("[]", "is not a manifest of nasc"),
    ({"schema": "other"}, "is not a manifest of nasc"),
    ({"schema": 7}, "is not a manifest of nasc"),
    ({"schema": "nasc.manifest/9"}, "compile|schema nasc.manifest/9"),
    ({"schema": "nasc.manifest/1"}, "name: Field required"),
    (changed("extra", to=1), "extra: Extra inputs"),
    (changed("entries", 0, "key", to="0" * 32), "key is not that of its graph"),
    (changed("entries", 0, "graph", "nodes", 0, "attributes", "bias", to=True), "key is not that of its graph"),
    (changed("targets", 0, "batch", to=0), "targets.0.batch"),
    (changed("entries", to=[valid()["entries"][0]] * 2), "two entries have one key"),
    (changed(*WIDTH, "domain", "step", to=0), "no orderly values"),
    (changed(*WIDTH, "domain", "step", to=-1), "no orderly values"),
    (changed(*WIDTH, "domain", "last", to=-5), "no orderly values"),
    (changed(*WIDTH, "domain", "first", to="1/0"), "well-formed"),
    (changed(*WIDTH, "domain", "first", to="os.system('x')"), "well-formed"),
    (changed(*WIDTH, "domain", "listed", to=[3, 1]), "no orderly values"),
    (changed("entries", 0, "widths", to=valid()["entries"][0]["widths"] * 2), "two widths have one address"),
    (changed("entries", 0, "graph", "inputs", "in", "channels", to="__import__('os')"), "well-formed"),
    (changed("entries", 0, "graph", "inputs", "in", "channels", to="(" * 5000), "well-formed"),
    (changed("entries", 0, "graph", "inputs", "in", "channels", to="max(9)"), "well-formed"),
]


@pytest.mark.parametrize(("content", "message"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_manifests(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(NascError, match=message):
        load_manifest(written(tmp_path, content))


def test_manifests_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NascError, match="there is no manifest"):
        load_manifest(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(NascError, match="UTF-8"):
        load_manifest(tmp_path)
    monkeypatch.setattr("nasc.runtime.manifest_file.MAX_BYTES", 1)
    with pytest.raises(NascError, match="larger than"):
        load_manifest(tmp_path)


@settings(deadline=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=6), x, max_size=3),
        max_leaves=8,
    ),
    seed=st.integers(0, 10**6),
)
def test_any_value_in_any_place_is_read_or_refused(
    value: object, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole: Any = valid()
    at: Any = whole
    while isinstance(at, dict | list) and at:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = keys[seed % len(keys)]
        seed //= 3
        if seed % 4 == 0 or not isinstance(at[key], dict | list) or not at[key]:
            at[key] = value
            break
        at = at[key]
    path = written(tmp_path_factory.mktemp("m"), whole)
    try:
        found = load_manifest(path)
    except NascError:
        return
    assert all(isinstance(e, Entry) for e in found.entries)


def test_an_interruption_that_pydantic_wraps_is_one_again() -> None:
    from pydantic_core import PydanticSerializationError

    from nasc.runtime.models import graph_json

    class Interrupted:
        def model_dump_json(self) -> str:
            raise PydanticSerializationError("Error calling function `s`: KeyboardInterrupt: ")

    with pytest.raises(KeyboardInterrupt):
        graph_json(Interrupted())  # type: ignore[arg-type]
