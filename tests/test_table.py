"""The latency table: rows round trip, files that are not tables are refused, and nothing is lost."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.compiler.expr import exact
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment, this_cpu
from nasc.runtime.measurement import Measurement, error_of_median, median_absolute_deviation
from nasc.runtime.table import LatencyTable, Point, parse_point, point_text
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


# ------------------------------------------------------------------------------------------------- files


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
