"""The operators of an `any of` side by side in the graph of their layer, each with what says whether it is there."""

from __future__ import annotations

from collections.abc import Sequence

from nasc.compiler.concrete import INPUT
from nasc.compiler.expr import Expr, variable
from nasc.compiler.full_layer import Branch, Open
from nasc.compiler.fullest_ways import is_less
from nasc.compiler.ir import Graph, Node, Tensor, Variant
from nasc.compiler.methods.refused import Refused
from nasc.compiler.primitives.joining import PARALLEL
from nasc.compiler.specialise import PRESENCE, AbsentOutput, specialise
from nasc.compiler.world import dotted


def is_absent(graph: Graph, name: str) -> bool:
    """Is nothing left of a graph when this width is 0, and the others are not?"""
    names = {n for shape in graph.shapes.values() if isinstance(shape.channels, Expr) for n in shape.channels.names}
    try:
        specialise(graph, {**dict.fromkeys(names, 1), name: 0})
    except AbsentOutput:
        return True
    except ZeroDivisionError:
        return False
    return False


def replace_graph(graph: Graph, nodes: Sequence[Node], output: str) -> Graph:
    """The graph with other nodes and another output."""
    return Graph(inputs=graph.inputs, nodes=tuple(nodes), output=output)


def presence_node(name: str, source: str, shape: Tensor, presence: str) -> Node:
    return Node(name=name, op="/mask", inputs=(source,), attributes={PRESENCE: variable(presence)}, output=shape)


def full_operator(variants: Sequence[Variant], place: str) -> Variant:
    """The one alternative of an operator in an `any of`."""
    kept = [v for v in variants if v.graph.nodes or len(variants) == 1]
    if any(node.branches for v in kept for node in v.graph.nodes):
        raise Refused(place, "an operator of its choice has a choice inside", "write all operators in one `any of`")
    kept = [v for v in kept if not any(is_less(v, other) for other in kept)]
    if len(kept) != 1:
        raise Refused(place, "an operator of its choice has alternatives", "write each as an operator of its own")
    return kept[0]


class SideBySide:
    """A variant's graph with the operators of each `any of` side by side."""

    def __init__(self, variant: Variant, prefix: str) -> None:
        self.variant, self.prefix = variant, prefix
        self.addresses = [d.address for d in variant.decisions]
        self.branches: list[Branch] = []
        self.opens: list[Open] = []
        self.nodes: list[Node] = []
        self.names: dict[str, str] = {}

    def graph(self) -> Graph:
        source = self.variant.graph
        self.names = {name: name for name in source.inputs}
        for node in source.nodes:
            if not node.branches:
                inputs = tuple(self.names[name] for name in node.inputs)
                self.nodes.append(node.model_copy(update={"inputs": inputs}))
                self.names[node.name] = node.name
            elif node.op == "any_of":
                self.names[node.name] = self._any_of(node)
            else:
                raise Refused(self.prefix, "it has a `one of` inside", "choose at the stage, or write `any of`")
        return replace_graph(source, self.nodes, self.names[source.output])

    def _any_of(self, node: Node) -> str:
        address, numbers = str(node.attributes["address"]), node.attributes["numbers"]
        outputs = []
        for branch, number in zip(node.branches, numbers, strict=True):
            inner = full_operator(branch.variants, self.prefix)
            self.addresses += [d.address for d in inner.decisions]
            outputs.append(self._branch(node, inner, f"{node.name}#{number}", dotted(address, f"{number}?")))
            names = tuple(d.address for d in inner.decisions)
            self.branches.append(Branch(dotted(address, f"{number}?"), outputs[-1], names))
        join = "add" if str(node.attributes["join"]) == "add" else "concat"
        if len(outputs) == 1:
            return outputs[0]
        attributes = {PARALLEL: True} if join == "add" else {}
        self.nodes.append(
            Node(name=node.name, op=join, inputs=tuple(outputs), attributes=attributes, output=node.output)
        )
        return node.name

    def _branch(self, choice: Node, inner: Variant, prefix: str, presence: str) -> str:
        """An operator's nodes; one that no width of its own makes absent gets a mask as a whole."""
        (source,) = (self.names[name] for name in choice.inputs[:1])
        names = {INPUT: source, **{n: self.names.get(n, n) for n in inner.graph.inputs if n != INPUT}}
        for node in inner.graph.nodes:
            names[node.name] = f"{prefix}/{node.name}"
            update = {"name": names[node.name], "inputs": tuple(names[n] for n in node.inputs)}
            self.nodes.append(node.model_copy(update=update))
        output = names[inner.graph.output]
        if any(is_absent(inner.graph, d.address) for d in inner.decisions):
            return output
        name = dotted(self.prefix, presence)
        self.opens.append(Open(name, presence, (0, 1), presence=True))
        mask = presence_node(f"{prefix}/there", output, inner.graph.result, name)
        self.nodes.append(mask)
        return mask.name
