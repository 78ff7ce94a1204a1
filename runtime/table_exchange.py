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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment
from nasc.runtime.measurement import Measurement
from nasc.runtime.table_contents import NO_GRAPH, Contents, Estimate, Key, Known, graph_json
from nasc.runtime.table_lines import (
    SCHEMA,
    BlockLine,
    EnvironmentLine,
    EstimateLine,
    MeasurementLine,
    SchemaLine,
)

MAX_BYTES = 256 << 20
MAX_LINE = 8 << 20
MAX_ROWS = 1_000_000

_LINE: TypeAdapter[EnvironmentLine | BlockLine | MeasurementLine | EstimateLine] = TypeAdapter(
    Annotated[EnvironmentLine | BlockLine | MeasurementLine | EstimateLine, Field(discriminator="kind")]
)
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


def to_jsonl(contents: Contents) -> Iterator[str]:
    """A table as lines of JSON, without their ends."""
    yield _json({"kind": "table", "schema": SCHEMA})
    for env_id, known in sorted(contents.environments.items()):
        line: dict[str, Any] = {"kind": "environment", "id": env_id}
        line["environment"] = known.environment.model_dump(mode="json")
        if known.reference_us is not None:
            line["reference_us"] = known.reference_us
        if known.calibration is not None:
            line["calibration"] = json.loads(known.calibration)
        yield _json(line)
    for block, graph in sorted(contents.blocks.items()):
        yield _json({"kind": "block", "hash": block, "graph": graph_json(graph)})
    for key, row in sorted(contents.measurements.items()):
        yield _json({"kind": "measurement", **_named(key), **row.model_dump(exclude_none=True)})
    for key, estimate in sorted(contents.estimates.items()):
        values = {"median": estimate.median, "standard_error": estimate.error}
        yield _json({"kind": "estimate", **_named(key), **values})


def _named(key: Key) -> dict[str, Any]:
    block, env_id, point = key
    return {"block": block, "environment": env_id, "point": json.loads(point)}


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_jsonl(path: Path) -> Contents:
    """What `to_jsonl` wrote. Raises `NascError` with the line for anything else."""
    lines = lines_of(path, read_bytes(path))
    _check_schema(path, *next(lines, (1, b"")))
    collected = _Collected()
    for number, line in lines:
        with at_line(path, number):
            collected.add(_LINE.validate_json(line))
    return collected.contents()


def _check_schema(path: Path, number: int, line: bytes) -> None:
    try:
        SchemaLine.model_validate_json(line)
    except ValidationError:
        raise NascError(
            f"{path}, line {number}: not the beginning of a table, which is {_json({'kind': 'table', 'schema': SCHEMA})}",
            help="`nasc table export FILE --format jsonl` writes one",
        ) from None


class _Collected:
    """Lines put together, each checked against those before it; raises `ValueError`."""

    def __init__(self) -> None:
        self.environments: dict[str, Known] = {}
        self.blocks: dict[str, str] = {}
        self.measurements: dict[Key, Measurement] = {}
        self.estimates: dict[Key, Estimate] = {}

    def contents(self) -> Contents:
        return Contents(self.environments, self.blocks, self.measurements, self.estimates)

    def add(self, line: EnvironmentLine | BlockLine | MeasurementLine | EstimateLine) -> None:
        if isinstance(line, EnvironmentLine):
            calibration = None if line.calibration is None else _json(line.calibration)
            self.add_environment(line.id, Known(line.environment, line.reference_us, calibration))
        elif isinstance(line, BlockLine):
            _once(self.blocks, line.hash, line.json_text)
        elif isinstance(line, MeasurementLine):
            self._check(line.key)
            _once(self.measurements, line.key, line.row)
        else:
            self._check(line.key)
            _once(self.estimates, line.key, line.row)

    def add_environment(self, env_id: str, known: Known) -> None:
        if known.environment.env_id != env_id:
            raise ValueError(f"the environment's id is {known.environment.env_id}, not {env_id}")
        _once(self.environments, env_id, known)

    def _check(self, key: Key) -> None:
        if key[0] not in self.blocks:
            raise ValueError(f"no line before it has the block {key[0]}")
        if key[1] not in self.environments:
            raise ValueError(f"no line before it has the environment {key[1]}")


def _once(there: dict[Any, Any], key: object, value: object) -> None:
    if key in there:
        raise ValueError("the same key stands on a line before")
    there[key] = value


# ------------------------------------------------------------------------------------------------- CSV

_DEVICE = {"device": "model", "device_kind": "kind", "cores": "cores", "features": "features", "system": "system"}
_SETTINGS = ("engine", "engine_version", "precision", "batch", "threads", "timing_mode", "protocol_version")
_ENVIRONMENT = ("environment", *_DEVICE, *_SETTINGS, "reference_us")
_MEASURED = tuple(name for name in Measurement.model_fields if name != "error")
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
    collected = _Collected()
    with at_line(path, 1):
        if tuple(next(reader, ())) != _COLUMNS:
            raise ValueError(f"the columns are not {','.join(_COLUMNS)}")
    while True:
        with at_line(path, reader.line_num + 1):
            cells = next(reader, None)
        if cells is None:
            return collected.contents()
        with at_line(path, reader.line_num):
            if reader.line_num > MAX_ROWS:
                raise ValueError(f"more than {MAX_ROWS:,} lines")
            if cells:
                _add_row(collected, dict(zip(_COLUMNS, cells, strict=True)))


def _add_row(collected: _Collected, cells: dict[str, str]) -> None:
    env_id, reference = cells["environment"], cells["reference_us"] or None
    if env_id not in collected.environments:
        line = {"kind": "environment", "id": env_id, "environment": _environment(cells), "reference_us": reference}
        collected.add(_LINE.validate_python(line))
    elif _environment_cells(collected.environments[env_id]) != {name: cells[name] for name in _ENVIRONMENT}:
        raise ValueError("the same environment stands on a line before with other values")
    collected.blocks.setdefault(cells["block"], NO_GRAPH)
    named = ("kind", "block", "point", "environment")
    values = {name: cells[name] for name in (*_MEASURED, "standard_error", "error") if cells[name]}
    collected.add(_LINE.validate_python({**{name: cells[name] for name in named}, **values}))


def _environment(cells: dict[str, str]) -> dict[str, Any]:
    device = {name: cells[column] for column, name in _DEVICE.items()}
    return {**{name: cells[name] for name in _SETTINGS}, "device": {**device, "features": json.loads(cells["features"])}}
