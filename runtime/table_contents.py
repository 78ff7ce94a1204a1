"""A whole latency table in memory: what export writes, import and merge put together, and show and diff read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nasc.runtime.device import Environment
from nasc.runtime.measurement import Estimate, Measurement
from nasc.runtime.table import LatencyTable, parse_point, point_text
from nasc.runtime.table_file import explained

Key = tuple[str, str, str]
"""A row's block (its graph's hash), environment (its hash) and point (as `point_text` writes it)."""

NO_GRAPH = "{}"
"""Stands in the table for a block whose graph is not known."""

_COLUMNS = tuple(Measurement.model_fields)
_KEY = "block_hash, env_id, point"


@dataclass(frozen=True)
class Known:
    """An environment, the canary time (microseconds) that its latencies are relative to, and its calibration (JSON)."""

    environment: Environment
    reference_us: float | None = None
    calibration: str | None = None


@dataclass(frozen=True)
class Contents:
    """Everything in a table but who is at work on it. `blocks` maps a graph's hash to its JSON (`in_order`)."""

    environments: Mapping[str, Known] = field(default_factory=dict)
    blocks: Mapping[str, str] = field(default_factory=dict)
    measurements: Mapping[Key, Measurement] = field(default_factory=dict)
    estimates: Mapping[Key, Estimate] = field(default_factory=dict)

    def of(self, env_id: str) -> Contents:
        """The part that belongs to one environment, with the blocks it names."""
        measurements = {key: row for key, row in self.measurements.items() if key[1] == env_id}
        estimates = {key: row for key, row in self.estimates.items() if key[1] == env_id}
        named = {key[0] for key in (*measurements, *estimates)}
        return Contents(
            environments={env_id: self.environments[env_id]},
            blocks={key: graph for key, graph in self.blocks.items() if key in named},
            measurements=measurements,
            estimates=estimates,
        )


def read_contents(table: LatencyTable) -> Contents:
    """All of a table as it is at this moment, by key in order.

    Raises `NascError` for a value that no table of ours holds.
    """
    with explained(table.path), table._db as db:
        db.execute("BEGIN")
        return _Reader(table).contents()


def update(table: LatencyTable, change: Callable[[Contents], Contents]) -> None:
    """Write what `change` adds to a table's contents or alters in them: all of it, or nothing where anything fails.

    What it leaves out stays. Others who write to the table wait meanwhile. Raises `NascError` where it cannot be read
    or written.
    """
    with explained(table.path), table._db as db:
        db.execute("BEGIN IMMEDIATE")
        before = _Reader(table).contents()
        _Writer(table, before, change(before)).write()


class _Reader:
    def __init__(self, table: LatencyTable) -> None:
        self.table = table

    def contents(self) -> Contents:
        return Contents(
            environments=dict(self._environments()),
            blocks={
                block: in_order(json.loads(text))
                for block, text in self._rows("SELECT hash, canonical_json FROM block ORDER BY hash")
            },
            measurements={
                _key(row): Measurement.model_validate(dict(zip(_COLUMNS, row[3:], strict=True)))
                for row in self._rows(f"SELECT {_KEY}, {', '.join(_COLUMNS)} FROM measurement ORDER BY {_KEY}")
            },
            estimates={
                _key(row): Estimate(_time(row[3]), _time(row[4]))
                for row in self._rows(f"SELECT {_KEY}, median, error FROM estimate ORDER BY {_KEY}")
            },
        )

    def _environments(self) -> Iterable[tuple[str, Known]]:
        calibrations = dict(self._rows("SELECT env_id, canonical_json FROM calibration"))
        for env_id, text, reference in self._rows("SELECT env_id, canonical_json, reference_us FROM env ORDER BY 1"):
            environment = Environment.model_validate_json(text)
            if environment.env_id != env_id:
                raise ValueError(f"environment {env_id[:40]} is not what its hash says")
            yield env_id, Known(environment, None if reference is None else _time(reference), calibrations.get(env_id))

    def _rows(self, sql: str) -> list[Any]:
        return self.table._db.execute(sql).fetchall()


def _key(row: Any) -> Key:
    return row[0], row[1], point_text(parse_point(row[2]))


def _time(value: float) -> float:
    if not 0 <= value < float("inf"):
        raise ValueError(f"a time of {value}")
    return value


class _Writer:
    """Writes the difference between what a table holds and what it shall hold."""

    def __init__(self, table: LatencyTable, before: Contents, after: Contents) -> None:
        self.table, self.before, self.after = table, before, after

    def write(self) -> None:
        for env_id, known in self.after.environments.items():
            if self.before.environments.get(env_id) != known:
                self._environment(env_id, known)
        self._put("block", ("hash", "canonical_json"), self._changed("blocks"), lambda h, graph: (h, graph))
        self._put("measurement", (*_KEY.split(", "), *_COLUMNS), self._changed("measurements"), _measurement_row)
        self._put("estimate", (*_KEY.split(", "), "median", "error"), self._changed("estimates"), _estimate_row)

    def _environment(self, env_id: str, known: Known) -> None:
        self.table._put_environment(known.environment)
        self.table._db.execute("UPDATE env SET reference_us = ? WHERE env_id = ?", (known.reference_us, env_id))
        if known.calibration is not None:
            self.table._db.execute("INSERT OR REPLACE INTO calibration VALUES (?, ?)", (env_id, known.calibration))

    def _changed(self, part: str) -> dict[Any, Any]:
        before: Mapping[Any, Any] = getattr(self.before, part)
        after: Mapping[Any, Any] = getattr(self.after, part)
        return {key: value for key, value in after.items() if before.get(key) != value}

    def _put(
        self,
        name: str,
        columns: tuple[str, ...],
        rows: Mapping[Any, Any],
        values: Callable[[Any, Any], tuple[Any, ...]],
    ) -> None:
        marks = ", ".join("?" * len(columns))
        verb = f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({marks})"
        settable = [c for c in columns if c not in _KEY.split(", ") and c != "hash"]
        clash = "hash" if name == "block" else _KEY
        sql = f"{verb} ON CONFLICT ({clash}) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in settable)}"
        self.table._db.executemany(sql, [values(key, value) for key, value in rows.items()])


def _measurement_row(key: Key, row: Measurement) -> tuple[Any, ...]:
    return (*key, *(getattr(row, column) for column in _COLUMNS))


def _estimate_row(key: Key, row: Estimate) -> tuple[Any, ...]:
    return (*key, row.median, row.error)


def in_order(value: object) -> str:
    """A value as JSON with sorted keys, so that equal values give equal texts. Raises `ValueError` for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
