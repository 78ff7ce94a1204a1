"""Following an exported program: which node of nasc's graph each of its values is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nasc.compiler.ir import Graph, Node, Tensor
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.base import ShapeError, Use
from nasc.compiler.weights import Array
from nasc.dsl.diagnostics import NascError
from nasc.exported.segments import INPUT
from nasc.runtime.read_exported import Exported, Ref, Statement

RESHAPING = frozenset({"flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten"})


@dataclass(frozen=True)
class Traced:
    """The graph, and for each node the arrays of its state by their names there (`weight`, `running_mean`, …)."""

    graph: Graph
    state: Mapping[str, Mapping[str, Array]]


@dataclass(frozen=True)
class Value:
    """A node's output; `last`: in the program its channels are the last dimension, N x H x W x C."""

    node: str
    last: bool = False


class Refused(Exception):
    """Why an operator has no counterpart."""


def _not_imported(statement: Statement, reason: str) -> NascError:
    place = f" (in `{printable(statement.module)}`)" if statement.module else ""
    return NascError(
        f"`{printable(statement.operator)}`{place} cannot be imported: {reason}",
        help="leave this part out of the module that you export, or write it as a block by hand",
    )


def printable(text: str) -> str:
    """The text of a stranger's file in one line of plain characters."""
    return "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in text[:200])


Rule = Callable[["Tracer", Statement], list[Value]]
"""Makes the nodes of a statement and returns its outputs. Raises `Refused` and `ShapeError`."""


@dataclass
class Tracer:
    """Follows a program statement by statement, each by the rule of its operator."""

    program: Exported
    image: Tensor
    rules: Mapping[str, Rule]
    values: dict[str, Value] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Mapping[str, Array]] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    """The stored tensors, and what the program only reshapes of them."""

    def traced(self) -> Traced:
        self.values = {self.program.input: Value(INPUT)}
        self.shapes = {INPUT: self.image}
        self.constants = dict(self.program.held)
        for statement in self.program.statements:
            self._statement(statement)
        found = self.values.get(self.program.output)
        if found is None or found.last or not self.nodes:
            raise NascError("the program's output is not computed from its input by operators that are understood")
        graph = Graph(inputs={INPUT: self.image}, nodes=tuple(self.nodes), output=found.node)
        return Traced(_live(graph), self.state)

    def _statement(self, statement: Statement) -> None:
        private = statement.operator.startswith("_")
        rule = statement.operator if private else statement.operator.rstrip("_")
        try:
            if not _reads(statement, self.values):
                self._fold(statement)
                return
            if rule not in self.rules:
                raise Refused("nas has no such operator")
            results = self.rules[rule](self, statement)
        except (Refused, ShapeError) as reason:
            raise _not_imported(statement, str(reason)) from None
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError):
            raise _not_imported(statement, "its arguments are not understood") from None
        self.values.update(zip(statement.outputs, results, strict=False))
        if rule != statement.operator:
            self._overwritten(statement, results[0])

    def _fold(self, statement: Statement) -> None:
        """Keep a stored tensor that is reshaped. What else does not depend on the image is refused where it is read."""
        operand = next(iter(statement.arguments.values()), None)
        if not isinstance(operand, Ref) or operand.name not in self.constants or len(statement.outputs) != 1:
            return
        array = self.constants[operand.name]
        if statement.operator in RESHAPING:
            self.constants[statement.outputs[0]] = array.reshape([size or 1 for size in statement.shape])
        elif statement.operator in ("t", "permute"):
            order = statement.arguments.get("dims", range(array.ndim)[::-1])
            self.constants[statement.outputs[0]] = array.transpose(order)

    def _overwritten(self, statement: Statement, result: Value) -> None:
        """After an operator in place, every name of its operand means the result."""
        old = self.value(statement, next(iter(statement.arguments)))
        for name, value in self.values.items():
            if value.node == old.node:
                self.values[name] = Value(result.node, value.last)

    # ----------------------------------------------------------------------------------------- for the rules

    def value(self, statement: Statement, name: str) -> Value:
        found = statement.arguments.get(name)
        if not isinstance(found, Ref) or found.name not in self.values:
            raise Refused(f"its {name} is not computed from the image")
        return self.values[found.name]

    def plain(self, statement: Statement, name: str) -> str:
        """The node of an operand whose channels come first."""
        found = self.value(statement, name)
        if found.last:
            raise Refused("the channels of its operand are the last dimension")
        return found.node

    def held(self, statement: Statement, name: str) -> Array | None:
        found = statement.arguments.get(name)
        if found is None:
            return None
        if not isinstance(found, Ref) or found.name not in self.constants:
            raise Refused(f"its {name} is not a stored tensor")
        return np.asarray(self.constants[found.name], dtype=np.float32)

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        state: Mapping[str, Array] | None = None,
        width: int | None = None,
        **given: Any,
    ) -> str:
        """Append a primitive and return its name. Raises `ShapeError`."""
        attributes, output = self._inferred(op, inputs, width, given)
        name = f"n{len(self.nodes)}"
        self.nodes.append(Node(name=name, op=op, inputs=tuple(inputs), attributes=attributes, output=output))
        self.shapes[name] = output
        if state:
            self.state[name] = state
        return name

    def _inferred(
        self, op: str, inputs: Sequence[str], width: int | None, given: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Tensor]:
        primitive = PRIMITIVES[op]
        tensors = tuple(self.shapes[name] for name in inputs)
        return primitive.infer(Use(tensors, {**primitive.parameters, **given}, width, int))  # type: ignore[arg-type]

    def is_sigmoid_of(self, name: str, operand: str) -> bool:
        """Is this node the sigmoid of that one?"""
        if name == INPUT:
            return False
        node = self.nodes[_index(name)]
        return node.op == "sigmoid" and node.inputs == (operand,)

    def give_places(self, name: str) -> None:
        """Let a vector be an image of 1 x 1, as gates are: linear layers before it become convolutions."""
        if self.shapes[name].spatial:
            return
        node = self.nodes[_index(name)]
        for operand in node.inputs:
            self.give_places(operand)
        op, given = node.op, dict(node.attributes)
        if op == "linear":
            op, given = "conv2d", {"kernel": (1, 1), "bias": given["bias"]}
            self.state[name] = {**self.state[name], "weight": self.state[name]["weight"][:, :, None, None]}
        attributes, output = self._inferred(op, node.inputs, int(str(node.output.channels)), given)
        self.nodes[_index(name)] = node.model_copy(update={"op": op, "attributes": attributes, "output": output})
        self.shapes[name] = output


def _index(name: str) -> int:
    """The place of a node: `Tracer.node` names them by it."""
    return int(name.removeprefix("n"))


def _reads(statement: Statement, values: Mapping[str, Value]) -> bool:
    found = [each for value in statement.arguments.values() for each in (value if isinstance(value, list) else [value])]
    return any(isinstance(each, Ref) and each.name in values for each in found)


def _live(graph: Graph) -> Graph:
    """Without the nodes that nothing reads."""
    needed = {graph.output}
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return graph.model_copy(update={"nodes": tuple(node for node in graph.nodes if node.name in needed)})
