"""The latency table: rows round trip, files that are not tables are refused, and nothing is lost."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.compiler.expr import exact
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment, this_cpu
from nasc.runtime.measurement import Estimate, Measurement, error_of_median, median_absolute_deviation
from nasc.runtime.owners import is_gone, new_owner
from nasc.runtime.table import LatencyTable, Point, Wanted, is_wanted, parse_point, point_text
from nasc.runtime.table_file import _FIRST_SCHEMA, APPLICATION_ID
from tests.tiny_blocks import pretended_environment

ENV = pretended_environment()
OK = Measurement(
    status="ok", effective_precision="fp32", minimum=9.5, median=10.0, mad=0.2, samples=7, dropped=1, canary=25.0,
    identity=1.5, quality="good", seconds=0.25,
)  # fmt: skip

numbers = st.integers(-(10**30), 10**30) | st.fractions().map(exact)
points = st.lists(numbers, max_size=5).map(tuple)
times = st.floats(0, 1e12, allow_nan=False)
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[LatencyTable]:
    with LatencyTable(tmp_path / "latency.db") as opened:
        yield opened


@given(points)
def test_points_round_trip(point: Point) -> None:
    assert parse_point(point_text(point)) == point


@given(points, points)
def test_equal_points_and_only_those_have_equal_texts(a: Point, b: Point) -> None:
    assert (point_text(a) == point_text(b)) == (a == b)
    assert point_text([Fraction(v) for v in a]) == point_text(a)


@pytest.mark.parametrize("text", ["{}", "[1.5]", "[true]", '["1/0"]', '["x"]', '["7"]', "[null]", "[[1]]", "[", ""])
def test_what_is_no_point(text: str) -> None:
    with pytest.raises(ValueError):
        parse_point(text)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.dictionaries(
        st.tuples(words, points), st.tuples(times, words | st.none(), st.integers(0, 1000)), max_size=6
    )
)
def test_rows_round_trip(rows: dict[tuple[str, Point], tuple[float, str | None, int]], tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("table") / "t.db"
    written = {
        key: OK.model_copy(update={"median": us, "error": error, "samples": n}) for key, (us, error, n) in rows.items()
    }
    with LatencyTable(path) as table:
        for (block, point), row in written.items():
            table.put(block, point, ENV, row)
    with LatencyTable(path, readonly=True) as table:
        assert {key: table.get(*key, ENV) for key in written} == written
        assert len(table) == len(written)


def test_missing_points_and_retries(table: LatencyTable) -> None:
    table.put("b", (1,), ENV, OK)
    table.put("b", (2,), ENV, Measurement.failure("build_failed", "no such kernel"))
    table.put("b", (3,), ENV, Measurement.empty())
    wanted: list[Point] = [(1,), (2,), (3,), (4,)]
    assert list(table.missing("b", wanted, ENV)) == [(4,)]
    assert list(table.missing("b", wanted, ENV, retry_failed=True)) == [(2,), (4,)]
    assert list(table.missing("other", wanted, ENV)) == wanted
    assert table.counts() == {"build_failed": 1, "empty": 1, "ok": 1}
    table.put("b", (2,), ENV, OK)
    assert len(table) == 3


@pytest.mark.parametrize(
    "change",
    [{"engine_version": "2"}, {"precision": "fp16"}, {"batch": 8}, {"threads": 2}, {"timing_mode": "floating"},
     {"protocol_version": 2}, {"engine": "other"}, {"device": this_cpu().model_copy(update={"model": "else"})}],
)  # fmt: skip
def test_every_field_of_the_environment_tells_rows_apart(table: LatencyTable, change: dict[str, object]) -> None:
    other = Environment(**{**dict(ENV), **change})
    table.put("b", (1,), ENV, OK)
    assert table.get("b", (1,), other) is None
    table.put("b", (1,), other, Measurement.empty())
    assert table.get("b", (1,), ENV) == OK
    assert {e.env_id for e in table.environments()} == {ENV.env_id, other.env_id}


def test_the_key_of_an_environment_does_not_change_by_accident() -> None:
    assert ENV.env_id == "78e4442228e1fa07b9331d4922e404aa", (
        "raise Environment.SCHEMA or protocol_version where this is meant to change"
    )


def test_the_first_reference_stays(table: LatencyTable) -> None:
    assert table.reference(ENV) is None
    table.set_reference(ENV, 25.0)
    table.set_reference(ENV, 99.0)
    table.put("b", (1,), ENV, OK)
    assert table.reference(ENV) == 25.0


def test_export_is_sorted_json_and_depends_on_the_rows_alone(tmp_path: Path) -> None:
    rows = [("b", (2,)), ("a", (Fraction(1, 2), 3)), ("a", (10, 3))]
    exports = []
    for name, order in (("x", rows), ("y", rows[::-1])):
        with LatencyTable(tmp_path / name) as table:
            for block, point in order:
                table.put(block, point, ENV, OK)
            exports.append(list(table.export()))
    assert exports[0] == exports[1]
    first = json.loads(exports[0][0])
    assert (first["block"], first["point"], first["median"], first["environment"]["batch"]) == (
        "a",
        ["1/2", 3],
        10.0,
        1,
    )


# ------------------------------------------------------------------------------------------------- claims


def wanted(*widths: int) -> list[Wanted]:
    return [Wanted("b", (width,)) for width in widths]


def test_a_point_is_claimed_by_one_run_until_its_row_is_there(table: LatencyTable) -> None:
    one, two = new_owner(), new_owner()
    assert table.claim(wanted(1, 2), ENV, one, 60) == ["granted", "granted"]
    assert table.claim(wanted(2, 3), ENV, two, 60) == ["held", "granted"]
    assert table.claim(wanted(1), pretended_environment(batch=2), two, 60) == ["granted"], "another environment"
    assert table.claims() == {one: 2, two: 2}
    table.put("b", (2,), ENV, OK)
    assert table.claims() == {one: 1, two: 2}
    assert table.claim(wanted(1, 2, 3), ENV, two, 60) == ["held", "done", "held"]
    table.release(one)
    assert table.claim(wanted(1, 2), ENV, two, 60) == ["granted", "done"]
    table.release(two)
    assert table.claims() == {}


def test_a_row_is_replaced_by_one_run_only(table: LatencyTable) -> None:
    old = OK.model_copy(update={"timestamp": "2020-01-01T00:00:00+00:00"})
    table.put("b", (1,), ENV, old)
    (due,) = table.wanted("b", [(1,)], ENV, stale_before=datetime(2021, 1, 1, tzinfo=UTC))
    assert due == Wanted("b", (1,), old.timestamp)
    assert table.claim([due], ENV, new_owner(), 60) == ["granted"]
    table.put("b", (1,), ENV, OK)
    assert table.claim([due], ENV, new_owner(), 60) == ["done"], "another run has replaced it meanwhile"


def test_claims_end_with_their_time_and_with_their_process(table: LatencyTable) -> None:
    code = "from nasc.runtime.owners import new_owner; print(new_owner())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    elsewhere = "another-machine/1:1:1:abcd"
    assert table.claim(wanted(1), ENV, dead, 60) == ["granted"]
    assert table.claim(wanted(2), ENV, elsewhere, 60) == ["granted"]
    assert table.claim(wanted(3), ENV, "another-machine/1:2:2:abcd", 0) == ["granted"]
    time.sleep(0.01)
    assert table.claim(wanted(1, 2, 3), ENV, new_owner(), 60) == ["granted", "held", "granted"]
    table.renew(elsewhere, -1)
    assert table.claim(wanted(2), ENV, new_owner(), 60) == ["granted"]


def test_whether_an_owner_is_gone() -> None:
    own = new_owner()
    assert new_owner() != own and not is_gone(own)
    host, pid, start, tail = own.rsplit(":", 3)
    assert int(pid) == os.getpid()
    assert is_gone(f"{host}:{pid}:{int(start) + 1}:{tail}"), "the number was given to another process"
    for other in (f"{host}:99999999:{start}:{tail}", f"{host}:{2**22 + 5}:0:x"):
        assert is_gone(other)
    for unknown in ("", ":::", "x", f"{host}:-1:0:x", f"{host}:{10**30}:0:x", f"away:{pid}:1:x", f"{host}:1e3:0:x"):
        assert not is_gone(unknown)


@given(st.text(max_size=30))
def test_any_owner_in_a_table_from_a_stranger_is_only_a_text(owner: str) -> None:
    assert is_gone(owner) in (True, False)


@pytest.mark.parametrize(
    ("row", "retry", "due"),
    [(None, False, True), (OK, False, False), (OK, True, False), (Measurement.failure("crash", "x"), False, False),
     (Measurement.failure("crash", "x"), True, True), (Measurement.empty(), True, False)],
)  # fmt: skip
def test_which_points_are_wanted(row: Measurement | None, retry: bool, due: bool) -> None:
    assert is_wanted(row, retry_failed=retry) is due
    assert is_wanted(row, retry_failed=retry, stale_before=datetime.now(UTC) - timedelta(hours=1)) is due
    assert is_wanted(row, retry_failed=retry, stale_before=datetime.now(UTC) + timedelta(hours=1))


def test_a_timestamp_that_is_none_is_refused_where_it_matters(tmp_path: Path) -> None:
    path = damaged(tmp_path / "t.db", "UPDATE measurement SET timestamp = 'yesterday'")
    with LatencyTable(path) as table:
        assert list(table.missing("b", [(1,)], ENV)) == []
        with pytest.raises(NascError, match="is damaged"):
            list(table.missing("b", [(1,)], ENV, stale_before=datetime.now(UTC)))
    without_zone = OK.model_copy(update={"timestamp": "2020-01-01T00:00:00"})
    assert is_wanted(without_zone, stale_before=datetime.now(UTC))


def test_estimates_and_calibrations(table: LatencyTable) -> None:
    assert table.estimates("b", ENV) == {} and table.calibration(ENV) is None
    table.put_estimate("b", (1,), ENV, Estimate(10.0, 0.5))
    table.put_estimate("b", (Fraction(3, 2),), ENV, Estimate(11.0, 0.25))
    table.put_estimate("b", (1,), ENV, Estimate(9.0, 0.5))
    assert table.estimates("b", ENV) == {(1,): Estimate(9.0, 0.5), (Fraction(3, 2),): Estimate(11.0, 0.25)}
    assert table.get("b", (1,), ENV) is None and len(table) == 0, "an estimate is no measurement"
    table.put("b", (1,), ENV, OK)
    assert table.estimates("b", ENV) == {(Fraction(3, 2),): Estimate(11.0, 0.25)}
    table.put_estimate("b", (2,), ENV, Estimate(12.0, 0.5))
    table.drop_estimates([("b", (Fraction(3, 2),)), ("c", (2,))], ENV)
    assert table.estimates("b", ENV) == {(2,): Estimate(12.0, 0.5)}, "another space's points stay"
    table.set_calibration(ENV, {"factor": 1.25})
    table.set_calibration(ENV, {"factor": 1.5})
    assert table.calibration(ENV) == {"factor": 1.5}
    with pytest.raises(ValueError):
        table.set_calibration(ENV, {"factor": float("nan")})


# ------------------------------------------------------------------------------------------------- files


def first_version(path: Path) -> Path:
    """A table as the first version of the schema had it, with one row."""
    with LatencyTable(path.with_suffix(".new")) as table:
        table.put("b", (1,), ENV, OK)
        table.set_reference(ENV, 25.0)
    db = sqlite3.connect(path)
    for sql in _FIRST_SCHEMA.values():
        db.execute(sql)
    db.execute("ATTACH ? AS other", (str(path.with_suffix(".new")),))
    for name in ("block", "env", "measurement"):
        db.execute(f"INSERT INTO {name} SELECT * FROM other.{name}")
    db.execute("INSERT INTO meta VALUES ('schema', '1')")
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.commit()
    db.close()
    return path


def test_a_table_of_the_first_version_is_read_as_it_is_and_upgraded_by_writing(tmp_path: Path) -> None:
    path = first_version(tmp_path / "t.db")
    before = path.read_bytes()
    with LatencyTable(path, readonly=True) as table:
        assert table.get("b", (1,), ENV) == OK and table.reference(ENV) == 25.0
        assert table.estimates("b", ENV) == {} and table.calibration(ENV) is None and table.claims() == {}
        with pytest.raises(NascError, match="cannot be written"):
            table.put_estimate("b", (2,), ENV, Estimate(1.0, 1.0))
    assert path.read_bytes() == before
    with LatencyTable(path) as table:
        table.put_estimate("b", (2,), ENV, Estimate(1.0, 1.0))
    with LatencyTable(path, readonly=True) as table:
        assert table.get("b", (1,), ENV) == OK and table.estimates("b", ENV) == {(2,): Estimate(1.0, 1.0)}


def test_nothing_is_left_beside_a_table(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    for readonly in (False, True, False, True):
        with LatencyTable(path, readonly=readonly) as table:
            assert table.get("b", (1,), ENV) is None
        assert [p.name for p in tmp_path.iterdir()] == ["t.db"]
    with LatencyTable(path) as writing, LatencyTable(path, readonly=True) as reading:
        writing.put("b", (1,), ENV, OK)
        assert reading.get("b", (1,), ENV) == OK
    assert [p.name for p in tmp_path.iterdir()] == ["t.db"]


def damaged(path: Path, sql: str) -> Path:
    with LatencyTable(path) as table:
        table.put("b", (1,), ENV, OK)
    connection = sqlite3.connect(path)
    connection.executescript(sql)
    connection.close()
    return path


@pytest.mark.parametrize(
    "content", [b"x", b"hello, this is no database at all\n" * 9, b"SQLite format 3\0" + b"\xff" * 4096]
)
@pytest.mark.parametrize("readonly", [True, False])
def test_files_that_are_no_table_are_refused_and_left_alone(tmp_path: Path, content: bytes, readonly: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(NascError, match=r"is not a latency table|is damaged"):
        LatencyTable(path, readonly=readonly)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE photo (id); INSERT INTO photo VALUES (1)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(NascError, match="is not a latency table"):
        LatencyTable(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_named(tmp_path: Path) -> None:
    path = damaged(tmp_path / "t.db", "UPDATE meta SET value = '99'; CREATE TABLE further (x)")
    with pytest.raises(NascError, match="schema 99; this nasc reads schemas 1 and 2"):
        LatencyTable(path)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER t AFTER INSERT ON measurement BEGIN DELETE FROM measurement; END",
        "CREATE VIEW v AS SELECT load_extension('x')",
        "ALTER TABLE measurement RENAME TO m2",
        "DROP TABLE env",
        "DELETE FROM meta",
    ],
)
def test_doctored_schemas_are_refused(tmp_path: Path, sql: str) -> None:
    with pytest.raises(NascError):
        LatencyTable(damaged(tmp_path / "t.db", sql))


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE measurement SET status = 'wonderful'",
        "UPDATE measurement SET median = -1",
        "UPDATE measurement SET median = 9e999",
        "UPDATE measurement SET point = '[[[1]]]'",
        "UPDATE measurement SET quality = '__import__(''os'')'",
    ],
)
def test_doctored_values_are_refused_where_they_are_read(tmp_path: Path, sql: str) -> None:
    with (
        LatencyTable(damaged(tmp_path / "t.db", sql), readonly=True) as table,
        pytest.raises(NascError, match="is damaged"),
    ):
        table.points("b", ENV)


@settings(deadline=None, max_examples=60)
@given(start=st.integers(0, 20_000), junk=st.binary(min_size=1, max_size=600))
def test_overwritten_bytes_give_an_error_or_a_row_never_a_crash(start: int, junk: bytes, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("damage") / "t.db"
    with LatencyTable(path) as table:
        for i in range(20):
            table.put("b", (i,), ENV, OK)
    content = bytearray(path.read_bytes())
    content[start : start + len(junk)] = junk
    path.write_bytes(content)
    try:
        with LatencyTable(path) as table:
            assert all(row.status for row in table.points("b", ENV).values())
    except NascError as error:
        assert str(path) in error.message


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with LatencyTable(path) as table:
        for i in range(200):
            table.put("b", (i,), ENV, OK)
    path.write_bytes(path.read_bytes()[:-6000])
    with pytest.raises(NascError, match="is damaged"):
        LatencyTable(path)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NascError, match="there is no latency table"):
        LatencyTable(tmp_path / "none.db", readonly=True)
    with pytest.raises(NascError, match="there is no folder"):
        LatencyTable(tmp_path / "none" / "t.db")
    with pytest.raises(NascError, match="cannot open"):
        LatencyTable(tmp_path)
    assert not (tmp_path / "none.db").exists()


def test_writing_to_a_read_only_table(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    LatencyTable(path).close()
    with LatencyTable(path, readonly=True) as table, pytest.raises(NascError, match="cannot be written"):
        table.put("b", (1,), ENV, OK)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_reading_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with LatencyTable(path) as table:
        table.put("b", (1,), ENV, OK)
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        with LatencyTable(path, readonly=True) as table:
            assert table.get("b", (1,), ENV) == OK
        with pytest.raises(NascError, match="cannot be"):
            LatencyTable(path).put("b", (2,), ENV, OK)
    finally:
        tmp_path.chmod(0o755)


def test_a_table_that_another_process_is_writing(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with LatencyTable(path, wait=0.05) as table:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert table.get("b", (1,), ENV) is None, "reading goes on"
        with pytest.raises(NascError, match="in use by another process"):
            table.put("b", (1,), ENV, OK)
        other.execute("ROLLBACK")
        other.close()
        table.put("b", (1,), ENV, OK)


def test_a_full_disk_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with LatencyTable(path) as table:
        table._db.execute("PRAGMA max_page_count = 12")
        kept = 0
        with pytest.raises(NascError, match="no space is left"):
            for kept in range(10_000):
                table.put("b", (kept,), ENV, OK)
    with LatencyTable(path) as table:
        assert len(table) == kept > 0


def test_four_processes_write_one_new_table(tmp_path: Path) -> None:
    code = """
import sys
from nasc.runtime.table import LatencyTable
from tests.test_table import ENV, OK
with LatencyTable(sys.argv[1]) as table:
    for i in range(50):
        table.put(sys.argv[2], (i,), ENV, OK)
"""
    path = tmp_path / "t.db"
    root = Path(__file__).parent.parent
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), f"block{i}"], cwd=root) for i in range(4)]
    assert [w.wait(60) for w in writers] == [0, 0, 0, 0]
    with LatencyTable(path) as table:
        assert table.counts() == {"ok": 200}


# ------------------------------------------------------------------------------------------------- numbers


def test_the_error_of_a_median_against_simulation() -> None:
    np = pytest.importorskip("numpy")
    samples = np.random.default_rng(0).normal(100.0, 3.0, size=(20_000, 25))
    simulated = np.median(samples, axis=1).std()
    stated = np.median([error_of_median(median_absolute_deviation(list(row)), 25) for row in samples[:2000]])
    assert stated == pytest.approx(simulated, rel=0.1)
    assert error_of_median(1.0, 4) == pytest.approx(1.2533 * 1.4826 / 2)
