"""Latency tables as text: JSON lines, which hold all of a table, and CSV, which holds its rows for other programs.

Both are sorted, so that equal tables give equal files. JSON lines: first the schema, then the environments, the blocks
with their graphs, the measurements and the estimates; rows name environments and blocks by their hashes. CSV: a row for
each measurement or estimate with all of its environment, without the blocks' graphs and the calibration.

What is read comes from strangers: sizes are bounded, each line is checked by itself and against those before, and what
is wrong is said with its line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nasc.dsl.diagnostics import NascError
from nasc.runtime.measurement import Measurement
from nasc.runtime.table_contents import NO_GRAPH, Contents, Key, in_order
from nasc.runtime.table_lines import LINE, SCHEMA, Collected, SchemaLine

MAX_BYTES = 256 << 20
MAX_LINE = 8 << 20
MAX_ROWS = 1_000_000

_BLANK = frozenset(b" \t\r")


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises `NascError` for one that is missing, unreadable or larger than `MAX_BYTES`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise NascError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise NascError(f"{path} is larger than {MAX_BYTES >> 20} MiB", help="export it in parts, with --env")
    return data.removeprefix(b"\xef\xbb\xbf")


@contextmanager
def at_line(path: Path, number: int) -> Iterator[None]:
    """What is wrong with a line of a file, as `NascError` with the place."""
    try:
        yield
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in problem["loc"])[:100]
        raise _wrong(path, number, f"{place}: {problem['msg']}" if place else problem["msg"]) from None
    except (ValueError, TypeError, ArithmeticError, RecursionError, csv.Error) as error:
        raise _wrong(path, number, str(error)) from None


def lines_of(path: Path, data: bytes) -> Iterator[tuple[int, bytes]]:
    """A file's lines that are not blank, with their numbers. Raises `NascError` for too long and for too many lines."""
    count = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        if len(line) > MAX_LINE:
            raise _wrong(path, number, f"longer than {MAX_LINE >> 20} MiB")
        if _BLANK.issuperset(line):
            continue
        count += 1
        if count > MAX_ROWS:
            raise _wrong(path, number, f"more than {MAX_ROWS:,} lines")
        yield number, line


def _wrong(path: Path, number: int, why: str) -> NascError:
    return NascError(f"{path}, line {number}: {why[:500]}", help="nothing was imported; `nasc table export` writes it")


# ------------------------------------------------------------------------------------------------- JSON lines


_FIRST = in_order({"kind": "table", "schema": SCHEMA})


def to_jsonl(contents: Contents) -> Iterator[str]:
    """A table as lines of JSON, without their ends."""
    yield _FIRST
    for env_id, known in sorted(contents.environments.items()):
        line: dict[str, Any] = {"kind": "environment", "id": env_id}
        line["environment"] = known.environment.model_dump(mode="json")
        if known.reference_us is not None:
            line["reference_us"] = known.reference_us
        if known.calibration is not None:
            line["calibration"] = json.loads(known.calibration)
        yield in_order(line)
    for block, graph in sorted(contents.blocks.items()):
        yield in_order({"kind": "block", "hash": block, "graph": None if graph == NO_GRAPH else json.loads(graph)})
    for key, row in sorted(contents.measurements.items()):
        yield in_order({"kind": "measurement", **_named(key), **row.model_dump(exclude_none=True)})
    for key, estimate in sorted(contents.estimates.items()):
        values = {"median": estimate.median, "standard_error": estimate.error}
        yield in_order({"kind": "estimate", **_named(key), **values})


def _named(key: Key) -> dict[str, Any]:
    block, env_id, point = key
    return {"block": block, "environment": env_id, "point": json.loads(point)}


def read_jsonl(path: Path) -> Contents:
    """What `to_jsonl` wrote. Raises `NascError` with the line for anything else."""
    lines = lines_of(path, read_bytes(path))
    _check_schema(path, *next(lines, (1, b"")))
    collected = Collected()
    for number, line in lines:
        with at_line(path, number):
            collected.add(LINE.validate_json(line))
    return collected.contents()


def _check_schema(path: Path, number: int, line: bytes) -> None:
    try:
        SchemaLine.model_validate_json(line)
    except ValidationError:
        raise NascError(
            f"{path}, line {number}: not the first line of an exported table, {_FIRST}",
            help="`nasc table export FILE --format jsonl` writes one",
        ) from None


# ------------------------------------------------------------------------------------------------- CSV

_DEVICE = {"device": "model", "device_kind": "kind", "cores": "cores", "features": "features", "system": "system"}
_SETTINGS = ("engine", "engine_version", "precision", "batch", "threads", "timing_mode", "protocol_version")
_ENVIRONMENT = ("environment", *_DEVICE, *_SETTINGS, "reference_us")
_MEASURED = tuple(name for name in Measurement.model_fields if name != "error")
_NAMED = ("kind", "block", "point", "environment")
_COLUMNS = ("kind", "block", "point", *_MEASURED, "standard_error", "error", *_ENVIRONMENT)


def to_csv(contents: Contents) -> Iterator[str]:
    """A table's rows as lines of CSV (RFC 4180) with their ends; the first names the columns."""
    yield _csv(_COLUMNS)
    for key, row in sorted(contents.measurements.items()):
        yield _csv(_cells(contents, "measurement", key, row.model_dump(exclude_none=True)))
    for key, estimate in sorted(contents.estimates.items()):
        values = {"median": estimate.median, "standard_error": estimate.error}
        yield _csv(_cells(contents, "estimate", key, values))


def _cells(contents: Contents, kind: str, key: Key, values: dict[str, Any]) -> list[Any]:
    block, env_id, point = key
    known = contents.environments[env_id]
    device = known.environment.device.model_dump(mode="json")
    cells = {"kind": kind, "block": block, "point": point, "environment": env_id, "reference_us": known.reference_us}
    cells |= {column: device[name] for column, name in _DEVICE.items()}
    cells |= {name: getattr(known.environment, name) for name in _SETTINGS} | values
    return [json.dumps(v) if isinstance(v, list) else v for v in (cells.get(column) for column in _COLUMNS)]


def _csv(cells: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def read_csv(path: Path) -> Contents:
    """What `to_csv` wrote. Raises `NascError` with the line for anything else."""
    with at_line(path, 1):
        text = read_bytes(path).decode("utf-8")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    with at_line(path, 1):
        if tuple(next(reader, ())) != _COLUMNS:
            raise ValueError(f"the columns are not {','.join(_COLUMNS)}")
    rows = _Rows()
    while True:
        with at_line(path, reader.line_num + 1):
            cells = next(reader, None)
        if cells is None:
            return rows.collected.contents()
        with at_line(path, reader.line_num):
            if reader.line_num > MAX_ROWS:
                raise ValueError(f"more than {MAX_ROWS:,} lines")
            if cells:
                rows.add(cells)


class _Rows:
    """CSV rows put together; raises `ValueError`."""

    def __init__(self) -> None:
        self.collected = Collected()
        self.environments: dict[str, tuple[str, ...]] = {}

    def add(self, cells: Sequence[str]) -> None:
        if len(cells) != len(_COLUMNS):
            raise ValueError(f"{len(cells)} cells, where {len(_COLUMNS)} are due")
        row = dict(zip(_COLUMNS, cells, strict=True))
        self._environment(row)
        self.collected.blocks.setdefault(row["block"], NO_GRAPH)
        values = {name: row[name] for name in (*_MEASURED, "standard_error", "error") if row[name]}
        self.collected.add(LINE.validate_python({**{name: row[name] for name in _NAMED}, **values}))

    def _environment(self, row: dict[str, str]) -> None:
        cells = tuple(row[name] for name in _ENVIRONMENT)
        if self.environments.setdefault(row["environment"], cells) != cells:
            raise ValueError("the same environment stands on a line before with other values")
        if row["environment"] not in self.collected.environments:
            device = {name: row[column] for column, name in _DEVICE.items()}
            device["features"] = json.loads(device["features"])
            environment = {**{name: row[name] for name in _SETTINGS}, "device": device}
            line = {"kind": "environment", "id": row["environment"], "environment": environment}
            self.collected.add(LINE.validate_python({**line, "reference_us": row["reference_us"] or None}))
