"""The model of a block at a point, as an engine takes it, and what a block needs of memory."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from pydantic_core import PydanticSerializationError

from nasc.compiler.expr import Size
from nasc.compiler.ir import Graph
from nasc.compiler.manifest import Target
from nasc.compiler.primitives import PRIMITIVES
from nasc.dsl.diagnostics import NascError
from nasc.runtime.engines.base import Form, NotBuilt
from nasc.runtime.measurement import Status

Build = Callable[..., Any]
"""Makes an ONNX model of a graph: `nasc.compiler.lower_onnx.block_onnx`."""


def model_of(graph: Graph, target: Target, form: Form, build: Build | None = None) -> bytes:
    """A graph whose sizes are all known, in an engine's form and a target's batch and precision.

    `build` is `nasc.compiler.lower_onnx.block_onnx` by default; raises what it raises.
    """
    if form == "graph":
        return graph_json(graph).encode()
    model = (build or _default_build())(graph, batch=target.batch, precision=target.precision)
    serialised: bytes = model.SerializeToString()
    return serialised


def graph_json(graph: Graph) -> str:
    """A graph as JSON. An interruption (Control-C), of which pydantic makes an error of its own, is one again."""
    try:
        return graph.model_dump_json()
    except PydanticSerializationError as error:
        if "KeyboardInterrupt" in str(error):
            raise KeyboardInterrupt from error
        raise


def _default_build() -> Build:
    from nasc.compiler.lower_onnx import block_onnx

    return block_onnx


def why_not(error: Exception) -> tuple[Status, str]:
    """The status and the reason of the row that stands for a model that could not be made or measured.

    A manifest may hold any graph, and a graph that makes no sense may fail anywhere in the lowering.
    """
    if isinstance(error, NotBuilt):
        return error.status, str(error)
    if isinstance(error, NascError):
        return "unsupported", error.message
    status: Status = "out_of_memory" if isinstance(error, MemoryError) else "build_failed"
    return status, f"{type(error).__name__}: {error}"


def memory_estimate(graph: Graph, batch: int) -> float:
    """Bytes that a block takes while it is measured: weights in the model, in the session and packed, and activations.

    Raises `ValueError` for a size that is still open or no whole number.
    """
    weights = 0
    elements = sum(_whole(t.channels) * t.positions for t in graph.inputs.values())
    for node in graph.nodes:
        elements += _whole(node.output.channels) * node.output.positions
        if node.op in PRIMITIVES:
            inputs = [graph.tensor(name) for name in node.inputs]
            weights += _whole(PRIMITIVES[node.op].weights(node, inputs))
            elements += _whole(PRIMITIVES[node.op].workspace(node, inputs))
    return 4.0 * (3 * weights + batch * elements)


def _whole(size: Size) -> int:
    if isinstance(size, int):
        return size
    if isinstance(size, Fraction):
        raise ValueError(f"{size} is not a whole number of channels")
    raise ValueError(f"the size `{size}` depends on a decision that has no value")
