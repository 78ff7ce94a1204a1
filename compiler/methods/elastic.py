"""How a block follows its searched width: which channels are cut at each width, and by what formula.

The block at a width is the block of the largest width with every stored tensor sliced to the shape that the smaller
block has: its first filters, and of each the first channels. So the widths share all weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from nasc.compiler.expr import Expr, Rational, Size, divide, evaluate, multiply, substitute, variable, variables
from nasc.compiler.ir import Graph, Node
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.forms import channels_of
from nasc.compiler.specialise import AbsentOutput, specialise

WIDTH = variable("width")
"""The searched width in the formulas."""

Key = tuple[str, str]
"""A node and the name of one of its attributes."""

_FOLLOWING = {"conv2d": ("groups",), "slice": ("start", "stop"), "attend": ("heads",)}
_MIXING = frozenset({"conv2d", "linear", "layer_norm", "concat", "shuffle", "attend"})
_JOINS = frozenset({"concat", "add_prefix"})


class NotElastic(Exception):
    """Widths of a block that cannot share its weights; `why` and `help` are for a message."""

    def __init__(self, why: str, help: str = "write it as a set `{a, b}`") -> None:
        super().__init__(why)
        self.why = why
        self.help = help


@dataclass(frozen=True)
class Elastic:
    """A block of several widths.

    `graph` is the block at the largest, with every operator that it has at any of them (a slice of nothing has 0
    channels). `channels` has the tensors that are cut and `attributes` what else changes, as formulas of `WIDTH`.
    """

    graph: Graph
    channels: Mapping[str, Size]
    attributes: Mapping[Key, Size]

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for blocks of one structure whose channels follow the width by the same formulas."""
        attributes = [str(self.attributes.get((n.name, k), "")) for n in self.graph.nodes for k in n.attributes]
        return (*(str(self.channels.get(name, "")) for name in self.graph.shapes), *attributes)

    @cached_property
    def hidden(self) -> Size:
        """How many channels a width stands for: the width, or so many heads' (`64 * width`)."""
        formulas = set(self.channels.values())
        (first,) = formulas if len(formulas) == 1 else {WIDTH}
        return first if _unit(first) is not None else WIDTH

    @property
    def unit(self) -> int:
        """The channels of a width of 1: of one head, or 1."""
        return _unit(self.hidden) or 1

    @cached_property
    def nested(self) -> bool:
        """Are the cut channels of a smaller width the first ones of a larger, all of them: may masks stand for cuts?"""
        followed = all(formula == self.hidden for formula in self.channels.values())
        return followed and not any(map(self.obstacle, self.graph.nodes))

    def obstacle(self, node: Node) -> str | None:
        """Why what a node gives at a smaller width is not the first channels of the same at a larger; else None."""
        if not any(name in self.channels for name in (node.name, *node.inputs)):
            return None
        formula = self.channels.get(node.name, self.hidden)
        if formula != self.hidden:
            return f"`{node.name}` has {formula} channels"
        if node.op == "slice":
            first = node.attributes["start"] == 0 and self.attributes.get((node.name, "stop")) == self.hidden
            return None if first else f"`{node.name}` takes channels whose place follows the width"
        if node.op == "conv2d":
            whole = bool(node.attributes["groups"] == 1) or self.is_depthwise(node)
            return None if whole else f"`{node.name}` convolves in groups, which are others at each width"
        if node.op == "shuffle":
            return f"`{node.name}` shuffles the hidden channels"
        return f"`{node.name}` joins hidden channels to others" if node.op in _JOINS else None

    def is_depthwise(self, node: Node) -> bool:
        """Does a convolution have one filter for each channel that comes in, whatever the width?"""
        groups = self.attributes.get((node.name, "groups"))
        return groups is not None and groups == self.channels.get(node.inputs[0]) == self.channels.get(node.name)


def elastic_of(symbolic: Graph, address: str, widths: Sequence[int]) -> Elastic:
    """How a graph whose one open decision is `address` follows it over `widths` (ascending).

    Raises `NotElastic` where the widths cannot share the weights of the largest.
    """
    formulas = _Formulas(address, widths)
    channels = {name: formulas.of(tensor.channels) for name, tensor in symbolic.shapes.items()}
    cut = {name: size for name, size in channels.items() if isinstance(size, Expr)}
    attributes = _attributes(symbolic, formulas, address)
    if symbolic.output in cut:
        raise NotElastic(f"`{address}` is the width of its output", "search a hidden width")
    if not cut:
        raise NotElastic(f"`{address}` is not a width")
    _check_operators(symbolic, cut, address)
    found = Elastic(specialise(symbolic, {address: widths[-1]}), cut, attributes)
    if found.nested:
        return found
    return Elastic(_Structure(symbolic, address, widths).graph(), cut, attributes)


@dataclass(frozen=True)
class _Formulas:
    """Sizes as formulas of `WIDTH`, simplified by what they are at the widths that there are."""

    address: str
    widths: Sequence[int]

    def of(self, size: Size) -> Size:
        if not isinstance(size, Expr):
            return size
        if size == variable(self.address):
            return WIDTH
        values = [evaluate(size, {self.address: width}) for width in self.widths]
        each = Fraction(values[-1]) / self.widths[-1]
        if each >= 1 and each.denominator == 1 and values == [each * width for width in self.widths]:
            return multiply(int(each), WIDTH)
        return values[0] if len(set(values)) == 1 else substitute(size, {self.address: WIDTH})


def _unit(formula: Size) -> int | None:
    """The u of a formula that is u times the width; None for any other."""
    once = divide(formula, WIDTH)
    return once if isinstance(once, int) else None


def _attributes(symbolic: Graph, formulas: _Formulas, address: str) -> dict[Key, Size]:
    found: dict[Key, Size] = {}
    for node in symbolic.nodes:
        for key, value in node.attributes.items():
            sizes = [formulas.of(part) for part in _parts(value)]
            if any(isinstance(size, Expr) for size in sizes):
                if key not in _FOLLOWING.get(node.op, ()):
                    raise NotElastic(f"`{address}` sets the {key} of `{node.op}`")
                found[node.name, key] = sizes[0]
    return found


def _parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _check_operators(symbolic: Graph, cut: Mapping[str, Size], address: str) -> None:
    for node in symbolic.nodes:
        mixes = not PRIMITIVES[node.op].channelwise and node.op not in _MIXING
        if mixes and any(name in cut for name in (node.name, *node.inputs)):
            raise NotElastic(f"`{address}` is the width of channels that `{node.op}` mixes")
        if node.op == "attend" and node.name in cut and variables(divide(cut[node.name], _heads(node, address))):
            raise NotElastic(f"`{address}` is the width of each head", "search the number of heads, or write a set")


def _heads(node: Node, address: str) -> Size:
    return substitute(node.attributes["heads"], {address: WIDTH})


class _Structure:
    """The graph at the largest width, with what there is at any width, once every width is known to fit into it."""

    def __init__(self, symbolic: Graph, address: str, widths: Sequence[int]) -> None:
        self.symbolic = symbolic
        self.address = address
        self.largest = {address: widths[-1]}
        self.graphs = {width: self._at(width) for width in widths}

    def graph(self) -> Graph:
        graphs = list(self.graphs.values())
        alike = all(_wiring(each) == _wiring(graphs[-1]) for each in graphs)
        found = graphs[-1] if alike else self._joined()
        for node in found.nodes:
            for width, each in self.graphs.items():
                if node.name in each.shapes:
                    self._check_fit(node, found, each, width)
        return found

    def _at(self, width: int) -> Graph:
        try:
            graph = specialise(self.symbolic, {self.address: width})
        except AbsentOutput:
            raise self._refused(width, "nothing of the block is left") from None
        for name, tensor in graph.shapes.items():
            if not isinstance(tensor.channels, int):
                raise self._refused(width, f"`{name}` has {tensor.channels} channels")
            if tensor.channels != evaluate(self.symbolic.shapes[name].channels, {self.address: width}):
                raise self._refused(width, f"`{name}` lacks a part")
        return graph

    def _refused(self, width: int, why: str) -> NotElastic:
        return NotElastic(f"with `{self.address}` {width}, {why}")

    def _joined(self) -> Graph:
        """What is there at any width: a slice that is empty at some of them may be joined to others."""
        graphs = self.graphs.values()
        there = {name for each in graphs for name in each.shapes}
        nodes = [node for node in self.symbolic.nodes if node.name in there]
        empty = {node.name for node in nodes if self._is_empty_somewhere(node)}
        for node in nodes:
            if (node.name in empty and node.op != "slice") or (node.op not in _JOINS and empty & set(node.inputs)):
                raise NotElastic(f"`{node.name}` is gone at some values of `{self.address}`")
        if any(each.output != self.symbolic.output for each in graphs):
            raise NotElastic(f"the block ends elsewhere at some values of `{self.address}`")
        return Graph(
            inputs=next(iter(graphs)).inputs,
            nodes=tuple(self._largest(node, there) for node in nodes),
            output=self.symbolic.output,
        )

    def _is_empty_somewhere(self, node: Node) -> bool:
        return any(evaluate(node.output.channels, {self.address: width}) <= 0 for width in self.graphs)

    def _largest(self, node: Node, there: set[str]) -> Node:
        def known(value: Any) -> Any:
            return tuple(map(known, value)) if isinstance(value, tuple) else substitute(value, self.largest)

        return Node.model_construct(
            name=node.name,
            op=node.op,
            inputs=tuple(name for name in node.inputs if name in there),
            attributes={key: known(value) for key, value in node.attributes.items()},
            output=node.output.with_channels(max(0, evaluate(node.output.channels, self.largest))),
            branches=(),
        )

    def _check_fit(self, node: Node, found: Graph, each: Graph, width: int) -> None:
        """A node's stored tensors at a width are parts of the largest's, and its groups come out even."""
        small = next(n for n in each.nodes if n.name == node.name)
        inputs = [each.tensor(name) for name in small.inputs]
        groups: Rational = small.attributes.get("groups", 1)
        for channels in (channels_of(inputs[0]), channels_of(small.output)):
            if groups < 1 or not isinstance(groups, int) or channels % groups:
                raise self._refused(width, f"{channels} channels do not divide into {groups} groups")
        primitive = PRIMITIVES[node.op]
        stored = primitive.state(node, [found.tensor(name) for name in node.inputs])
        for part, whole in zip(primitive.state(small, inputs), stored, strict=True):
            if any(a > b for a, b in zip(part.shape, whole.shape, strict=True)):
                raise self._refused(width, f"`{node.name}` has more weights than with {self.largest[self.address]}")


def _wiring(graph: Graph) -> object:
    return tuple((node.name, node.inputs) for node in graph.nodes), graph.output
