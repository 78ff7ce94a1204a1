"""How fast a device can be: its arithmetic, its memory and its launches, for the analytic engine."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasc.compiler.ir import Graph, Node, Tensor
from nasc.compiler.manifest import Target, canonical_hash
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import this_cpu
from nasc.runtime.engines.base import TimingOptions
from nasc.runtime.plan_times import ceilings_path

SCHEMA: Literal["nasc.roofline/1"] = "nasc.roofline/1"
MEASURED = "`nasc engines --measure-ceilings` measures this machine's"


class Roofline(BaseModel):
    """What a device can do at most, by whoever wrote it down: a data sheet or a measurement (`source` says which).

    `gigamacs`: 10^9 multiply-accumulates a second by precision; `gigabytes`: 10^9 bytes a second between memory and
    arithmetic; `launch_us`: microseconds that each kernel takes beside its work.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_: Literal["nasc.roofline/1"] = Field(default=SCHEMA, alias="schema")
    device: str = Field(min_length=1, max_length=200)
    source: str = Field(min_length=1, max_length=500)
    gigamacs: dict[Literal["fp32", "fp16", "bf16", "int8"], float] = Field(min_length=1)
    gigabytes: float = Field(gt=0)
    launch_us: float = Field(ge=0)

    @property
    def digest(self) -> str:
        """What tells these numbers from others (8 hex digits)."""
        return canonical_hash(self.model_dump(mode="json", by_alias=True))[:8]


def roofline_path() -> Path:
    """Where what was measured of this machine is kept: in the user's cache folder."""
    return ceilings_path("cpu").with_name("roofline-cpu.json")


def load_roofline(path: Path) -> Roofline:
    """The ceilings in a JSON file. Raises `NascError` where there are none, and for a file of something else."""
    try:
        found = Roofline.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NascError(f"there is no file {path}", help=MEASURED) from None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise NascError(f"{path} does not hold a device's ceilings: {reason}", help=MEASURED) from None
    if any(peak <= 0 for peak in found.gigamacs.values()):
        raise NascError(f"{path} does not hold a device's ceilings: a number of `gigamacs` is not above 0")
    return found


def store_roofline(found: Roofline, path: Path) -> None:
    """Write ceilings to a file, whole or not at all. Raises `NascError` where it cannot be written."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(found.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise NascError(f"{path} cannot be written: {error.strerror}") from error


# ------------------------------------------------------------------------------------------------- measuring

CHAIN = 16
"""Kernels in a row that tell what one more costs."""


def measure_roofline(options: TimingOptions | None = None) -> Roofline:
    """The ceilings of one core of this machine's CPU, by three ONNX Runtime blocks; a few seconds.

    Arithmetic: a 3 x 3 convolution of 128 channels on 28 x 28. Memory: a sum of two tensors of 0.8 MB, as large as a
    block's, which stay in the caches as those do. Launches: what 16 sigmoids of 8 numbers take more than one.
    Raises `NascError` where one of them cannot be measured.
    """
    from nasc.compiler.lower_onnx import block_onnx
    from nasc.runtime.engines.onnxruntime_cpu import OnnxRuntimeCpu

    engine = OnnxRuntimeCpu(options or TimingOptions())
    graphs = (_convolution(128, 28), _sum(64, 56), _sigmoids(1), _sigmoids(1 + CHAIN))
    models = [block_onnx(graph).SerializeToString() for graph in graphs]
    rows = engine.measure(models, engine.environment(Target()), None).measurements
    for row in rows:
        if row.median is None:
            raise NascError(f"this machine's ceilings cannot be measured: {row.error}")
    convolution, total, one, many = (row.median or 0.0 for row in rows)
    call = rows[0].identity or 0.0
    return Roofline(
        device=this_cpu().model,
        source=f"measured: one core, ONNX Runtime {engine.environment(Target()).engine_version}",
        gigamacs={"fp32": 9 * 128 * 128 * 28 * 28 / max(convolution - call, 1e-3) / 1e3},
        gigabytes=4 * 3 * 64 * 56 * 56 / max(total - call, 1e-3) / 1e3,
        launch_us=max(0.0, (many - one) / CHAIN),
    )


def _convolution(channels: int, side: int) -> Graph:
    image = Tensor(channels=channels, height=side, width=side)
    attributes = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "groups": 1, "dilation": 1, "bias": False}
    node = Node(name="conv", op="conv2d", inputs=("in",), attributes=attributes, output=image)
    return Graph(inputs={"in": image}, nodes=(node,), output="conv")


def _sum(channels: int, side: int) -> Graph:
    image = Tensor(channels=channels, height=side, width=side)
    node = Node(name="sum", op="add", inputs=("in", "other"), output=image)
    return Graph(inputs={"in": image, "other": image}, nodes=(node,), output="sum")


def _sigmoids(count: int) -> Graph:
    shape = Tensor(channels=8, height=1, width=1)
    names = ["in", *(f"s{i}" for i in range(count))]
    nodes = (Node(name=b, op="sigmoid", inputs=(a,), output=shape) for a, b in pairwise(names))
    return Graph(inputs={"in": shape}, nodes=tuple(nodes), output=names[-1])
