"""What a line of an exported table may say, as pydantic models: lines come from strangers and are parsed, not believed."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from nasc.compiler.ir import Graph
from nasc.compiler.manifest import entry_key
from nasc.runtime.device import Environment
from nasc.runtime.measurement import Measurement
from nasc.runtime.table import parse_point, point_text
from nasc.runtime.table_contents import NO_GRAPH, Estimate, Key

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
        return self.graph.model_dump_json()


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
