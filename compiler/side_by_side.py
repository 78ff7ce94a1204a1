"""The alternatives of a layer side by side, their outputs added, each with its masks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nasc.compiler.any_of_side_by_side import SideBySide, full_operator, is_absent, presence_node, replace_graph
from nasc.compiler.concrete import INPUT
from nasc.compiler.expr import Size, variable
from nasc.compiler.full_layer import Branch, FullLayer, Open, Operator
from nasc.compiler.fullest_ways import Way, zeros
from nasc.compiler.ir import Decision, Graph, Node, Tensor, Variant
from nasc.compiler.methods.refused import Refused
from nasc.compiler.primitives.joining import PARALLEL
from nasc.compiler.specialise import AbsentOutput, specialise
from nasc.compiler.substitution import Blocks
from nasc.compiler.trellis import Slot
from nasc.compiler.world import dotted
from nasc.dsl import syntax


@dataclass(frozen=True)
class _Part:
    """An operator's graph, with names of decisions that are unique in the network."""

    operator: Operator
    graph: Graph


@dataclass(frozen=True)
class _Bare:
    """A variant's graph with operators of `any of` side by side, in names that are unique in the network."""

    graph: Graph
    presences: tuple[Open, ...]
    branches: tuple[Branch, ...]


class LayerJoin:
    """Joins the alternatives of one layer."""

    def __init__(
        self, slot: Slot, ways: Sequence[Way], every: Sequence[Way], known: Mapping[str, Size], blocks: Blocks
    ) -> None:
        """`ways` are the alternatives, `every` way includes those in which something of them is absent."""
        self.slot, self.ways, self.every, self.known, self.blocks = slot, ways, every, known, blocks

    def layer(self) -> FullLayer:
        address, several = self.slot.address, len(self.ways) > 1
        prefixes = [dotted(address, str(i)) if several else address for i in range(1, len(self.ways) + 1)]
        bare = [_renamed(way.variant, prefix, self.known) for way, prefix in zip(self.ways, prefixes, strict=True)]
        for each in bare:
            self._require_single(each.graph)
        residual = [_is_residual(each.graph) for each in bare]
        may_go = self.slot.skippable and all(residual)
        if any(residual) and not all(residual):
            why = "some of its alternatives add the layer's input, others do not, and any of them may go"
            raise Refused(address, why, "write `shortcut identity` in those that do, or choose one with --set")
        parts = []
        for i, (way, each) in enumerate(zip(self.ways, bare, strict=True)):
            merged = i > 0 and residual[i]
            if merged:
                self._require_shortcut(way.variant)
            may_be_0 = zeros(self.every, way.variant)
            opener = _Opener(way.variant, prefixes[i], several or may_go, merged, may_be_0, way.texts)
            parts.append(opener.part(each))
        may_go = may_go or any(way.variant.graph.output == INPUT for way in self.every)
        if len({part.graph.result for part in parts}) > 1:
            raise Refused(address, "its alternatives hand on different shapes", "choose one with --set")
        graph, operators = parts[0].graph, tuple(part.operator for part in parts)
        if several:
            graph = _added(parts)
            operators = tuple(_numbered(operator, i) for i, operator in enumerate(operators, start=1))
        return FullLayer(address, operators, graph, may_go and _hands_on(graph, operators))

    def _require_single(self, graph: Graph) -> None:
        """Refuse a residual of operators of which one hands on what is added: where it alone is left, the language adds
        nothing (a residual of a tensor itself is that tensor), while masks would add it twice."""
        nodes = {node.name: node for node in graph.nodes}

        def leaves(name: str) -> set[str]:
            node = nodes.get(name)
            if node is not None and (node.op == "/mask" or PARALLEL in node.attributes):
                return {leaf for source in node.inputs for leaf in leaves(source)}
            return {name}

        for node in graph.nodes:
            if node.op != "add" or PARALLEL in node.attributes:
                continue
            plain = {name for name in node.inputs if leaves(name) == {name}}
            if any(plain & leaves(name) for name in node.inputs if name not in plain):
                why = "an operator of its choice hands on what the residual adds, and all others may go"
                raise Refused(self.slot.address, why, "leave `identity` out of the choice, or the residual")

    def _require_shortcut(self, variant: Variant) -> None:
        """Refuse alternatives whose residuals cannot be made one: the found network is written with `shortcut`."""
        found = re.match(r"[A-Za-z_]\w*", variant.block)
        block = self.blocks.get(found.group()) if found else None
        if block is None or not _ends_in_shortcut(block):
            raise Refused(
                self.slot.address,
                "each of its alternatives adds the layer's input, which must be added once",
                "give the block a parameter `shortcut = residual` that it ends in, or write `any of { … } by add`",
            )


def _ends_in_shortcut(block: syntax.Block) -> bool:
    """Is a block's last step its parameter `shortcut`?"""
    result = block.statements[-1] if block.statements else None
    last = result.steps[-1].operator if isinstance(result, syntax.Pipeline) and result.steps else None
    named = isinstance(last, syntax.Call) and last.name == "shortcut"
    return named and any(p.name == "shortcut" for p in block.parameters)


def _hands_on(graph: Graph, operators: Sequence[Operator]) -> bool:
    """Is a layer its input where all is gone that may go? What does not add it would hand on nothing."""
    gone = {each.name: 0 for operator in operators for each in operator.opens if 0 in each.widths}
    try:
        return specialise(graph, gone).output == INPUT
    except (AbsentOutput, ZeroDivisionError):
        return False


def _numbered(operator: Operator, number: int) -> Operator:
    """An operator with its nodes called as in the graph of all alternatives."""
    branches = tuple(replace(branch, node=f"{branch.node}#{number}") for branch in operator.branches)
    return replace(operator, node=f"{operator.node}#{number}", branches=branches)


def _renamed(variant: Variant, prefix: str, known: Mapping[str, Size]) -> _Bare:
    """A variant's graph with operators of `any of` side by side, in unique names."""
    inlined = SideBySide(variant, prefix)
    graph = inlined.graph()
    names: dict[str, Size] = {address: variable(dotted(prefix, address)) for address in inlined.addresses}
    settled: dict[str, Size] = {**known, **names, **dict.fromkeys([b.address for b in inlined.branches], 1)}
    return _Bare(specialise(graph, settled), tuple(inlined.opens), tuple(inlined.branches))


def _is_residual(graph: Graph) -> bool:
    """Does a graph add its input to what it makes of it, at its very end?"""
    return _residual_branch(graph) is not None


def _residual_branch(graph: Graph) -> str | None:
    """What the input is added to at the very end of a graph; None where it is not."""
    last = graph.nodes[-1] if graph.nodes else None
    if last is None or last.name != graph.output or last.op != "add" or len(last.inputs) != 2:
        return None
    others = [name for name in last.inputs if name != INPUT]
    return others[0] if len(others) == 1 else None


@dataclass(frozen=True)
class _Opener:
    """Makes the masks of one alternative. `optional`: the layer may do without it; `merged`: it has no residual of its
    own; `zeros` are the decisions that the space lets be 0."""

    variant: Variant
    prefix: str
    optional: bool
    merged: bool
    zeros: frozenset[str]
    texts: Mapping[str, Mapping[int, str]]

    def part(self, bare: _Bare) -> _Part:
        """The alternative with its masks; one that may go and has no width that takes it along gets a presence."""
        graph = _without_residual(bare.graph) if self.merged else bare.graph
        opens = [*bare.presences, *(self._open(d, graph) for d in self.variant.decisions)]
        for node in self.variant.graph.nodes:
            for branch in node.branches:
                inner = full_operator(branch.variants, self.prefix)
                opens += [self._inner(d, inner.graph) for d in inner.decisions]
        if self.optional and not any(0 in each.widths and self._kills(graph, each.name) for each in opens):
            opens.append(Open(f"{self.prefix}?", "", (0, 1), presence=True))
            graph = _with_presence(graph, self._end(graph), opens[-1].name)
        made = Operator(
            self.variant.block, self.variant.chosen, tuple(opens), bare.branches, self._end(graph), self.merged
        )
        return _Part(made, graph)

    def _end(self, graph: Graph) -> str:
        """What the alternative ends in, without its residual."""
        branch = None if self.merged else _residual_branch(graph)
        return graph.output if branch is None else branch

    def _open(self, decision: Decision, graph: Graph) -> Open:
        name = dotted(self.prefix, decision.address)
        may_be_0 = decision.address in self.zeros or (self.optional and self._kills(graph, name))
        widths = _from_0(widths_of(decision, name), may_be_0)
        return Open(name, decision.address, widths, texts=self.texts.get(decision.address, {}))

    def _inner(self, decision: Decision, graph: Graph) -> Open:
        """A decision in an operator of an `any of`, which may be left out."""
        name = dotted(self.prefix, decision.address)
        return Open(name, decision.address, _from_0(widths_of(decision, name), is_absent(graph, decision.address)))

    def _kills(self, graph: Graph, name: str) -> bool:
        """Is nothing of the alternative left when this width is 0, but for its residual?"""
        if is_absent(graph, name):
            return True
        return not self.merged and _is_residual(graph) and specialise(graph, {name: 0}).output == INPUT


def _from_0(widths: tuple[int, ...], may_be_0: bool) -> tuple[int, ...]:
    return (0, *widths) if may_be_0 and widths[0] else widths


def widths_of(decision: Decision, place: str) -> tuple[int, ...]:
    values = tuple(decision.domain)
    if not all(isinstance(v, int) and v >= 0 for v in values):
        why = f"`{decision.address}` takes the values {decision.domain}, which are no widths"
        raise Refused(place.rpartition(".")[0] or place, why, "give it one value, or search with another method")
    return tuple(int(v) for v in values)


def _without_residual(graph: Graph) -> Graph:
    branch = _residual_branch(graph)
    assert branch is not None
    return replace_graph(graph, graph.nodes[:-1], branch)


def _with_presence(graph: Graph, end: str, name: str) -> Graph:
    """A graph in which what it makes, up to the node `end`, is masked as a whole."""
    mask = presence_node(f"{end}/there", end, graph.tensor(end), name)
    if end == graph.output:
        return replace_graph(graph, [*graph.nodes, mask], mask.name)
    last = graph.nodes[-1]
    inputs = tuple(mask.name if n == end else n for n in last.inputs)
    return replace_graph(graph, [*graph.nodes[:-1], mask, last.model_copy(update={"inputs": inputs})], last.name)


def _added(parts: Sequence[_Part]) -> Graph:
    """The graphs of alternatives side by side, their outputs added."""
    inputs: dict[str, Tensor] = {}
    nodes: list[Node] = []
    outputs: list[str] = []
    for number, part in enumerate(parts, start=1):
        inputs |= part.graph.inputs
        names = {node.name: f"{node.name}#{number}" for node in part.graph.nodes}
        for node in part.graph.nodes:
            update = {"name": names[node.name], "inputs": tuple(names.get(n, n) for n in node.inputs)}
            nodes.append(node.model_copy(update=update))
        outputs.append(names.get(part.graph.output, part.graph.output))
    shape = parts[0].graph.result
    nodes.append(Node(name="joined", op="add", inputs=tuple(outputs), attributes={PARALLEL: True}, output=shape))
    return Graph(inputs=inputs, nodes=tuple(nodes), output="joined")
