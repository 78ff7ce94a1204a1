"""The latency table: one SQLite file that survives kills, is read by many, and holds failures beside latencies.

A row is found by block, environment and point. The block is the hash of its graph, the environment the hash of all that
a latency depends on beside it (`nasc.runtime.device.Environment`), the point the values of the block's widths in their
order. A table from a stranger is only parsed: its schema must be exactly ours, without triggers or views, and each
value that is read is checked.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from nasc.compiler.expr import Rational, exact
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment
from nasc.runtime.measurement import Estimate, Measurement
from nasc.runtime.owners import is_gone
from nasc.runtime.table_file import explained, open_table

Point = tuple[Rational, ...]
"""The values of a block's widths, in the order of its manifest entry."""

Claim = Literal["granted", "held", "done"]
"""Whether a claim was granted, is held by another run, or was not needed, as there is a row by now."""

_COLUMNS = tuple(Measurement.model_fields)
_KEY = "block_hash = ? AND env_id = ? AND point = ?"


@dataclass(frozen=True)
class Wanted:
    """A point that a run is to measure, and the timestamp of the row that it is to replace, if there is one."""

    entry_key: str
    point: Point
    replaces: str | None = None


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


def is_wanted(row: Measurement | None, *, retry_failed: bool = False, stale_before: datetime | None = None) -> bool:
    """Is a point to be measured, whose row this is?

    Where it has none; with `retry_failed` where the row has no latency; and where it is older than `stale_before`.
    Raises `ValueError` for a timestamp that is none.
    """
    if row is None or (retry_failed and not row.usable):
        return True
    return stale_before is not None and row.measured_at < stale_before


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
        """Add a measurement, or replace the one that stands under this key. `block_json` is the block's graph.

        Who claimed the point holds it no longer, and an estimate of it goes.
        """
        row = measurement.model_dump()
        key = (entry_key, environment.env_id, point_text(point))
        with explained(self.path), self._db:
            self._put_block(entry_key, block_json, environment)
            self._insert("measurement", ("block_hash", "env_id", "point", *_COLUMNS), (*key, *row.values()))
            self._db.execute(f"DELETE FROM claim WHERE {_KEY}", key)
            self._db.execute(f"DELETE FROM estimate WHERE {_KEY}", key)

    def put_estimate(
        self,
        entry_key: str,
        point: Sequence[Rational],
        environment: Environment,
        estimate: Estimate,
        block_json: str = "{}",
    ) -> None:
        """Add an estimate, or replace the one that stands under this key. Beside a latency measured it says nothing."""
        values = (entry_key, environment.env_id, point_text(point), estimate.median, estimate.error)
        with explained(self.path), self._db:
            self._put_block(entry_key, block_json, environment)
            self._insert("estimate", ("block_hash", "env_id", "point", "median", "error"), values)

    def drop_estimates(self, keys: Iterable[tuple[str, Sequence[Rational]]], environment: Environment) -> None:
        """Forget what was estimated of these blocks' points in this environment."""
        with explained(self.path), self._db:
            self._db.executemany(
                f"DELETE FROM estimate WHERE {_KEY}",
                [(entry_key, environment.env_id, point_text(point)) for entry_key, point in keys],
            )

    def set_calibration(self, environment: Environment, calibration: Mapping[str, Any]) -> None:
        """Record how sums of this environment's latencies relate to whole networks, as JSON.

        Raises `ValueError` for a number that JSON does not have.
        """
        text = json.dumps(calibration, sort_keys=True, allow_nan=False)
        with explained(self.path), self._db:
            self._put_environment(environment)
            self._insert("calibration", ("env_id", "canonical_json"), (environment.env_id, text))

    def set_reference(self, environment: Environment, canary_us: float) -> None:
        """Record the canary time that latencies of this environment are relative to, unless there is one."""
        with explained(self.path), self._db:
            self._put_environment(environment)
            self._db.execute(
                "UPDATE env SET reference_us = ? WHERE env_id = ? AND reference_us IS NULL",
                (canary_us, environment.env_id),
            )

    def _put_block(self, entry_key: str, block_json: str, environment: Environment) -> None:
        self._db.execute("INSERT OR IGNORE INTO block VALUES (?, ?)", (entry_key, block_json))
        self._put_environment(environment)

    def _insert(self, name: str, columns: Sequence[str], values: Sequence[object]) -> None:
        marks = ", ".join("?" * len(columns))
        self._db.execute(f"INSERT OR REPLACE INTO {name} ({', '.join(columns)}) VALUES ({marks})", values)

    def _put_environment(self, environment: Environment) -> None:
        e = environment
        self._db.execute(
            "INSERT OR IGNORE INTO env VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                *(e.env_id, e.device.fingerprint, e.engine, e.engine_version, e.precision, e.batch, e.threads),
                *(e.timing_mode, e.protocol_version, json.dumps(e.model_dump(mode="json"), sort_keys=True)),
            ),
        )

    # --------------------------------------------------------------------------------------------- claiming

    def claim(self, wanted: Sequence[Wanted], environment: Environment, owner: str, seconds: float) -> list[Claim]:
        """Reserve points for one run, `owner` (see `nasc.runtime.owners`), and say which of them it got.

        A claim ends with the row (`put`), with `release`, after `seconds`, and with the process that made it.
        """
        now = time.time()
        with explained(self.path), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._drop_dead_claims(now)
            return [self._claim(each, environment.env_id, owner, now + seconds) for each in wanted]

    def _claim(self, wanted: Wanted, env_id: str, owner: str, until: float) -> Claim:
        key = (wanted.entry_key, env_id, point_text(wanted.point))
        row = self._db.execute(f"SELECT timestamp FROM measurement WHERE {_KEY}", key).fetchone()
        if row is not None and row[0] != wanted.replaces:
            return "done"
        claimed = self._db.execute("INSERT OR IGNORE INTO claim VALUES (?, ?, ?, ?, ?)", (*key, owner, until))
        return "granted" if claimed.rowcount else "held"

    def _drop_dead_claims(self, now: float) -> None:
        self._db.execute("DELETE FROM claim WHERE until < ?", (now,))
        owners = [owner for (owner,) in self._db.execute("SELECT DISTINCT owner FROM claim")]
        self._db.executemany("DELETE FROM claim WHERE owner = ?", [(o,) for o in owners if is_gone(o)])

    def renew(self, owner: str, seconds: float) -> None:
        """Let all claims of a run last for `seconds` from now."""
        with explained(self.path), self._db:
            self._db.execute("UPDATE claim SET until = ? WHERE owner = ?", (time.time() + seconds, owner))

    def release(self, owner: str) -> None:
        """Give all claims of a run back."""
        with explained(self.path), self._db:
            self._db.execute("DELETE FROM claim WHERE owner = ?", (owner,))

    def claims(self) -> dict[str, int]:
        """How many points each run holds."""
        return dict(self._query("SELECT owner, count(*) FROM claim GROUP BY owner ORDER BY owner"))

    # --------------------------------------------------------------------------------------------- reading

    def get(self, entry_key: str, point: Sequence[Rational], environment: Environment) -> Measurement | None:
        """The measurement of a block at a point, if there is one."""
        found = self._select(_KEY, entry_key, environment.env_id, point_text(point))
        return next((m for _, m in found), None)

    def points(self, entry_key: str, environment: Environment) -> dict[Point, Measurement]:
        """Every point of a block that has a row in this environment, failures too."""
        return dict(self._select("block_hash = ? AND env_id = ?", entry_key, environment.env_id))

    def missing(
        self,
        entry_key: str,
        points: Iterable[Point],
        environment: Environment,
        *,
        retry_failed: bool = False,
        stale_before: datetime | None = None,
    ) -> Iterator[Point]:
        """Those of `points` that are to be measured: `is_wanted` says which."""
        wanted = self.wanted(entry_key, points, environment, retry_failed=retry_failed, stale_before=stale_before)
        return (each.point for each in wanted)

    def wanted(
        self,
        entry_key: str,
        points: Iterable[Point],
        environment: Environment,
        *,
        retry_failed: bool = False,
        stale_before: datetime | None = None,
    ) -> Iterator[Wanted]:
        """The points that `missing` gives, as `claim` takes them."""
        there = self.points(entry_key, environment)
        for point in points:
            row = there.get(point)
            with explained(self.path):
                due = is_wanted(row, retry_failed=retry_failed, stale_before=stale_before)
            if due:
                yield Wanted(entry_key, point, row.timestamp if row else None)

    def estimates(self, entry_key: str, environment: Environment) -> dict[Point, Estimate]:
        """Every point of a block whose latency was estimated in this environment."""
        sql = "SELECT point, median, error FROM estimate WHERE block_hash = ? AND env_id = ?"
        rows = self._query(sql, entry_key, environment.env_id)
        with explained(self.path):
            return {parse_point(point): Estimate(_time(median), _time(error)) for point, median, error in rows}

    def calibration(self, environment: Environment) -> dict[str, Any] | None:
        """What `set_calibration` recorded, if anything."""
        rows = self._query("SELECT canonical_json FROM calibration WHERE env_id = ?", environment.env_id)
        with explained(self.path):
            found = [json.loads(text) for (text,) in rows]
            if not all(isinstance(value, dict) for value in found):
                raise ValueError("a calibration that is no object")
        return found[0] if found else None

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


def _time(value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"a time of {value}")
    return value


def _positive(value: float) -> float:
    if not 0 < value < float("inf"):
        raise NascError(f"a canary time of {value} in the latency table", help="profile into a new file")
    return value
