"""What a line of an exported table may say: lines come from strangers and are parsed and checked, never believed."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from nasc.compiler.ir import Graph
from nasc.compiler.manifest import entry_key
from nasc.runtime.device import Environment
from nasc.runtime.measurement import Estimate, Measurement
from nasc.runtime.table import parse_point, point_text
from nasc.runtime.table_contents import NO_GRAPH, Contents, Key, Known, in_order

SCHEMA = "nasc.table/1"
MAX_COUNT = 2**31
"""Larger whole numbers stand in no table: SQLite's have 64 bits, Python's have no end."""
MAX_POINT = 10_000
"""Characters of a point."""

Name = Annotated[str, Field(max_length=200)]
Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Counted = TypeVar("Counted", bound=BaseModel)


def _point(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) > MAX_POINT:
        raise ValueError("a point of so many characters")
    return point_text(parse_point(text))


def _bounded(value: Counted) -> Counted:
    if any(isinstance(number, int) and abs(number) > MAX_COUNT for _, number in value):
        raise ValueError("a number in it is too large")
    return value


def _environment(value: Environment) -> Environment:
    _bounded(value.device)
    return _bounded(value)


Point = Annotated[str, BeforeValidator(_point)]
"""A point in its one spelling; given as a JSON list, or as the text of one."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SchemaLine(_Line):
    """The first line."""

    kind: Literal["table"]
    schema_: Literal["nasc.table/1"] = Field(alias="schema")


class EnvironmentLine(_Line):
    """An environment; rows name it by `id`, which is its hash."""

    kind: Literal["environment"]
    id: Name
    environment: Annotated[Environment, AfterValidator(_environment)]
    reference_us: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    calibration: dict[str, Any] | None = None


class BlockLine(_Line):
    """A block; rows name it by its graph's hash. The graph is null where the table does not hold it."""

    kind: Literal["block"]
    hash: Name
    graph: Graph | None

    @property
    def json_text(self) -> str:
        """The graph as a table holds it. Raises `ValueError` where the hash is another graph's."""
        if self.graph is None:
            return NO_GRAPH
        if entry_key(self.graph) != self.hash:
            raise ValueError("the hash is not that of the graph")
        return in_order(self.graph.model_dump(mode="json"))


class MeasurementLine(Measurement):
    """A row that was measured, or that says why nothing could be."""

    kind: Literal["measurement"]
    block: Name
    environment: Name
    point: Point

    @property
    def key(self) -> Key:
        return self.block, self.environment, self.point

    @property
    def row(self) -> Measurement:
        """Raises `ValueError` for a number too large for a table and for a timestamp that is none."""
        datetime.fromisoformat(self.timestamp)
        return _bounded(Measurement(**{name: getattr(self, name) for name in Measurement.model_fields}))


class EstimateLine(_Line):
    """A latency that was computed, not measured."""

    kind: Literal["estimate"]
    block: Name
    environment: Name
    point: Point
    median: Time
    standard_error: Time

    @property
    def key(self) -> Key:
        return self.block, self.environment, self.point

    @property
    def row(self) -> Estimate:
        return Estimate(self.median, self.standard_error)


Line = EnvironmentLine | BlockLine | MeasurementLine | EstimateLine
LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


class Collected:
    """Lines put together, each checked against those before it; raises `ValueError`."""

    def __init__(self) -> None:
        self.environments: dict[str, Known] = {}
        self.blocks: dict[str, str] = {}
        self.measurements: dict[Key, Measurement] = {}
        self.estimates: dict[Key, Estimate] = {}

    def contents(self) -> Contents:
        return Contents(self.environments, self.blocks, self.measurements, self.estimates)

    def add(self, line: Line) -> None:
        if isinstance(line, EnvironmentLine):
            calibration = None if line.calibration is None else in_order(line.calibration)
            self._add_environment(line.id, Known(line.environment, line.reference_us, calibration))
        elif isinstance(line, BlockLine):
            _once(self.blocks, line.hash, line.json_text)
        elif isinstance(line, MeasurementLine):
            self._check(line.key)
            _once(self.measurements, line.key, line.row)
        else:
            self._check(line.key)
            _once(self.estimates, line.key, line.row)

    def _add_environment(self, env_id: str, known: Known) -> None:
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
