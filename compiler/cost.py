"""Parameters and multiply-accumulates: exact for one member, the smallest and the largest for a space.

Costs never fall when a width grows, so within one variant the extremes lie where all its decisions are at an end
(`cost_ends` has the exceptions).
Across variants a cheaper layer may hand on more channels; the search along the trellis therefore keeps, at each state,
every pair of cost and handed-on widths that no other pair beats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import product
from typing import Any, Literal

from nasc.compiler.cost_ends import Ends, ends_of
from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Rational, Size, add, evaluate
from nasc.compiler.graph_tools import map_sizes
from nasc.compiler.ir import Graph, Node, Tensor, Variant
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.trellis import Edge, Slot, State
from nasc.compiler.world import dotted

Metric = Literal["params", "macs"]
METRICS: tuple[Metric, ...] = ("params", "macs")
Values = Mapping[str, Rational]


@dataclass(frozen=True)
class Range:
    """The smallest and the largest cost of a space's members; equal for one member."""

    min: int
    max: int


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-accumulates of convolutions and linear layers for one image."""

    params: Range
    macs: Range

    def as_json(self) -> dict[str, Any]:
        """`{"params": …, "macs": …}`; for a space each is `{"min": …, "max": …}`."""
        ranges = {"params": self.params, "macs": self.macs}
        return {k: r.min if r.min == r.max else {"min": r.min, "max": r.max} for k, r in ranges.items()}


def cost_of(space: Space) -> Cost:
    """Exact costs of a space.

    Raises `ValueError` for one without members, `NascError` where widths grow and fall with too many values.
    """
    least, most = (tuple(ends_of(space, largest)) for largest in (False, True))
    params, macs = (Range(min(_finals(space, m, least)), max(_finals(space, m, most))) for m in METRICS)
    return Cost(params, macs)


def layer_costs(space: Space) -> dict[str, Cost]:
    """The costs of each layer by its address, at the ends of all widths that it can be given or decides itself.

    A layer that may be dropped costs nothing at least. The ends of two layers need not go together in one member.
    """
    least, most = (tuple(ends_of(space, largest)) for largest in (False, True))
    reaches = [([_reach(space, e, m) for e in least], [_reach(space, e, m) for e in most]) for m in METRICS]
    found: dict[str, Cost] = {}
    for slot in space.trellis.slots:
        params, macs = (Range(min(_own(slot, low)), max(_own(slot, high))) for low, high in reaches)
        found[slot.address] = Cost(params, macs)
    return found


def _own(slot: Slot, reaches: Sequence[_Reach]) -> list[int]:
    """What a layer costs by itself."""
    edges = [e for edges in slot.edges.values() for e in edges if not e.source.done]
    return [p.cost for reach in reaches for e in edges for p in reach.along(e, _Partial(0))] or [0]


def node_cost(node: Node, inputs: list[Tensor], metric: Metric) -> int:
    """The cost of one concrete node."""
    primitive = PRIMITIVES[node.op]
    size = primitive.weights(node, inputs) if metric == "params" else primitive.macs(node, inputs)
    return int(size)  # type: ignore[arg-type]  # concrete: no Expr is left


def graph_cost(graph: Graph, values: Values, metric: Metric, shapes: dict[str, Tensor] | None = None) -> int:
    """The cost of a graph without nested choices when every decision has its value."""
    known = {} if shapes is None else dict(shapes)
    known.update({k: _settled(t, values) for k, t in graph.inputs.items()})
    total = 0
    for node in graph.nodes:
        known[node.name] = output = _settled(node.output, values)
        if node.op in PRIMITIVES:
            attributes = {k: map_sizes(v, lambda s: evaluate(s, values)) for k, v in node.attributes.items()}
            concrete = Node.model_construct(
                name=node.name, op=node.op, inputs=node.inputs, attributes=attributes, output=output, branches=()
            )
            total += node_cost(concrete, [known[i] for i in node.inputs], metric)
    return total


def graph_formula(graph: Graph, metric: Metric) -> Size:
    """The cost of a graph without nested choices as a formula of its decisions."""
    sizes: list[Size] = []
    for node in graph.nodes:
        primitive, inputs = PRIMITIVES[node.op], [graph.tensor(name) for name in node.inputs]
        sizes.append(primitive.macs(node, inputs) if metric == "macs" else primitive.weights(node, inputs))
    total: Size = 0
    return reduce(add, sizes, total)


def _settled(tensor: Tensor, values: Values) -> Tensor:
    if isinstance(tensor.channels, int):
        return tensor
    return Tensor.model_construct(
        channels=evaluate(tensor.channels, values),
        height=tensor.height,
        width=tensor.width,
        tokens=tensor.tokens,
        ids=tensor.ids,
    )


# ------------------------------------------------------------------------------------------------- extremes


@dataclass(frozen=True)
class _Partial:
    """A cost so far, with the widths that the rest of the network sees."""

    cost: int
    outs: tuple[tuple[str, Rational], ...] = ()


def _finals(space: Space, metric: Metric, every: Sequence[Ends]) -> list[int]:
    """What members cost at all of these ends. Raises `ValueError` where there is none."""
    found = [cost for ends in every for cost in _final_costs(space, metric, ends)]
    if not found:
        raise ValueError("no member of this space has an output")
    return found


def _final_costs(space: Space, metric: Metric, ends: Ends) -> list[int]:
    """What members cost at these ends: the extreme is among them."""
    trellis = space.trellis
    reach = _reach(space, ends, metric)
    front: dict[State, list[_Partial]] = {s: [_Partial(0)] for s in trellis.starts}
    for slot in trellis.slots:
        after: dict[State, list[_Partial]] = {}
        for state, edges in slot.edges.items():
            for partial in front.get(state, ()):
                for edge in edges:
                    after.setdefault(edge.target, []).extend(reach.along(edge, partial))
        front = {s: _best(found, ends) for s, found in after.items()}
    return [p.cost for s, partials in front.items() if trellis.final(s) for p in partials]


_Option = tuple[int, dict[str, Rational]]


@dataclass(frozen=True)
class _Reach:
    """The costs of variants at the ends of their decisions; `shared` are those of the whole space."""

    ends: Ends
    shared: Values
    metric: Metric
    memo: dict[object, list[tuple[int, Rational]]] = field(default_factory=dict)

    def along(self, edge: Edge, partial: _Partial) -> Iterator[_Partial]:
        """What a partial cost becomes along an edge."""
        if not all(self.ends.agrees(a, c) for a, c in edge.target.cells if isinstance(c, Domain)):
            return
        visible = {name for _, t in edge.target.tensors if not isinstance(t.channels, int) for name in t.channels.names}  # type: ignore[union-attr]
        outs = dict(partial.outs)
        variant = edge.variant
        if variant is None or not variant.graph.inputs:
            yield _Partial(partial.cost, tuple((k, v) for k, v in partial.outs if k in visible))
            return
        known = {**{a: c for a, c in edge.source.cells if isinstance(c, Domain)}, **variant.shared}
        decided: dict[str, Domain | str] = {**variant.chosen, **known}
        if not all(self.ends.agrees(a, v) for a, v in decided.items()):
            return
        given = {a: self.ends.of(a, d) for a, d in known.items() if a not in outs}
        key = (id(variant), edge.out is None, tuple(sorted(outs.items())), tuple(sorted(given.items())))
        if key not in self.memo:
            self.memo[key] = list(self.variant({**self.shared, **given, **outs}, variant))
        for cost, width in self.memo[key]:
            after = {**outs, edge.out: width} if edge.out is not None else outs
            yield _Partial(partial.cost + cost, tuple(sorted((k, v) for k, v in after.items() if k in visible)))

    def variant(self, values: Values, variant: Variant) -> Iterator[tuple[int, Rational]]:
        """Its costs at its decisions' ends, with the width that comes out; one for each nested alternative."""
        nested = [n for n in variant.graph.nodes if n.branches]
        for ends in self.ends.own(variant.decisions):
            own = {**values, **ends}
            for options in product(*(self.options(n, own) for n in nested)):
                chosen = dict(own)
                cost = 0
                for extra, bindings in options:
                    cost += extra
                    chosen.update(bindings)
                cost += graph_cost(variant.graph, chosen, self.metric)
                yield cost, evaluate(variant.graph.result.channels, chosen)

    def options(self, node: Node, values: Values) -> list[_Option]:
        """The ways a nested choice can be extreme: its cost, and the values of the decisions that show outside."""
        branches = [[o for v in branch.variants for o in self.branch(v, values)] for branch in node.branches]
        if node.op == "one_of":
            return self._undominated([o for found in branches for o in found], node, values)
        names = [dotted(node.attributes["address"], f"{n}?") for n in node.attributes["numbers"]]
        if self.ends.largest:
            best = [max(found, key=lambda o: o[0]) for found in branches]
            together: dict[str, Rational] = {name: 1 for name in names}
            for _, bindings in best:
                together.update(bindings)
            return [(sum(c for c, _ in best), together)]
        absent = {name: 0 for name in names}
        everything: dict[str, Rational] = {k: v for found in branches for _, b in found for k, v in b.items()}
        options: list[_Option] = []
        for name, found in zip(names, branches, strict=True):
            options.extend((cost, {**everything, **bindings, **absent, name: 1}) for cost, bindings in found)
        return self._undominated(options, node, values)

    def branch(self, variant: Variant, values: Values) -> Iterator[_Option]:
        """A branch's costs, with the values of the decisions that it makes or reads."""
        read = {a: values[a] for a in variant.shared if a in values}
        for own in self.ends.own(variant.decisions):
            alone = variant.model_copy(update={"decisions": ()})
            for cost, _ in self.variant({**values, **own}, alone):
                yield cost, {**own, **read}

    def _undominated(self, options: list[_Option], node: Node, values: Values) -> list[_Option]:
        sign = -1 if self.ends.largest else 1

        def rank(option: _Option) -> tuple[Rational, Rational]:
            return sign * option[0], sign * evaluate(node.output.channels, {**values, **option[1]})

        kept: list[_Option] = []
        for option in sorted(options, key=rank):
            if not kept or rank(option)[1] < rank(kept[-1])[1]:
                kept.append(option)
        return kept


def _reach(space: Space, ends: Ends, metric: Metric) -> _Reach:
    shared = {address: ends.of(address, decision.domain) for address, decision in space.trellis.shared.items()}
    return _Reach(ends, shared, metric)


def _best(found: list[_Partial], ends: Ends) -> list[_Partial]:
    """Drop what another beats in cost and in every width; a width with which others fall has to be the same."""
    sign = -1 if ends.largest else 1
    exact = ends.falling | ends.mixed
    kept: list[_Partial] = []
    for partial in sorted(set(found), key=lambda p: (sign * p.cost, [sign * v for _, v in p.outs])):
        if not any(_beats(k, partial, sign, exact) for k in kept):
            kept.append(partial)
    return kept


def _beats(one: _Partial, other: _Partial, sign: int, exact: frozenset[str]) -> bool:
    pairs = zip(one.outs, other.outs, strict=True)
    return all(a == b if name in exact else sign * a <= sign * b for (name, a), (_, b) in pairs)
