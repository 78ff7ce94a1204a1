"""The public latency lookup table of FBNet and ChamNet (mobile-vision's `runtime_lut`): Caffe2 operators on a phone.

Its file has a JSON object a line: `op_type`; `op_args`, each the text of a protocol buffer (`name: "stride" i: 2`, on
two lines); `input_shapes`, those of data, weights and bias, images as batch, height, width, channels; `input_dtypes`;
the time's percentiles `runtime_us_p0` to `runtime_us_p100`; and `device`. It lists operators, not blocks: a block's
latency is the sum of its operators', as the table's own reader adds them up for a network. That was not measured, so it
is imported as an estimate. Its error is the spread of a single run, (p90 - p10) / 2.563 of each operator, added in
squares: more than the standard error of the medians, which the file does not tell.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from nasc.compiler.ir import Graph, Node, Tensor
from nasc.compiler.manifest import Entry, Manifest
from nasc.compiler.specialise import AbsentOutput, specialise
from nasc.dsl.diagnostics import NascError, did_you_mean
from nasc.runtime.device import Device, Environment
from nasc.runtime.measurement import Estimate, Measurement
from nasc.runtime.profile import count_points, points_of
from nasc.runtime.table import Point, point_text
from nasc.runtime.table_contents import Contents, Key, Known, in_order
from nasc.runtime.table_exchange import at_line, lines_of, read_bytes

DECILES_IN_SIGMA = 2.5631
"""Distance of a normal distribution's 10th and 90th percentile in standard deviations."""
SHOWN = 3

_IGNORED = {"Y_scale", "Y_zero_point", "ws_nbytes_limit"}
_DEFAULTS = {"stride": 1, "pad": 0, "group": 1, "dilation": 1}
_ARGUMENT = re.compile(r'\s*name:\s*"(\w{1,40})"\s+(?:i:\s*(-?\d{1,12})|s:\s*"(\w{0,40})"|f:\s*\S{1,40})\s*')
_Arguments = frozenset[tuple[str, int | str]]


@dataclass(frozen=True)
class Operator:
    """A Caffe2 operator as the lookup table tells it from others: type, shapes, and arguments other than defaults."""

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    arguments: _Arguments

    def __str__(self) -> str:
        shapes = ", ".join("x".join(map(str, shape)) for shape in self.shapes)
        arguments = "".join(f" {name}={value}" for name, value in sorted(self.arguments, key=str))
        return f"{self.kind} {shapes}{arguments}"


class _Record(BaseModel):
    """A line of the file."""

    model_config = ConfigDict(frozen=True)

    op_type: str = Field(max_length=100)
    op_args: list[str] = Field(max_length=100)
    input_shapes: list[list[int]] = Field(max_length=100)
    runtime_us_p10: float = Field(ge=0, allow_inf_nan=False)
    runtime_us_p50: float = Field(ge=0, allow_inf_nan=False)
    runtime_us_p90: float = Field(ge=0, allow_inf_nan=False)
    device: str = Field(max_length=200)

    @property
    def operator(self) -> Operator | None:
        """None where an argument is of a form that no block of ours needs."""
        found = [_ARGUMENT.fullmatch(text) for text in self.op_args]
        if None in found:
            return None
        values = {m[1]: m[3] or "" if m[2] is None else int(m[2]) for m in found if m is not None}
        return _operator(self.op_type, tuple(map(tuple, self.input_shapes)), values)

    @property
    def sigma(self) -> float:
        return max(0.0, self.runtime_us_p90 - self.runtime_us_p10) / DECILES_IN_SIGMA


def _operator(kind: str, shapes: tuple[tuple[int, ...], ...], arguments: Mapping[str, int | str]) -> Operator:
    """An operator in its one spelling: what shapes tell and defaults are left out of the arguments."""
    implied = {"kernel"} if kind.startswith("Int8Conv") or kind == "Int8ChannelShuffle" else set()
    kept = {n: v for n, v in arguments.items() if n not in _IGNORED | implied and _DEFAULTS.get(n) != v}
    if kind == "Int8FC":
        shapes = tuple(shape if len(shape) < 3 else (shape[0], math.prod(shape[1:])) for shape in shapes)
    return Operator(kind, shapes, frozenset(kept.items()))


def read_fbnet(path: Path, manifest: Manifest, engine: str, device: str | None = None) -> Contents:
    """The latencies of all of a manifest's blocks, from a lookup table's operators on one of its devices.

    The environment is `engine`, of unknown version, on the device, in int8 with batch 1. `device` may be left out where
    the table has one. Raises `NascError` for a malformed line, for a device the table does not have, and for blocks
    with operators that it does not list.
    """
    times = _times(path, device)
    environment = _environment(times.device, engine)
    blocks: dict[str, str] = {}
    estimates: dict[Key, Estimate] = {}
    empty: dict[Key, Measurement] = {}
    missing: list[str] = []
    count_points(manifest)
    for entry in manifest.entries:
        blocks[entry.key] = in_order(entry.graph.model_dump(mode="json"))
        for point in points_of(entry):
            key = entry.key, environment.env_id, point_text(point)
            try:
                operators = operators_of(_at(entry, point))
                estimates[key] = times.total(operators)
            except AbsentOutput:
                empty[key] = Measurement.empty()
            except _Unlisted as error:
                missing.append(f"{entry.block}{key[2]} needs {error}")
            except (LookupError, ValueError, TypeError, ArithmeticError) as error:  # a manifest may hold any graph
                missing.append(f"{entry.block}{key[2]} makes no sense ({type(error).__name__}: {error})")
    if missing:
        raise _unmapped(path, missing, len(missing) + len(estimates) + len(empty))
    return Contents({environment.env_id: Known(environment)}, blocks, empty, estimates)


def _at(entry: Entry, point: Point) -> Graph:
    graph = specialise(entry.graph, {w.address: v for w, v in zip(entry.widths, point, strict=True)})
    if not graph.nodes:
        raise AbsentOutput("the block is its input")
    return graph


def _unmapped(path: Path, missing: list[str], points: int) -> NascError:
    listed = "; ".join(missing[:SHOWN]) + ("; …" if len(missing) > SHOWN else "")
    return NascError(
        f"{path} does not give the latency of {len(missing)} of {points} points: {listed}",
        help="nothing was imported; the table lists int8 convolutions, sums, pools and linear layers of certain sizes",
    )


def _environment(device: str, engine: str) -> Environment:
    return Environment(
        device=Device(kind="imported", model=device, cores=0, features=(), system="unknown"),
        engine=engine,
        engine_version="unknown",
        precision="int8",
        batch=1,
        threads=1,
        timing_mode="sum of operators",
        protocol_version=0,
    )


# ------------------------------------------------------------------------------------------------- the file


class _Unlisted(Exception):
    """What a lookup table does not list."""


class _Times:
    """The operators of one device with their times; several records of one operator are averaged."""

    def __init__(self, device: str, records: Mapping[Operator, list[_Record]]) -> None:
        self.device, self.records = device, records

    def total(self, operators: list[Operator]) -> Estimate:
        """The sum of operators' latencies. Raises `_Unlisted`."""
        found = [self._of(operator) for operator in operators]
        spread = [statistics.fmean(r.sigma for r in records) for records in found]
        medians = [statistics.fmean(r.runtime_us_p50 for r in records) for records in found]
        return Estimate(math.fsum(medians), math.hypot(*spread))

    def _of(self, operator: Operator) -> list[_Record]:
        """Where a convolution alone is not listed, the one with a relu, as the table's own reader does."""
        fallback = replace(operator, kind="Int8ConvRelu") if operator.kind == "Int8Conv" else operator
        found = self.records.get(operator) or self.records.get(fallback)
        if not found:
            raise _Unlisted(operator)
        return found


def _times(path: Path, device: str | None) -> _Times:
    by_device: dict[str, dict[Operator, list[_Record]]] = defaultdict(lambda: defaultdict(list))
    for number, line in lines_of(path, read_bytes(path)):
        with at_line(path, number):
            record = _Record.model_validate_json(line)
        operators = by_device[record.device]
        if (operator := record.operator) is not None:
            operators[operator].append(record)
    if device is None and len(by_device) == 1:
        device = next(iter(by_device))
    if device not in by_device:
        listed = ", ".join(sorted(by_device)[:10]) or "none"
        what = f"has no device `{device}`" if device else "has several devices" if by_device else "is empty"
        near = did_you_mean(device, by_device) if device else None
        raise NascError(f"{path} {what}", help=near or f"name one with --device; its devices: {listed}")
    return _Times(device, by_device[device])


# ------------------------------------------------------------------------------------------------- blocks


def operators_of(graph: Graph) -> list[Operator]:
    """A concrete graph's operators as Caffe2 runs them: normalisation and relu merged into the convolution before.

    Raises `_Unlisted` for an operator that has no counterpart.
    """
    return _Lowering(graph).operators()


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.uses = Counter([graph.output, *(name for node in graph.nodes for name in node.inputs)])
        self.placed: dict[str, Operator] = {}
        self.heads: dict[str, str] = {}
        """The node whose operator another was merged into."""

    def operators(self) -> list[Operator]:
        for node in self.graph.nodes:
            if not self._merged(node):
                self.placed[node.name] = self._operator(node)
        return list(self.placed.values())

    def _merged(self, node: Node) -> bool:
        source = self.heads.get(node.inputs[0], node.inputs[0])
        before = self.placed.get(source)
        if before is None or self.uses[node.inputs[0]] != 1:
            return False
        if node.op == "relu" and before.kind in ("Int8Conv", "Int8Sum"):
            self.placed[source] = replace(before, kind=f"{before.kind}Relu")
        elif not (node.op == "bn" and before.kind in ("Int8Conv", "Int8FC")) and node.op != "dropout":
            return False
        self.heads[node.name] = source
        return True

    def _operator(self, node: Node) -> Operator:
        shapes = tuple(_shape(self.graph.tensor(name)) for name in node.inputs)
        attributes = node.attributes
        if node.op == "conv2d":
            return self._convolution(node, shapes[0])
        if node.op == "linear":
            inputs, outputs = math.prod(shapes[0]), _shape(node.output)[-1]
            return _operator("Int8FC", ((1, inputs), (outputs, inputs), (outputs,)), _NHWC)
        if node.op == "add" and len(set(shapes)) == 1:
            return _operator("Int8Sum", shapes, _NHWC)
        if node.op == "shuffle":
            return _operator("Int8ChannelShuffle", shapes, {**_NHWC, "group": attributes["groups"]})
        if node.op == "global_pool" and len(shapes[0]) == 4 and shapes[0][1] == shapes[0][2]:
            return _operator("Int8AveragePool", shapes, {**_NHWC, "kernel": shapes[0][1]})
        raise _Unlisted(f"`{node.op}`, which it has none of")

    def _convolution(self, node: Node, shape: tuple[int, ...]) -> Operator:
        a = node.attributes
        if any(one != other for one, other in (a["stride"], a["padding"])):
            raise _Unlisted("a convolution that is not square, which it has none of")
        filters, groups = _shape(node.output)[-1], int(a["groups"])
        weight = (filters, *map(int, a["kernel"]), shape[-1] // groups)
        arguments = {"stride": a["stride"][0], "pad": a["padding"][0], "group": groups, "dilation": a["dilation"]}
        return _operator("Int8Conv", (shape, weight, (filters,)), {**_NHWC, **arguments})


_NHWC: Mapping[str, int | str] = {"order": "NHWC"}


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """Batch 1, places, channels. Raises `_Unlisted` for a size that is no whole number."""
    if not isinstance(tensor.channels, int):
        raise _Unlisted(f"{tensor.channels} channels")
    return (1, *tensor.spatial, tensor.channels)
