"""Decisions replaced by numbers: a graph with symbolic widths becomes the graph of one point.

What has no channels is absent and is taken out, by one rule: `add`, `mul`, `concat` and `add_prefix` leave absent
operands out (with one operand left they are that operand), every other operator of absent inputs is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from nasc.compiler.expr import Expr, Size, add, function, multiply, substitute
from nasc.compiler.graph_tools import live_nodes
from nasc.compiler.ir import Graph, Node, Tensor
from nasc.compiler.primitives import PRIMITIVES

JOINS = frozenset({"add", "mul", "concat", "add_prefix"})
"""Operators that leave absent operands out."""

PRESENCE = "presence"
"""The attribute of a node that says whether what it is applied to is there: a decision of 0 or 1."""


class AbsentOutput(ValueError):
    """Nothing is left of a graph: its output has no channels."""


def specialise(graph: Graph, values: Mapping[str, Size]) -> Graph:
    """The graph with decisions replaced by `values`, without what became absent and without what nothing reads.

    A value may be a size in other decisions.
    Decisions not named in `values` stay symbolic. An input that is present stays in the signature even if nothing reads
    it any more. A graph that comes out as one of its inputs has no nodes and that input as its output.

    Raises `AbsentOutput` where nothing is left, `ValueError` for a graph with a nested choice that is still open or one
    that reads a tensor it does not define, and `ZeroDivisionError` where a size divides by a width that is 0.
    """
    return _Specialiser(graph, values).graph()


class _Specialiser:
    def __init__(self, graph: Graph, values: Mapping[str, Size]) -> None:
        self.source = graph
        self.values = dict(values)
        inputs = {name: self._resized(tensor) for name, tensor in graph.inputs.items()}
        self.inputs = {name: tensor for name, tensor in inputs.items() if _present(tensor)}
        self.nodes: list[Node] = []
        self.shapes = dict(self.inputs)
        self.standing: dict[str, str | None] = {name: name if name in self.inputs else None for name in graph.inputs}
        """The tensor that each of the source's tensors has become; None where it is absent."""

    def graph(self) -> Graph:
        for node in self.source.nodes:
            self.standing[node.name] = self._place(node)
        output = self._read(self.source.output)
        if output is None:
            raise AbsentOutput(f"`{self.source.output}` has no channels")
        return Graph(inputs=self.inputs, nodes=tuple(live_nodes(self.nodes, output)), output=output)

    def _read(self, name: str) -> str | None:
        if name not in self.standing:
            raise ValueError(f"the graph reads `{name}`, which it does not define before")
        return self.standing[name]

    def _place(self, node: Node) -> str | None:
        """Add the node as it is at this point, unless it is absent or is one of its operands."""
        if node.branches:
            raise ValueError(f"the choice `{node.name}` is still open")
        inputs = [name for name in map(self._read, node.inputs) if name is not None]
        if PRESENCE in node.attributes and self._attribute(node.attributes[PRESENCE]) == 0:
            return None
        if node.op in JOINS:
            if len(inputs) < 2:
                return inputs[0] if inputs else None
        elif len(inputs) < len(node.inputs):
            return None
        output = self._output(node, inputs)
        if not _present(output):
            return None
        attributes = {name: self._attribute(value) for name, value in node.attributes.items()}
        self.nodes.append(
            Node.model_construct(
                name=node.name, op=node.op, inputs=tuple(inputs), attributes=attributes, output=output, branches=()
            )
        )
        self.shapes[node.name] = output
        return node.name

    def _output(self, node: Node, inputs: list[str]) -> Tensor:
        """Its output as declared, except that channels follow from operands that may have lost some."""
        output = self._resized(node.output)
        channels = [self.shapes[name].channels for name in inputs]
        if node.op == "concat":
            return output.with_channels(reduce(add, channels))
        if node.op == "add_prefix":
            return output.with_channels(function("max", *channels))
        if node.op == "slice":
            start, stop = (substitute(node.attributes[end], self.values) for end in ("start", "stop"))
            return output.with_channels(add(stop, multiply(-1, start)))
        operator = PRIMITIVES.get(node.op)
        if operator is not None and not operator.arrow and channels:
            return output.with_channels(channels[0])
        return output

    def _resized(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor.channels, Expr):
            return tensor
        return tensor.with_channels(substitute(tensor.channels, self.values))

    def _attribute(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(self._attribute(item) for item in value)
        return substitute(value, self.values) if isinstance(value, Expr) else value


def without_idle_slices(graph: Graph) -> Graph:
    """The graph without slices of all the channels there are: a network with one member is elaborated without them."""
    standing = {name: name for name in graph.inputs}
    nodes = []
    for node in graph.nodes:
        inputs = tuple(standing[name] for name in node.inputs)
        idle = node.op == "slice" and node.output == graph.tensor(node.inputs[0])
        standing[node.name] = inputs[0] if idle else node.name
        if not idle:
            nodes.append(node.model_copy(update={"inputs": inputs}))
    return Graph(inputs=graph.inputs, nodes=tuple(nodes), output=standing[graph.output])


def _present(tensor: Tensor) -> bool:
    """Is there anything in it? (A sequence of token numbers has no channels and is present.)"""
    channels: Size = tensor.channels
    return tensor.ids or isinstance(channels, Expr) or channels > 0
