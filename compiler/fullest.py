"""The fullest network of a space, with every width still a symbol: what methods that mask channels search in.

Every layer and every operator of an `any of` is there. Alternatives of a layer (kernels, `one of`) stand beside each
other, added; where each would add the layer's input, it is added once. Alternatives that differ in a width only are
the widest one (FiGS, 3.3). The names of decisions are unique in the network: `low.1.expand`, and `low.1.2.expand` in
the second of several alternatives; shared ones keep their `@`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Expr, Rational, Size, variable
from nasc.compiler.ir import Decision, Graph, Layer, Network, Node, Stage, Tensor, Variant
from nasc.compiler.merge_widths import merged_widths
from nasc.compiler.methods.refused import Refused
from nasc.compiler.network import frame_of, hoisted
from nasc.compiler.specialise import PRESENCE, AbsentOutput, specialise
from nasc.compiler.substitution import Blocks
from nasc.compiler.trellis import Edge, Slot, State
from nasc.compiler.world import dotted

IN = "in"
NONE, SOME = "none", "some"


@dataclass(frozen=True)
class Open:
    """A decision with a mask: `address` in its layer's alternative is `name` in the network.

    `widths` are its values, ascending; the SuperNet has the largest. With 0 among them it may go, and what hangs on it.
    A `presence` says of an operator without widths of its own whether it is there: 0 or 1. `texts` has what the file
    says for a width where that is another number.
    """

    name: str
    address: str
    widths: tuple[int, ...]
    presence: bool = False
    texts: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Branch:
    """An operator of an `any of`: the address that says whether it is there, the node that it ends in, and the names
    of what is decided in it."""

    address: str
    node: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Operator:
    """One alternative of a layer. `chosen` are the decisions that tell it from others, `node` is what it ends in.
    `merged`: its residual is that of the layer's first alternative, so by itself it has none."""

    block: str
    chosen: Mapping[str, str]
    opens: tuple[Open, ...]
    branches: tuple[Branch, ...]
    node: str
    merged: bool = False


@dataclass(frozen=True)
class FullLayer:
    """A layer with all of its alternatives; `graph` is symbolic in the names of decisions. `may_go`: without any of
    its operators the layer is its input, as a member may have it."""

    address: str
    operators: tuple[Operator, ...]
    graph: Graph
    may_go: bool


@dataclass(frozen=True)
class Fullest:
    """The fullest network: `network` has one variant for each layer. `shared` are the masks of shared decisions."""

    layers: tuple[FullLayer, ...]
    shared: tuple[Open, ...]
    network: Network

    def opens(self) -> Iterator[Open]:
        """Every decision with a mask, shared ones first."""
        yield from self.shared
        for layer in self.layers:
            for operator in layer.operators:
                yield from operator.opens


def fullest(space: Space, merge: bool = True) -> Fullest:
    """The fullest network of a space. With `merge`, alternatives that differ in a width only are one.

    Raises `Refused` at a place that masks cannot relax.
    """
    return _Walk(space, merge).result()


@dataclass(frozen=True)
class _Way:
    """A variant of a layer with the edge it is on."""

    edge: Edge
    variant: Variant
    texts: Mapping[str, Mapping[int, str]] = field(default_factory=dict)


class _Walk:
    """Follows the fullest path through the trellis."""

    def __init__(self, space: Space, merge: bool) -> None:
        self.space, self.merge = space, merge
        self.known: dict[str, Size] = {}
        """What opaque sizes (what a layer hands on) are in symbols."""
        self.layers: list[FullLayer] = []

    def result(self) -> Fullest:
        trellis = self.space.trellis
        for name, depth in trellis.depths.items():
            if depth.size > 1:
                raise Refused(name, "the number of its layers is a range", f"fix it: `--set {name}.x={depth.last}`")
        (state,) = trellis.starts
        for slot in trellis.slots:
            state = self._layer(slot, state)
        shared = [d for d in trellis.shared.values() if d.domain.size > 1 and d.address not in self.known]
        opens = tuple(Open(d.address, d.address, _widths(d, d.address.removeprefix("@"))) for d in shared)
        return Fullest(tuple(self.layers), opens, self._network())

    def _layer(self, slot: Slot, state: State) -> State:
        """Add a slot's layer and return the state behind it."""
        if state.cells:
            why = "what is built depends on a shared decision, not only how wide it is"
            raise Refused(slot.address, why, "give the shared decision one value with --set")
        edges = slot.edges[state]
        every = [_Way(e, v) for e in edges if e.variant is not None for v in hoisted(e.variant)]
        ways = _fullest_ways(every)
        if not ways:
            (edge,) = [e for e in edges if not e.target.current.absent][:1]
            self.layers.append(FullLayer(slot.address, (), specialise(_nothing(state.current), self.known), False))
            return edge.target
        if len({way.edge.target for way in ways}) > 1:
            raise Refused(slot.address, "its alternatives hand on different shapes", "choose one with --set")
        if self.merge and all(way.edge.out is None for way in ways):
            edge = ways[0].edge
            ways = [_Way(edge, each.variant, each.texts) for each in merged_widths([way.variant for way in ways])]
        layer = _LayerJoin(slot, ways, every, self.known, self.space.world.blocks).layer()
        self.layers.append(layer)
        edge = ways[0].edge
        if edge.out is not None:
            self.known[edge.out] = layer.graph.result.channels
        return edge.target

    def _network(self) -> Network:
        built = {layer.address: _built(layer) for layer in self.layers}
        frame = frame_of(self.space)
        stages = tuple(
            Stage(
                name=stage.name,
                source=stage.source,
                layers=tuple(built[slot.address] for slot in self.space.trellis.slots if slot.stage == stage.name),
            )
            for stage in self.space.header.stages
        )
        shared = tuple(d for d in self.space.trellis.shared.values())
        return frame.model_copy(update={"stages": stages, "head": built.get("head"), "shared": shared})


def _nothing(shape: Tensor) -> Graph:
    return Graph(inputs={IN: shape}, nodes=(), output=IN)


def _built(layer: FullLayer) -> Layer:
    graph = layer.graph
    decisions = tuple(
        Decision(address=each.name, domain=Domain.of(each.widths), ordered=True)
        for operator in layer.operators
        for each in operator.opens
    )
    block = _block(layer)
    variant = Variant(block=block, chosen={}, decisions=decisions, graph=graph)
    shapes = graph.inputs.get(IN, graph.result), graph.result
    return Layer(address=layer.address, variants=(variant,), skippable=False, input=shapes[0], output=shapes[1])


def _block(layer: FullLayer) -> str:
    """What a layer's class is called after."""
    if layer.address == "head":
        return "head"
    found = re.match(r"[A-Za-z_]\w*", layer.operators[0].block) if layer.operators else None
    return found.group() if found else "block"


# ------------------------------------------------------------------------------------------------- alternatives


def _fullest_ways(ways: Sequence[_Way]) -> list[_Way]:
    """The alternatives that are not what is left of another one at a width of 0, or without an operator."""
    there = [way for way in ways if not way.edge.target.current.absent and way.variant.graph.nodes]
    kept = [way for way in there if not any(_less(way.variant, other.variant) for other in there)]
    widest: dict[tuple[tuple[str, str], ...], _Way] = {}
    for way in kept:
        key = tuple(sorted(way.variant.chosen.items()))
        if key not in widest or _reach(way.variant) > _reach(widest[key].variant):
            widest[key] = way
    return list(widest.values())


def _zeros(ways: Sequence[_Way], full: Variant) -> frozenset[str]:
    """The decisions of an alternative that the space lets be 0: there is a variant in which one is."""
    open_there = {d.address for d in full.decisions}
    return frozenset(k for way in ways for k, v in way.variant.chosen.items() if v == "0" and k in open_there)


def _less(a: Variant, b: Variant) -> bool:
    """Is `a` a case of `b` in which something is absent?"""
    if a is b:
        return False
    open_in_b = {d.address for d in b.decisions}
    gone = [k for k, v in a.chosen.items() if k in open_in_b or (v == NONE and b.chosen.get(k) == SOME)]
    same = all(b.chosen.get(k) == v for k, v in a.chosen.items() if k not in gone and k in b.chosen)
    return bool(gone) and same and len(a.decisions) <= len(b.decisions)


def _reach(variant: Variant) -> Rational:
    return sum((d.domain.last for d in variant.decisions), 0)


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


class _LayerJoin:
    """Joins the alternatives of one layer."""

    def __init__(
        self, slot: Slot, ways: Sequence[_Way], every: Sequence[_Way], known: Mapping[str, Size], blocks: Blocks
    ) -> None:
        """`ways` are the alternatives, `every` way includes those in which something of them is absent."""
        self.slot, self.ways, self.every, self.known, self.blocks = slot, ways, every, known, blocks

    def layer(self) -> FullLayer:
        address, several = self.slot.address, len(self.ways) > 1
        prefixes = [dotted(address, str(i)) if several else address for i in range(1, len(self.ways) + 1)]
        bare = [_renamed(way.variant, prefix, self.known) for way, prefix in zip(self.ways, prefixes, strict=True)]
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
            zeros = _zeros(self.every, way.variant)
            opener = _Opener(way.variant, prefixes[i], several or may_go, merged, zeros, way.texts)
            parts.append(opener.part(each))
        may_go = may_go or any(way.variant.graph.output == IN for way in self.every)
        if not several:
            return FullLayer(address, (parts[0].operator,), parts[0].graph, may_go)
        operators = tuple(_numbered(part.operator, i) for i, part in enumerate(parts, start=1))
        return FullLayer(address, operators, _added(parts), may_go)

    def _require_shortcut(self, variant: Variant) -> None:
        """Refuse alternatives whose residuals cannot be made one: the found network is written with `shortcut`."""
        found = re.match(r"[A-Za-z_]\w*", variant.block)
        block = self.blocks.get(found.group()) if found else None
        if block is None or all(p.name != "shortcut" for p in block.parameters):
            raise Refused(
                self.slot.address,
                "each of its alternatives adds the layer's input, which must be added once",
                "give the block a parameter `shortcut = residual`, or write `any of { … } by add`",
            )


def _numbered(operator: Operator, number: int) -> Operator:
    """An operator with its nodes called as in the graph of all alternatives."""
    branches = tuple(replace(branch, node=f"{branch.node}#{number}") for branch in operator.branches)
    return replace(operator, node=f"{operator.node}#{number}", branches=branches)


def _renamed(variant: Variant, prefix: str, known: Mapping[str, Size]) -> _Bare:
    """A variant's graph with operators of `any of` side by side, in unique names."""
    inlined = _Inlining(variant, prefix)
    graph = inlined.graph()
    names: dict[str, Size] = {address: variable(dotted(prefix, address)) for address in inlined.addresses}
    settled: dict[str, Size] = {**known, **names, **dict.fromkeys([b.address for b in inlined.branches], 1)}
    return _Bare(specialise(graph, settled), tuple(inlined.opens), tuple(inlined.branches))


def _is_residual(graph: Graph) -> bool:
    """Does a graph add its input to what it makes of it, at its very end?"""
    last = graph.nodes[-1] if graph.nodes else None
    return last is not None and last.name == graph.output and last.op == "add" and IN in last.inputs


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
                inner = _full_branch(branch.variants, self.prefix)
                opens += [self._inner(d, inner.graph) for d in inner.decisions]
        if self.optional and not any(0 in each.widths and self._kills(graph, each.name) for each in opens):
            opens.append(Open(dotted(self.prefix, "there"), "", (0, 1), presence=True))
            graph = _with_presence(graph, opens[-1].name)
        end = graph.nodes[-1].inputs[0] if _is_residual(graph) else graph.output
        made = Operator(self.variant.block, self.variant.chosen, tuple(opens), bare.branches, end, self.merged)
        return _Part(made, graph)

    def _open(self, decision: Decision, graph: Graph) -> Open:
        name = dotted(self.prefix, decision.address)
        may_be_0 = decision.address in self.zeros or (self.optional and self._kills(graph, name))
        widths = _from_0(_widths(decision, name), may_be_0)
        return Open(name, decision.address, widths, texts=self.texts.get(decision.address, {}))

    def _inner(self, decision: Decision, graph: Graph) -> Open:
        """A decision in an operator of an `any of`, which may be left out."""
        name = dotted(self.prefix, decision.address)
        return Open(name, decision.address, _from_0(_widths(decision, name), _absent(graph, decision.address)))

    def _kills(self, graph: Graph, name: str) -> bool:
        """Is nothing of the alternative left when this width is 0, but for its residual?"""
        if _absent(graph, name):
            return True
        return not self.merged and _is_residual(graph) and specialise(graph, {name: 0}).output == IN


def _absent(graph: Graph, name: str) -> bool:
    """Is nothing left of a graph when this width is 0, and the others are not?"""
    names = {n for shape in graph.shapes.values() if isinstance(shape.channels, Expr) for n in shape.channels.names}
    try:
        specialise(graph, {**dict.fromkeys(names, 1), name: 0})
    except AbsentOutput:
        return True
    except ZeroDivisionError:
        return False
    return False


def _from_0(widths: tuple[int, ...], may_be_0: bool) -> tuple[int, ...]:
    return (0, *widths) if may_be_0 and widths[0] else widths


def _widths(decision: Decision, place: str) -> tuple[int, ...]:
    values = tuple(decision.domain)
    if not all(isinstance(v, int) and v >= 0 for v in values):
        why = f"`{decision.address}` takes the values {decision.domain}, which are no widths"
        raise Refused(place.rpartition(".")[0] or place, why, "give it one value, or search with another method")
    return tuple(int(v) for v in values)


def _without_residual(graph: Graph) -> Graph:
    last = graph.nodes[-1]
    (output,) = [name for name in last.inputs if name != IN]
    return replace_graph(graph, graph.nodes[:-1], output)


def replace_graph(graph: Graph, nodes: Sequence[Node], output: str) -> Graph:
    """The graph with other nodes and another output."""
    return Graph(inputs=graph.inputs, nodes=tuple(nodes), output=output)


def _with_presence(graph: Graph, name: str) -> Graph:
    """A graph whose branch is masked as a whole: before the residual, where there is one."""
    nodes = list(graph.nodes)
    if _is_residual(graph):
        last = nodes.pop()
        (branch,) = [n for n in last.inputs if n != IN]
        mask = _presence_node(f"{branch}/there", branch, graph.tensor(branch), name)
        inputs = tuple(mask.name if n == branch else n for n in last.inputs)
        return replace_graph(graph, [*nodes, mask, last.model_copy(update={"inputs": inputs})], last.name)
    mask = _presence_node(f"{graph.output}/there", graph.output, graph.result, name)
    return replace_graph(graph, [*nodes, mask], mask.name)


def _presence_node(name: str, source: str, shape: Tensor, presence: str) -> Node:
    return Node(name=name, op="/mask", inputs=(source,), attributes={PRESENCE: variable(presence)}, output=shape)


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
    nodes.append(Node(name="joined", op="add", inputs=tuple(outputs), output=shape))
    return Graph(inputs=inputs, nodes=tuple(nodes), output="joined")


# ------------------------------------------------------------------------------------------------- any of


def _full_branch(variants: Sequence[Variant], place: str) -> Variant:
    """The one alternative of an operator in an `any of`."""
    kept = [v for v in variants if v.graph.nodes or len(variants) == 1]
    kept = [v for v in kept if not any(_less(v, other) for other in kept)]
    if len(kept) != 1:
        raise Refused(place, "an operator of its choice has alternatives", "write each as an operator of its own")
    return kept[0]


class _Inlining:
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
            inner = _full_branch(branch.variants, self.prefix)
            self.addresses += [d.address for d in inner.decisions]
            outputs.append(self._branch(node, inner, f"{node.name}#{number}", dotted(address, f"{number}?")))
            names = tuple(d.address for d in inner.decisions)
            self.branches.append(Branch(dotted(address, f"{number}?"), outputs[-1], names))
        join = "add" if str(node.attributes["join"]) == "add" else "concat"
        if len(outputs) == 1:
            return outputs[0]
        self.nodes.append(Node(name=node.name, op=join, inputs=tuple(outputs), output=node.output))
        return node.name

    def _branch(self, choice: Node, inner: Variant, prefix: str, presence: str) -> str:
        """An operator's nodes; one that no width of its own makes absent gets a mask as a whole."""
        (source,) = (self.names[name] for name in choice.inputs[:1])
        names = {IN: source, **{n: self.names.get(n, n) for n in inner.graph.inputs if n != IN}}
        for node in inner.graph.nodes:
            names[node.name] = f"{prefix}/{node.name}"
            update = {"name": names[node.name], "inputs": tuple(names[n] for n in node.inputs)}
            self.nodes.append(node.model_copy(update=update))
        output = names[inner.graph.output]
        if any(_absent(inner.graph, d.address) for d in inner.decisions):
            return output
        name = dotted(self.prefix, presence.replace("?", ".there"))
        self.opens.append(Open(name, presence, (0, 1), presence=True))
        mask = _presence_node(f"{prefix}/there", output, inner.graph.result, name)
        self.nodes.append(mask)
        return mask.name
