"""The latency table: one SQLite file that survives kills, is read by many, and holds failures beside latencies.

A row is found by block, environment and point. The block is the hash of its graph, the environment the hash of all that
a latency depends on beside it (`nasc.runtime.device.Environment`), the point the values of the block's widths in their
order. A table from a stranger is only parsed: its schema must be exactly ours, without triggers or views, and each
value that is read is checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

from nasc.compiler.expr import Rational, exact
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment
from nasc.runtime.measurement import Measurement
from nasc.runtime.table_file import explained, open_table

Point = tuple[Rational, ...]
"""The values of a block's widths, in the order of its manifest entry."""

_COLUMNS = tuple(Measurement.model_fields)


def point_text(point: Iterable[Rational]) -> str:
    """A point as JSON: `[24,"3/2"]`."""
    return json.dumps([p if isinstance(p, int) else str(p) for p in map(exact, point)], separators=(",", ":"))


def parse_point(text: str) -> Point:
    """What `point_text` wrote. Raises `ValueError` for anything else."""
    values = json.loads(text)
    if not isinstance(values, list) or not all(type(v) in (int, str) for v in values):
        raise ValueError(f"not a point: {text[:100]}")
    return tuple(v if isinstance(v, int) else _fraction(v) for v in values)


def _fraction(text: str) -> Rational:
    numerator, slash, denominator = text.partition("/")
    if not slash or len(text) > 200 or not int(denominator):
        raise ValueError(f"not a fraction: {text[:100]}")
    return exact(Fraction(int(numerator), int(denominator)))


class LatencyTable:
    """A latency table in a file, made where there is none; a context manager, or closed by `close`.

    With `readonly`, the file must exist and is not written. Every change is committed at once and outlives a killed
    process. `wait` is how many seconds to wait for another process that is writing.

    Raises `NascError` for a file that is no latency table, is damaged, or comes from another version of nasc, and from
    every method where the file cannot be read or written (a full disk, a lock, missing permission).
    """

    def __init__(self, path: str | Path, *, readonly: bool = False, wait: float = 10.0) -> None:
        self.path = Path(path)
        self._db = open_table(self.path, readonly=readonly, wait=wait)

    def __enter__(self) -> LatencyTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; the table cannot be used after this."""
        self._db.close()

    # --------------------------------------------------------------------------------------------- writing

    def put(
        self,
        entry_key: str,
        point: Sequence[Rational],
        environment: Environment,
        measurement: Measurement,
        block_json: str = "{}",
    ) -> None:
        """Add a measurement, or replace the one that stands under this key. `block_json` is the block's graph."""
        row = measurement.model_dump()
        names = ("block_hash", "env_id", "point", *_COLUMNS)
        values = (entry_key, environment.env_id, point_text(point), *(row[c] for c in _COLUMNS))
        with explained(self.path), self._db:
            self._db.execute("INSERT OR IGNORE INTO block VALUES (?, ?)", (entry_key, block_json))
            self._put_environment(environment)
            self._db.execute(
                f"INSERT OR REPLACE INTO measurement ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                values,
            )

    def set_reference(self, environment: Environment, canary_us: float) -> None:
        """Record the canary time that latencies of this environment are relative to, unless there is one."""
        with explained(self.path), self._db:
            self._put_environment(environment)
            self._db.execute(
                "UPDATE env SET reference_us = ? WHERE env_id = ? AND reference_us IS NULL",
                (canary_us, environment.env_id),
            )

    def _put_environment(self, environment: Environment) -> None:
        e = environment
        self._db.execute(
            "INSERT OR IGNORE INTO env VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                *(e.env_id, e.device.fingerprint, e.engine, e.engine_version, e.precision, e.batch, e.threads),
                *(e.timing_mode, e.protocol_version, json.dumps(e.model_dump(mode="json"), sort_keys=True)),
            ),
        )

    # --------------------------------------------------------------------------------------------- reading

    def get(self, entry_key: str, point: Sequence[Rational], environment: Environment) -> Measurement | None:
        """The measurement of a block at a point, if there is one."""
        found = self._select(
            "block_hash = ? AND env_id = ? AND point = ?", entry_key, environment.env_id, point_text(point)
        )
        return next((m for _, m in found), None)

    def points(self, entry_key: str, environment: Environment) -> dict[Point, Measurement]:
        """Every point of a block that has a row in this environment, failures too."""
        return dict(self._select("block_hash = ? AND env_id = ?", entry_key, environment.env_id))

    def missing(
        self, entry_key: str, points: Iterable[Point], environment: Environment, *, retry_failed: bool = False
    ) -> Iterator[Point]:
        """Those of `points` that have no row; with `retry_failed` also those whose row has no latency."""
        there = self.points(entry_key, environment)
        return (p for p in points if p not in there or (retry_failed and not there[p].usable))

    def reference(self, environment: Environment) -> float | None:
        """The canary time in microseconds that this environment's latencies are relative to."""
        rows = self._query("SELECT reference_us FROM env WHERE env_id = ?", environment.env_id)
        return next((_positive(value) for (value,) in rows if value is not None), None)

    def environments(self) -> list[Environment]:
        """Every environment that something was measured in."""
        with explained(self.path):
            texts = self._query("SELECT canonical_json FROM env ORDER BY env_id")
            return [Environment.model_validate_json(text) for (text,) in texts]

    def counts(self) -> dict[str, int]:
        """How many rows there are, by status."""
        return dict(self._query("SELECT status, count(*) FROM measurement GROUP BY status ORDER BY status"))

    def __len__(self) -> int:
        return sum(self.counts().values())

    def export(self) -> Iterator[str]:
        """Every row as a line of JSON with its environment, sorted by key: equal tables give equal lines."""
        environments = {e.env_id: e.model_dump(mode="json") for e in self.environments()}
        columns = f"block_hash, env_id, point, {', '.join(_COLUMNS)}"
        rows = self._query(f"SELECT {columns} FROM measurement ORDER BY block_hash, env_id, point")
        for block, env_id, point, *values in rows:
            with explained(self.path):
                measured = {"point": json.loads(point), **_measurement(values).model_dump(exclude_none=True)}
                line = {"block": block, "environment": environments.get(env_id), **measured}
            yield json.dumps(line, sort_keys=True)

    def _select(self, where: str, *values: object) -> list[tuple[Point, Measurement]]:
        rows = self._query(f"SELECT point, {', '.join(_COLUMNS)} FROM measurement WHERE {where}", *values)
        with explained(self.path):
            return [(parse_point(point), _measurement(rest)) for point, *rest in rows]

    def _query(self, sql: str, *values: object) -> list[Any]:
        with explained(self.path), closing(self._db.execute(sql, values)) as cursor:
            return cursor.fetchall()


def _measurement(values: Sequence[Any]) -> Measurement:
    return Measurement.model_validate(dict(zip(_COLUMNS, values, strict=True)))


def _positive(value: float) -> float:
    if not 0 < value < float("inf"):
        raise NascError(f"a canary time of {value} in the latency table", help="profile into a new file")
    return value
