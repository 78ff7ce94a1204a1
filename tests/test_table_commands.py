"""`nasc table`: what is exported comes back whole, strangers' lines are refused in full, and tables merge by rule."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shlex
import statistics
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.cli import main
from nasc.compiler.domain import Domain
from nasc.compiler.manifest import entry_key
from nasc.dsl.diagnostics import NascError
from nasc.runtime.measurement import Measurement
from nasc.runtime.table import LatencyTable, point_text
from nasc.runtime.table_contents import Contents, Estimate, Key, Known, in_order, read_contents, update
from nasc.runtime.table_exchange import read_csv, read_jsonl, to_csv, to_jsonl
from nasc.runtime.table_fbnet import read_fbnet
from nasc.runtime.table_merge import difference, merge
from tests.tiny_blocks import conv_relu, entry, manifest, pretended_environment

ENV, OTHER = pretended_environment(), pretended_environment("fp16")
GRAPHS = [conv_relu(width) for width in (4, 8, 12)]
BLOCKS = {entry_key(graph): in_order(graph.model_dump(mode="json")) for graph in GRAPHS}
HASHES = sorted(BLOCKS)


def ok(median: float = 10.0, hour: int = 0, **more: Any) -> Measurement:
    stamp = f"2026-01-01T{hour:02}:00:00+00:00"
    values = {"status": "ok", "minimum": median, "median": median, "mad": 0.1, "samples": 7, "identity": 1.0}
    return Measurement(**{**values, "canary": 30.0, "quality": "good", "timestamp": stamp, **more})


def failed(hour: int = 0) -> Measurement:
    return Measurement(status="crash", error='killed by "SIGSEGV",\r\nor so', timestamp=f"2026-01-01T{hour:02}:00:00Z")


def contents(
    rows: dict[int, Measurement] | None = None, estimates: dict[int, Estimate] | None = None, reference: float = 25.0
) -> Contents:
    """A table with one block; rows by the value of its one width."""
    keyed = [
        {(HASHES[0], ENV.env_id, f"[{width}]"): row for width, row in (d or {}).items()} for d in (rows, estimates)
    ]
    return Contents({ENV.env_id: Known(ENV, reference)}, {HASHES[0]: BLOCKS[HASHES[0]]}, *keyed)  # type: ignore[arg-type]


def written(path: Path, what: Contents) -> Path:
    with LatencyTable(path) as table:
        update(table, lambda _: what)
    return path


def read(path: Path) -> Contents:
    with LatencyTable(path, readonly=True) as table:
        return read_contents(table)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["table", *(str(a) for a in arguments)], prog_name="nasc")


# ------------------------------------------------------------------------------------------------- round trips

times = st.floats(0, 1e12, allow_nan=False)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
points = st.lists(st.integers(-(10**25), 10**25) | st.fractions(), max_size=3).map(point_text)
keys = st.tuples(st.sampled_from(HASHES), st.sampled_from([ENV.env_id, OTHER.env_id]), points)
measurements = st.builds(
    Measurement,
    status=st.sampled_from(["ok", "empty", "crash", "timeout"]),
    effective_precision=st.none() | texts,
    median=st.none() | times,
    mad=st.none() | times,
    samples=st.integers(0, 2**31),
    quality=st.sampled_from([None, "good", "noisy"]),
    seconds=times,
    error=st.none() | texts,
    timestamp=st.datetimes().map(lambda moment: moment.isoformat()),
)
references = st.none() | st.floats(1e-3, 1e6)
jsons = st.none() | st.dictionaries(texts, st.floats(-1e9, 1e9) | texts, max_size=3).map(in_order)
tables = st.builds(
    lambda references, calibration, rows, estimates: Contents(
        {ENV.env_id: Known(ENV, references[0], calibration), OTHER.env_id: Known(OTHER, references[1])},
        BLOCKS,
        rows,
        estimates,
    ),
    st.tuples(references, references),
    jsons,
    st.dictionaries(keys, measurements, max_size=5),
    st.dictionaries(keys, st.builds(Estimate, times, times), max_size=5),
)


@settings(deadline=None, max_examples=25)
@given(what=tables)
def test_json_lines_hold_all_of_a_table(what: Contents, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("t")
    assert read(written(folder / "a.db", what)) == what
    lines = list(to_jsonl(read(folder / "a.db")))
    (folder / "a.jsonl").write_text("\n".join(lines), newline="")
    again = read_jsonl(folder / "a.jsonl")
    assert again == what
    assert list(to_jsonl(read(written(folder / "b.db", again)))) == lines


@settings(deadline=None, max_examples=60)
@given(what=tables)
def test_csv_holds_the_rows_and_their_environments(what: Contents, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("t") / "a.csv"
    lines = list(to_csv(what))
    path.write_bytes("".join(lines).encode())
    again = read_csv(path)
    assert (again.measurements, again.estimates) == (what.measurements, what.estimates)
    for env_id, known in again.environments.items():
        assert (known.environment, known.reference_us) == (
            what.environments[env_id].environment,
            what.environments[env_id].reference_us,
        )
    assert list(to_csv(again)) == lines


def test_csv_can_be_read_by_any_other_program(tmp_path: Path) -> None:
    table = written(tmp_path / "t.db", contents({8: ok(12.5), 16: failed()}, {24: Estimate(20.0, 0.5)}))
    rows = list(csv.DictReader(io.StringIO(run("export", table, "--format", "csv").stdout_bytes.decode(), newline="")))
    assert [(r["kind"], r["point"], r["median"], r["standard_error"]) for r in rows] == [
        ("measurement", "[16]", "", ""), ("measurement", "[8]", "12.5", ""), ("estimate", "[24]", "20.0", "0.5"),
    ]  # fmt: skip
    assert {(r["device"], r["engine"], r["batch"], r["features"]) for r in rows} == {
        ("pretended", "pretend", "1", '["avx2"]')
    }
    assert rows[0]["error"] == failed().error


def test_an_import_keeps_what_the_table_holds(tmp_path: Path) -> None:
    table = written(tmp_path / "t.db", contents({8: ok(1.0, hour=1), 16: ok(2.0, hour=3)}))
    other = written(tmp_path / "o.db", contents({16: ok(3.0, hour=2), 24: ok(4.0, hour=2)}))
    assert run("export", other, "-o", tmp_path / "o.jsonl").exit_code == 0
    done = run("import", table, tmp_path / "o.jsonl")
    assert done.stdout.splitlines() == [f"{table}: 2 of 2 rows", f"{tmp_path / 'o.jsonl'}: 1 of 2 rows"]
    assert {key[2]: row.median for key, row in read(table).measurements.items()} == {"[8]": 1, "[16]": 2, "[24]": 4}


def test_one_environment_can_be_exported(tmp_path: Path) -> None:
    first, block = contents({8: ok()}), HASHES[1]
    both = Contents(
        {**first.environments, OTHER.env_id: Known(OTHER)},
        BLOCKS,
        {**first.measurements, (block, OTHER.env_id, "[8]"): ok()},
    )
    table = written(tmp_path / "t.db", both)
    lines = run("export", table, "--env", ENV.env_id[:6]).stdout.splitlines()
    assert lines == list(to_jsonl(first))
    assert run("export", table, "--env", "nothing").exit_code == 1


# ------------------------------------------------------------------------------------------------- strangers

LINES = list(to_jsonl(contents({8: ok()}, {16: Estimate(5.0, 0.1)})))


def changed(line: int, **values: object) -> list[str]:
    found = json.loads(LINES[line]) | values
    return [*LINES[:line], json.dumps(found), *LINES[line + 1 :]]


MALFORMED: list[tuple[list[str], int, str]] = [
    ([], 1, "first line"),
    (["{}"], 1, "first line"),
    ([LINES[0].replace("/1", "/9"), *LINES[1:]], 1, "first line"),
    ([*LINES, "{"], 6, "JSON"),
    ([*LINES, '{"kind":"trigger"}'], 6, "kind"),
    ([*LINES, LINES[3]], 6, "line before"),
    ([*LINES, LINES[1]], 6, "line before"),
    ([*LINES, LINES[2]], 6, "line before"),
    ([LINES[0], LINES[2], LINES[3]], 3, "no line before it has the environment"),
    ([LINES[0], LINES[1], LINES[3]], 3, "no line before it has the block"),
    (changed(1, id="0" * 32), 2, "id is"),
    (changed(1, reference_us=0), 2, "reference_us"),
    (changed(2, hash=HASHES[1]), 3, "hash is not"),
    (changed(2, graph={"inputs": {}}), 3, "graph"),
    (changed(3, status="wonderful"), 4, "status"),
    (changed(3, median=-1), 4, "median"),
    ([*LINES[:3], LINES[3].replace('"median":10.0', '"median":NaN')], 4, "median"),
    (changed(3, samples=10**30), 4, "too large"),
    (changed(3, timestamp="yesterday"), 4, "yesterday"),
    (changed(3, point=[1.5]), 4, "point"),
    (changed(3, point=["1/0"]), 4, "point"),
    (changed(3, point="__import__('os')"), 4, "point"),
    (changed(3, point=[8] * 9000), 4, "characters"),
    (changed(3, further=1), 4, "further"),
    ([*LINES[:3], "[" * 100_000], 4, "line 4"),
    ([*LINES[:3], '{"kind":"measurement","point":' + "[" * 9000 + "]" * 9000 + "}"], 4, "line 4"),
    ([*LINES[:3], '{"kind":"measurement","samples":' + "9" * 9000 + "}"], 4, "line 4"),
    (changed(4, median=None), 5, "median"),
    (changed(4, standard_error=-0.1), 5, "standard_error"),
]


@pytest.mark.parametrize(("lines", "number", "why"), MALFORMED)
def test_a_malformed_line_is_named_and_nothing_is_imported(
    lines: list[str], number: int, why: str, tmp_path: Path
) -> None:
    table = written(tmp_path / "t.db", contents({32: ok()}))
    source = tmp_path / "s.jsonl"
    source.write_text("\n".join(lines))
    before = read(table)
    done = run("import", table, source)
    assert done.exit_code == 1 and f"line {number}:" in done.stderr and why in done.stderr, done.stderr
    assert "bug" not in done.stderr and read(table) == before


def csv_rows() -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(to_csv(contents({8: ok(), 16: ok()}))), newline="")))


def put(row: int, column: str, text: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        rows[row][rows[0].index(column)] = text

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (put(0, "kind", "sort"), "columns"),
        (put(2, "kind", "estimate"), "standard_error"),
        (put(2, "median", "fast"), "median"),
        (put(2, "median", "inf"), "median"),
        (put(2, "point", "[x]"), "point"),
        (put(2, "point", ""), "point"),
        (put(2, "standard_error", "1"), "standard_error"),
        (put(2, "batch", "2"), "other values"),
        (put(1, "batch", "2"), "id is"),
        (put(1, "features", "avx"), "line 2"),
        (put(1, "features", "{}"), "features"),
        (put(1, "cores", "9" * 40), "too large"),
        (put(2, "point", "[16]"), "line before"),
        (lambda rows: rows[2].pop(), "cells"),
        (lambda rows: rows.clear(), "columns"),
    ],
)
def test_malformed_csv_is_refused(change: Callable[[list[list[str]]], object], why: str, tmp_path: Path) -> None:
    rows = csv_rows()
    change(rows)
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    path = tmp_path / "t.csv"
    path.write_bytes(text.getvalue().encode())
    with pytest.raises(NascError, match=r"line [123]: ") as refused:
        read_csv(path)
    assert why in refused.value.message


@settings(deadline=None, max_examples=150)
@given(at=st.floats(0, 1), junk=st.binary(min_size=1, max_size=30), kind=st.sampled_from(["jsonl", "csv"]))
def test_overwritten_bytes_are_refused_or_read(
    at: float, junk: bytes, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = contents({8: ok(), 16: failed()}, {24: Estimate(1.0, 0.1)})
    data = bytearray(("\n".join(to_jsonl(whole)) if kind == "jsonl" else "".join(to_csv(whole))).encode())
    start = int(at * len(data))
    data[start : start + len(junk)] = junk
    path = tmp_path_factory.mktemp("t") / f"t.{kind}"
    path.write_bytes(data)
    try:
        found = read_jsonl(path) if kind == "jsonl" else read_csv(path)
        written(path.with_suffix(".db"), found)
    except NascError as error:
        assert str(path) in error.message


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(LINES))
    for name, limit, why in (("MAX_BYTES", 500, "larger than"), ("MAX_LINE", 400, "longer"), ("MAX_ROWS", 3, "more")):
        with monkeypatch.context() as patch:
            patch.setattr(f"nasc.runtime.table_exchange.{name}", limit)
            with pytest.raises(NascError, match=why):
                read_jsonl(path)
    assert len(read_jsonl(path).measurements) == 1


def test_a_write_that_fails_half_way_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    path = written(tmp_path / "t.db", contents({8: ok()}))
    before = read(path)
    many = contents({width: ok() for width in range(5000)})
    with LatencyTable(path) as table:
        table._db.execute(f"PRAGMA max_page_count = {path.stat().st_size // 4096 + 3}")
        with pytest.raises(NascError, match="no space"):
            update(table, lambda _: many)
    assert read(path) == before


# ------------------------------------------------------------------------------------------------- merge


def test_the_newer_row_wins_unless_the_first_is_kept(tmp_path: Path) -> None:
    a = contents({8: ok(1.0, hour=5), 16: ok(1.0, hour=1), 24: failed(hour=9), 32: ok(1.0, hour=1)})
    b = contents({8: ok(2.0, hour=4), 16: ok(2.0, hour=2), 24: ok(2.0, hour=8), 32: failed(hour=2), 40: ok(2.0)})
    medians = {"newer": [1, 2, 2, 1, 2], "first": [1, 1, None, 1, 2]}
    for keep, expected in medians.items():
        out = tmp_path / f"{keep}.db"
        for name, table in (("a", a), ("b", b)):
            if not (tmp_path / name).exists():
                written(tmp_path / name, table)
        done = run("merge", out, tmp_path / "a", tmp_path / "b", "--keep", keep)
        assert done.exit_code == 0, done.stderr
        found = {json.loads(key[2])[0]: row.median for key, row in read(out).measurements.items()}
        assert [found[width] for width in (8, 16, 24, 32, 40)] == expected
        taken = {"newer": "3 of 5", "first": "1 of 5"}[keep]
        assert done.stdout.splitlines()[1] == f"{tmp_path / 'b'}: {taken} rows"


def test_times_are_compared_across_time_zones() -> None:
    early = ok(1.0, timestamp="2026-01-01T12:00:00+05:00")
    late = ok(2.0, timestamp="2026-01-01T08:00:00")
    merged = merge([("a", contents({8: early})), ("b", contents({8: late}))]).contents
    assert [row.median for row in merged.measurements.values()] == [2.0]


def test_another_reference_rescales_all_but_the_raw_canary(tmp_path: Path) -> None:
    a, b = contents({8: ok(10.0)}, reference=20.0), contents({16: ok(30.0)}, {24: Estimate(9.0, 0.3)}, reference=30.0)
    done = run("merge", tmp_path / "out", written(tmp_path / "a", a), written(tmp_path / "b", b))
    assert "multiplied by 0.6667" in done.stdout and "in another state" in done.stderr
    found = read(tmp_path / "out")
    assert found.environments[ENV.env_id].reference_us == 20.0
    row = found.measurements[HASHES[0], ENV.env_id, "[16]"]
    assert (row.median, row.minimum, row.mad, row.identity, row.canary) == pytest.approx(
        (20.0, 20.0, 0.1 * 2 / 3, 2 / 3, 30.0)
    )
    assert found.estimates[HASHES[0], ENV.env_id, "[24]"].error == pytest.approx(0.2)


def test_a_calibration_of_rescaled_latencies_is_not_taken() -> None:
    def calibrated(reference: float, text: str | None) -> Contents:
        return Contents({ENV.env_id: Known(ENV, reference, text)})

    for reference, expected in ((20.0, '{"bias":1}'), (30.0, None)):
        merged = merge([("a", calibrated(20.0, None)), ("b", calibrated(reference, '{"bias":1}'))]).contents
        assert merged.environments[ENV.env_id].calibration == expected


def test_an_estimate_gives_way_to_a_better_one_and_stays_beside_a_measurement() -> None:
    a = contents({8: failed()}, {8: Estimate(1.0, 0.5), 16: Estimate(1.0, 0.5), 24: Estimate(1.0, 0.5)})
    b = contents({16: ok(2.0)}, {24: Estimate(2.0, 0.1)})
    merged = merge([("a", a), ("b", b)])
    estimates = {key[2]: row.median for key, row in merged.contents.estimates.items()}
    assert estimates == {"[8]": 1.0, "[16]": 1.0, "[24]": 2.0}
    assert [(s.rows, s.kept) for s in merged.sources] == [(4, 3), (2, 2)]
    (pair,) = (p for p in difference(merged.contents, merged.contents).pairs if p.key[2] == "[16]")
    assert (pair.a, pair.estimated) == (2.0, False)
    first = merge([("a", a), ("b", b)], keep="first").contents.estimates
    assert first[HASHES[0], ENV.env_id, "[24]"].median == 1.0


def best(rows: Sequence[tuple[int, Measurement]]) -> Measurement:
    """By the rule's words: with a latency before without, then by time, then by order."""
    from datetime import datetime

    moments = [(row.usable, datetime.fromisoformat(row.timestamp), -number) for number, row in rows]
    return rows[moments.index(max(moments))][1]


rows_of = st.dictionaries(
    st.sampled_from([8, 16, 24]),
    st.builds(lambda m, h, good: ok(m, h) if good else failed(h), st.floats(1, 9), st.integers(0, 3), st.booleans()),
)


@settings(deadline=None, max_examples=100)
@given(several=st.lists(rows_of, min_size=1, max_size=4))
def test_merging_against_a_plain_rule(several: list[dict[int, Measurement]]) -> None:
    named = [(str(number), contents(rows)) for number, rows in enumerate(several)]
    merged = merge(named)
    expected = {
        width: best([(n, rows[width]) for n, rows in enumerate(several) if width in rows])
        for width in {width for rows in several for width in rows}
    }
    # Z and +00:00 are one moment, and the rule prefers the earlier table then.
    assert {json.loads(key[2])[0]: row for key, row in merged.contents.measurements.items()} == expected
    assert sum(source.kept for source in merged.sources) == len(expected)
    assert merge([("merged", merged.contents), *named]).contents == merged.contents


def test_environments_never_mix(tmp_path: Path) -> None:
    key: Key = (HASHES[0], OTHER.env_id, "[8]")
    other = Contents({OTHER.env_id: Known(OTHER, 99.0)}, {HASHES[0]: BLOCKS[HASHES[0]]}, {key: ok(7.0)})
    out = tmp_path / "out"
    assert run("merge", out, written(tmp_path / "a", contents({8: ok(1.0)})), written(tmp_path / "b", other)).stdout
    found = read(out)
    assert {k[1]: row.median for k, row in found.measurements.items()} == {ENV.env_id: 1.0, OTHER.env_id: 7.0}
    assert {e: known.reference_us for e, known in found.environments.items()} == {ENV.env_id: 25.0, OTHER.env_id: 99.0}
    apart = run("diff", tmp_path / "a", tmp_path / "b")
    assert apart.exit_code == 1 and "no key in common" in apart.stderr and "fp16" in apart.stderr


# ------------------------------------------------------------------------------------------------- diff


@settings(deadline=None, max_examples=60)
@given(
    pairs=st.dictionaries(st.integers(1, 50), st.tuples(st.floats(1, 100), st.floats(0.5, 2)), min_size=2),
    factor=st.sampled_from([1.0, 0.5, 3.0]),
)
def test_differences_against_a_plain_calculation(pairs: dict[int, tuple[float, float]], factor: float) -> None:
    a = contents({width: ok(us) for width, (us, _) in pairs.items()}, reference=20.0)
    b = contents({width: ok(us * ratio * factor) for width, (us, ratio) in pairs.items()}, reference=20.0 * factor)
    found = difference(a, b)
    ratios = [ratio for _, ratio in pairs.values()]
    assert found.quartiles is not None and found.quartiles[1] == pytest.approx(statistics.median(ratios))
    assert min(ratios) * 0.999 <= found.quartiles[0] <= found.quartiles[1] <= found.quartiles[2] <= max(ratios) * 1.001
    assert abs(found.beyond(0.05) - sum(abs(r - 1) > 0.05 for r in ratios)) <= sum(
        math.isclose(abs(r - 1), 0.05, abs_tol=1e-9) for r in ratios
    )
    largest = found.largest(1)
    assert max(abs(math.log(r)) for r in ratios) == pytest.approx(largest[0].distance if largest else 0, abs=1e-9)


def test_diff_from_the_command_line(tmp_path: Path) -> None:
    a = written(tmp_path / "a", contents({8: ok(10.0), 16: ok(20.0), 24: ok(5.0), 32: ok(5.0)}))
    b = written(tmp_path / "b", contents({8: ok(10.2), 16: ok(24.0), 24: failed(), 40: ok()}, {32: Estimate(5.1, 0.1)}))
    done = run("diff", a, b, "--format", "json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and (found["points"], found["beyond"]) == (3, 2)
    assert (found["largest"][0]["point"], found["largest"][0]["ratio"]) == ("[16]", pytest.approx(1.2))
    assert [k["point"] for k in found["failed"]] == ["[24]"]
    assert [k["point"] for k in found["only_b"]] == ["[40]"] and found["only_a"] == []
    said = run("diff", a, b).stdout
    assert "3 points in both, 1 of them with an estimate" in said and "median 1.0200" in said
    same = run("diff", a, a, "--tolerance", "0")
    assert same.exit_code == 0 and "0 differ" in same.stdout
    empty = contents({8: Measurement.empty()})
    assert difference(empty, empty).beyond(0) == 0
    assert difference(empty, contents({8: ok()})).beyond(0.05) == 1


# ------------------------------------------------------------------------------------------------- FBNet's table


def argument(name: str, value: int | str | float) -> str:
    kind = {int: "i", float: "f", str: "s"}[type(value)]
    text = f'"{value}"' if isinstance(value, str) else value
    return f'name: "{name}"\n{kind}: {text}\n'


def record(op: str, shapes: list[list[int]], us: float, device: str = "phone", **arguments: int | str) -> str:
    given = {"Y_scale": 0.5, "Y_zero_point": 3, "order": "NHWC", "ws_nbytes_limit": 268435456, **arguments}
    return json.dumps({
        "op_type": op, "op_args": [argument(n, v) for n, v in sorted(given.items())], "input_shapes": shapes,
        "input_dtypes": [7] * len(shapes), "runtime_us_p0": us - 3, "runtime_us_p10": us - 2, "runtime_us_p50": us,
        "runtime_us_p90": us + 2, "runtime_us_p100": us + 9, "device": device,
    })  # fmt: skip


def convolution(width: int, us: float, grow: bool) -> str:
    """The convolutions of `tests.tiny_blocks.conv_relu`: 3 x 3 to `width` channels with relu, and back to 4 without."""
    inputs, outputs = (4, width) if grow else (width, 4)
    shapes = [[1, 8, 8, inputs], [outputs, 3, 3, inputs], [outputs]]
    return record("Int8ConvRelu" if grow else "Int8Conv", shapes, us, kernel=3, stride=1, pad=1)


@pytest.fixture
def lut(tmp_path: Path) -> Path:
    path = tmp_path / "lut.json"
    lines = [convolution(8, 40, True), convolution(8, 60, True), convolution(8, 30, False), convolution(16, 90, True)]
    # The same shapes with other arguments are other operators.
    lines.append(record("Int8Conv", [[1, 8, 8, 16], [4, 3, 3, 16], [4]], 5.0, kernel=3, stride=2, pad=1))
    path.write_text("\n".join(lines) + "\n")
    return path


def tiny(*widths: int) -> Any:
    return manifest(entry("block", Domain.of(widths)))


def test_a_block_is_the_sum_of_its_operators(lut: Path) -> None:
    found = read_fbnet(lut, tiny(8), "caffe2")
    (known,) = found.environments.values()
    assert (known.environment.device.model, known.environment.engine, known.environment.precision) == (
        "phone",
        "caffe2",
        "int8",
    )
    sigma = 4 / 2.5631
    assert found.estimates == {
        ("key-block", known.environment.env_id, "[8]"): Estimate(80.0, pytest.approx(math.hypot(sigma, sigma)))
    }
    assert not found.measurements


def test_what_the_lookup_table_lacks_is_said(lut: Path) -> None:
    with pytest.raises(NascError, match=r"1 of 2 points: block\[16\] needs Int8Conv 1x8x8x16, 4x3x3x16, 4 order=NHWC"):
        read_fbnet(lut, tiny(8, 16), "caffe2")
    lut.write_text(lut.read_text() + record("Int8ConvRelu", [[1, 8, 8, 16], [4, 3, 3, 16], [4]], 5.0, pad=1, group=1))
    assert len(read_fbnet(lut, tiny(8, 16), "caffe2").estimates) == 2, "one with a relu stands in"


def test_devices_of_a_lookup_table_do_not_mix(lut: Path) -> None:
    lut.write_text(lut.read_text() + record("Int8Relu", [[1, 8, 8, 4]], 5.0, device="tablet"))
    with pytest.raises(NascError, match="several devices"):
        read_fbnet(lut, tiny(8), "caffe2")
    assert len(read_fbnet(lut, tiny(8), "caffe2", "phone").estimates) == 1
    with pytest.raises(NascError, match="1 of 1 points"):
        read_fbnet(lut, tiny(8), "caffe2", "tablet")
    with pytest.raises(NascError, match="has no device `phne`"):
        read_fbnet(lut, tiny(8), "caffe2", "phne")
    lut.write_text('{"op_type": 3}')
    with pytest.raises(NascError, match="line 1: op_type"):
        read_fbnet(lut, tiny(8), "caffe2")


def caffe2(graph: Any, us: dict[str, float]) -> list[str]:
    """A record for each operator of an `irb` or the head, written from the shapes of its convolutions."""
    lines = []
    for node in graph.nodes:
        source = graph.tensor(node.inputs[0])
        shape = [1, *source.spatial, source.channels]
        if node.op == "conv2d":
            a, filters = node.attributes, node.output.channels
            follower = graph.nodes[graph.nodes.index(node) + 2 : graph.nodes.index(node) + 3]
            kind = "Int8ConvRelu" if [n.op for n in follower] == ["relu"] else "Int8Conv"
            shapes = [shape, [filters, *a["kernel"], source.channels // a["groups"]], [filters]]
            more = {"group": a["groups"]} if a["groups"] > 1 else {}
            around = {"kernel": a["kernel"][0], "stride": a["stride"][0], "pad": a["padding"][0]}
            lines.append(record(kind, shapes, us["conv"], **around, **more))
        elif node.op == "add":
            lines.append(record("Int8Sum", [shape, shape], us["add"]))
        elif node.op == "shuffle":
            lines.append(
                record("Int8ChannelShuffle", [shape], us["shuffle"], kernel=1, group=node.attributes["groups"])
            )
        elif node.op == "global_pool":
            lines.append(record("Int8AveragePool", [shape], us["pool"], kernel=shape[1], stride=1))
        elif node.op == "linear":
            shapes = [shape, [node.output.channels, source.channels], [node.output.channels]]
            lines.append(record("Int8FC", shapes, us["linear"]))
    return lines


def test_every_block_of_fbnets_space_is_keyed(tmp_path: Path) -> None:
    from nasc.runtime.manifest_file import load_manifest

    root = Path(__file__).resolve().parents[1]
    done = CliRunner().invoke(main, ["compile", str(root / "spaces" / "fbnet.nas"), "-o", str(tmp_path / "built")])
    assert done.exit_code == 0, done.stderr
    blocks = load_manifest(tmp_path / "built")
    us = {"conv": 100.0, "add": 7.0, "shuffle": 4.0, "pool": 5.0, "linear": 11.0}
    lines = dict.fromkeys(line for found in blocks.entries for line in caffe2(found.graph, us))
    (tmp_path / "lut.json").write_text("\n".join(lines))
    more = ["--format", "fbnet", "--manifest", tmp_path / "built", "--engine", "caffe2"]
    done = run("import", tmp_path / "t.db", tmp_path / "lut.json", *more)
    assert done.exit_code == 0, done.stderr
    found = read(tmp_path / "t.db")
    names = {"conv2d": "conv", "add": "add", "shuffle": "shuffle", "global_pool": "pool", "linear": "linear"}
    for block in blocks.entries:
        expected = sum(us[names[node.op]] for node in block.graph.nodes if node.op in names)
        (estimate,) = [row for key, row in found.estimates.items() if key[0] == block.key]
        assert estimate.median == pytest.approx(expected)
    assert len(found.estimates) == len(blocks.entries) == 98
    again = run("import", tmp_path / "t.db", tmp_path / "lut.json", *more)
    assert again.exit_code == 0 and read(tmp_path / "t.db") == found


def test_a_lookup_table_needs_to_be_told_what_it_does_not_say(lut: Path, tmp_path: Path) -> None:
    assert run("import", tmp_path / "t.db", lut).exit_code == 2
    assert "--engine" in run("import", tmp_path / "t.db", lut, "--format", "fbnet", "--manifest", tmp_path).stderr
    assert run("import", tmp_path / "t.db", lut, "--format", "csv", "--engine", "x").exit_code == 2
    assert not (tmp_path / "t.db").exists()


# ------------------------------------------------------------------------------------------------- show, end to end


def test_tables_from_the_command_line(tmp_path: Path) -> None:
    """Exercises: command table."""
    what = contents({8: ok(hour=2), 16: failed(hour=1), 24: ok(quality="noisy", hour=3)}, {32: Estimate(20.0, 0.5)})
    known = Known(ENV, 25.0, '{"bias":0.02}')
    what = Contents({ENV.env_id: known}, what.blocks, what.measurements, what.estimates)
    table = written(tmp_path / "t.db", what)
    (shown,) = json.loads(run("show", table, "--format", "json").stdout)
    assert shown["environment"]["engine"] == "pretend" and shown["reference_us"] == 25.0
    assert (shown["statuses"], shown["qualities"]) == ({"crash": 1, "ok": 2}, {"good": 1, "noisy": 1})
    assert (shown["blocks"], shown["estimates"], shown["calibration"]) == (1, 1, {"bias": 0.02})
    assert (shown["oldest"][11:13], shown["newest"][11:13]) == ("01", "03")
    said = run("show", table).stdout
    assert max(map(len, said.splitlines())) <= 80 and "cannot be read" in said  # nobody's calibration
    assert "1 crash, 2 ok; blocks: 1" in said and "pretend 1 on pretended, fp32, batch 1, 1 thread" in said

    lines = run("export", table).stdout
    (tmp_path / "t.jsonl").write_text(lines)
    assert run("import", tmp_path / "u.db", tmp_path / "t.jsonl").exit_code == 0
    assert run("export", tmp_path / "u.db").stdout == lines
    assert run("export", table, "-o", tmp_path / "t.csv").exit_code == 0
    assert run("import", tmp_path / "v.db", tmp_path / "t.csv").exit_code == 0
    assert run("merge", tmp_path / "w.db", tmp_path / "v.db", tmp_path / "u.db").exit_code == 0
    assert run("export", tmp_path / "w.db").stdout == lines, "a graph that one table lacks comes from the other"
    assert run("diff", table, tmp_path / "w.db", "--tolerance", "0").exit_code == 0
    for wrong in (["show", tmp_path / "none.db"], ["import", table, tmp_path / "none.csv"]):
        refused = run(*wrong)
        assert refused.exit_code == 1 and refused.stderr.startswith("error: ")


def test_points_of_any_spelling_are_one_point(tmp_path: Path) -> None:
    lines = [*LINES[:3], json.dumps(json.loads(LINES[3]) | {"point": ["6/4", "8/1"]})]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    ((_, _, point),) = read_jsonl(tmp_path / "t.jsonl").measurements
    assert point == point_text([Fraction(3, 2), 8])


def test_the_examples_of_every_command_parse() -> None:
    group = main.get_command(click.Context(main), "table")
    assert isinstance(group, click.Group)
    for name, command in group.commands.items():
        lines = re.findall(r"^ *nasc table (.+)$", command.epilog or "", re.MULTILINE)
        assert lines and all(line.split()[0] == name for line in lines)
        for line in lines:
            command.make_context(name, shlex.split(line)[1:])
