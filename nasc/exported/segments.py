"""Where a graph can be cut into layers: the places where one tensor alone passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nasc.compiler.ir import Graph, Node, Tensor

INPUT = "in"
ACTIVATIONS = frozenset(
    {"relu", "relu6", "swish", "gelu", "gelu_tanh", "sigmoid", "hard_sigmoid", "hard_swish", "tanh"}
)
NORMS = frozenset({"bn", "layer_norm"})


@dataclass(frozen=True)
class Segment:
    """Some nodes one after another, as a graph with the one input `in`."""

    graph: Graph

    @property
    def input(self) -> Tensor:
        return self.graph.inputs[INPUT]

    @property
    def output(self) -> Tensor:
        return self.graph.result

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.graph.nodes

    @property
    def is_chain(self) -> bool:
        """Does each node read the one before it alone?"""
        before = (INPUT, *(node.name for node in self.nodes))
        return all(node.inputs == (last,) for node, last in zip(self.nodes, before, strict=False))


def cuts(graph: Graph) -> list[int]:
    """The numbers n for which of the first n nodes one tensor alone is read later (the last one's); 0 first."""
    last_read = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    last_read[graph.output] = len(graph.nodes)
    found, waiting = [0], {INPUT}
    for i, node in enumerate(graph.nodes):
        waiting = {name for name in {*waiting, node.name} if last_read.get(name, -1) > i}
        if waiting == {node.name}:
            found.append(i + 1)
    return found


def segment(graph: Graph, start: int, end: int) -> Segment:
    """The nodes from one cut to another."""
    source = graph.nodes[start - 1].name if start else INPUT
    nodes = tuple(
        node.model_copy(update={"inputs": tuple(INPUT if name == source else name for name in node.inputs)})
        for node in graph.nodes[start:end]
    )
    return Segment(Graph(inputs={INPUT: graph.tensor(source)}, nodes=nodes, output=nodes[-1].name))


def main_path_first(part: Segment) -> list[Node]:
    """The nodes in an order in which the longer operand of a join comes first, however the program had them."""
    depth = {INPUT: 0}
    for node in part.nodes:
        depth[node.name] = 1 + max(depth[name] for name in node.inputs)
    return _ordered(part, lambda missing: max(missing, key=lambda operand: depth[operand]))


def in_reading_order(part: Segment) -> Segment:
    """The nodes in the order in which they are read from the output on, however the program had them."""
    nodes = tuple(_ordered(part, lambda missing: missing[0]))
    return Segment(part.graph.model_copy(update={"nodes": nodes}))


def _ordered(part: Segment, first: Callable[[list[str]], str]) -> list[Node]:
    """Each node after its operands; `first` says with which of those that are missing to go on."""
    by_name = {node.name: node for node in part.nodes}
    order: dict[str, Node] = {}
    waiting = [part.graph.output]
    while waiting:
        name = waiting[-1]
        if name in order or name == INPUT:
            waiting.pop()
            continue
        missing = [operand for operand in by_name[name].inputs if operand not in order and operand != INPUT]
        if not missing:
            order[name] = by_name[waiting.pop()]
        else:
            waiting.append(first(missing))
    return list(order.values())


def spelled(nodes: Sequence[Node], shapes: Mapping[str, Tensor]) -> str:
    """One letter a node: p 1x1 convolution, d depthwise, c any other, n norm, a activation, g, m, + and s; else ?."""
    return "".join(_letter(node, shapes[node.inputs[0]]) for node in nodes)


def _letter(node: Node, before: Tensor) -> str:
    if node.op == "conv2d":
        a = node.attributes
        if a["groups"] == before.channels == node.output.channels != 1:
            return "d"
        return "p" if a["kernel"] == (1, 1) and a["groups"] == 1 and a["stride"] == (1, 1) else "c"
    if node.op in NORMS:
        return "n"
    if node.op in ACTIVATIONS:
        return "a"
    return {"global_pool": "g", "mul": "m", "add": "+", "layer_scale": "s", "linear": "l"}.get(node.op, "?")
