"""Is every network of one space a network of another? In general this is inclusion of languages.

Layers are matched in order: each layer of B by a layer of A that can build whatever it can, layers of A in between
dropped. This can say no wrongly only where layers of A cover B's jointly but not one by one; where shapes depend on
earlier decisions it says that it cannot tell.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Expr, Size, add, divide, multiply, substitute, variable
from nasc.compiler.graph_tools import attribute_sizes
from nasc.compiler.ir import Graph, Layer, Network, Node, Tensor, Variant
from nasc.compiler.network import whole_network_of
from nasc.dsl.diagnostics import DiagnosticError

MAX_TRIES = 20_000


@dataclass(frozen=True)
class Answer:
    """`yes` is None where the question cannot be decided; `reason` says why not, or what is missing."""

    yes: bool | None
    reason: str = ""


@dataclass(frozen=True)
class _Place:
    """A layer with what is needed to match it."""

    layer: Layer
    droppable: bool
    stage: str


Binding = Mapping[str, Size]


def contains(a: Space, b: Space) -> Answer:
    """Is every network of `b` built by some member of `a`? Dropped layers and the names of stages leave no trace."""
    try:
        outer, inner = whole_network_of(a), whole_network_of(b)
    except DiagnosticError as error:
        return Answer(None, error.message)
    if outer.input != inner.input:
        return Answer(False, f"the inputs differ: {outer.input} and {inner.input}")
    if outer.output[0] != inner.output[0] or (outer.output[0] != "features" and outer.output != inner.output):
        return Answer(False, "the outputs differ")
    places = _places(outer), _places(inner)
    if places[0] is None or places[1] is None:
        return Answer(None, "layers of a stage with a searched depth are written differently")
    return _Matcher(outer, inner, places[0], places[1]).run()


def _places(network: Network) -> list[_Place] | None:
    """The layers in order. A searched depth makes the further layers droppable, which is the same if they are alike."""
    places: list[_Place] = []
    for stage in network.stages:
        least = len(stage.layers) if stage.depth is None else int(stage.depth.domain.first)
        free = stage.layers[max(least - 1, 0) :]  # the last that must be, and those that may be
        if stage.depth is not None and any(layer.variants != free[1].variants for layer in free[2:]):
            return None
        for index, layer in enumerate(stage.layers):
            empty = all(not v.graph.nodes for v in layer.variants)
            if not empty:
                maybe = layer.skippable or index >= least or any(not v.graph.nodes for v in layer.variants)
                places.append(_Place(layer, maybe, stage.name))
    if network.head is not None:
        places.append(_Place(network.head, False, "head"))
    return places


class _Matcher:
    """Matches the layers of one network to those of another, with backtracking over what is dropped."""

    def __init__(self, outer: Network, inner: Network, a: list[_Place], b: list[_Place]) -> None:
        self.a, self.b = a, b
        self.domains = {d.address: d.domain for d in outer.shared}
        self.inner_domains = {d.address: d.domain for d in inner.shared}
        self.furthest = 0
        self.cut = False  # has a variant not matched whose widths cannot be read off its shapes?
        self.alike: dict[int, dict[Hashable, list[Variant]]] = {}

    def run(self) -> Answer:
        found = self._search()
        if found is None:
            return Answer(None, "too many ways to match the layers")
        if found:
            return Answer(True)
        address = self.b[min(self.furthest, len(self.b) - 1)].layer.address
        if self.cut:
            return Answer(None, f"`{address}` is compared with layers that cut one width to another")
        return Answer(False, f"`{address}` has what no layer left for it can build")

    def _search(self) -> bool | None:
        """Can the inner network's layers be built by the outer one's? None where that takes too long to find out.

        Depth first: a state is a layer of each network with the widths bound so far, and is looked at once.
        """
        waiting: list[tuple[int, int, Binding]] = [(0, 0, {})]
        seen: set[tuple[int, int, frozenset[tuple[str, Size]]]] = set()
        while waiting:
            i, j, binding = waiting.pop()
            state = (i, j, frozenset(binding.items()))
            if state in seen:
                continue
            seen.add(state)
            if len(seen) > MAX_TRIES:
                return None
            self.furthest = max(self.furthest, j)
            if j == len(self.b):
                if all(p.droppable for p in self.a[i:]):
                    return True
            elif i < len(self.a):
                waiting += self._next(i, j, binding)
        return False

    def _next(self, i: int, j: int, binding: Binding) -> Iterator[tuple[int, int, Binding]]:
        """Where to go on, the likeliest last: the outer layer left out, or taken for the inner one."""
        outer, inner = self.a[i], self.b[j]
        if outer.droppable:
            yield i + 1, j, binding
        if outer.droppable or not inner.droppable:
            extended = self._layer(outer.layer, inner.layer, binding)
            if extended is not None:
                yield i + 1, j + 1, extended

    def _layer(self, outer: Layer, inner: Layer, binding: Binding) -> Binding | None:
        """Shared widths bound so that every variant of the inner layer is one of the outer layer."""
        bound: Binding | None = _unify(outer.input.channels, inner.input.channels, binding, self)
        for variant in inner.variants:
            if not variant.graph.nodes:
                continue  # dropped: `droppable` has spoken for it
            if bound is None:
                return None
            near = self._likeliest_first(outer, variant)
            bound = next((b for v in near if (b := self._variant(v, variant, bound)) is not None), None)
            self.cut |= bound is None and any(_is_cut(v.graph) for v in outer.variants)
        return bound

    def _likeliest_first(self, outer: Layer, inner: Variant) -> Iterator[Variant]:
        """A layer's variants, those with the same constants as a variant first: there may be a thousand of each."""
        if id(outer) not in self.alike:
            alike = self.alike.setdefault(id(outer), {})
            for variant in outer.variants:
                alike.setdefault(_constants(variant.graph), []).append(variant)
        likely = self.alike[id(outer)].get(_constants(inner.graph), [])
        yield from likely
        yield from (v for v in outer.variants if not any(v is other for other in likely))

    def _variant(self, outer: Variant, inner: Variant, binding: Binding) -> Binding | None:
        a, b = outer.graph, inner.graph
        if len(a.nodes) != len(b.nodes):
            return None
        own = {f"{d.address}": d.domain for d in outer.decisions}
        names = {"in": "in"}
        local: Binding = {**binding}
        for x, y in zip(a.nodes, b.nodes, strict=True):
            names[x.name] = y.name
            inputs = tuple(names.get(i, f"?{i}") if i in names else None for i in x.inputs)
            if x.op != y.op or (None not in inputs and inputs != y.inputs) or len(x.inputs) != len(y.inputs):
                return None
            bound = _node(x, y, local, self)
            if bound is None:
                return None
            local = bound
        if names.get(a.output) != b.output:
            return None
        inner_domains = {d.address: d.domain for d in inner.decisions} | self.inner_domains | dict(inner.shared)
        for address, size in local.items():
            domain = own.get(address) or outer.shared.get(address) or self.domains.get(address)
            if domain is not None and address not in binding and not _covers(domain, size, inner_domains):
                return None
        return {k: v for k, v in local.items() if k.startswith("@")}


def _is_cut(graph: Graph) -> bool:
    """Does a channel count say the smaller or larger of two, which leaves open what it was made of?"""
    sizes = attribute_sizes(tuple(node.output.channels for node in graph.nodes))
    return any(f"{name}(" in str(size) for size in sizes for name in ("min", "max"))


def _constants(graph: Graph) -> Hashable:
    """A graph's operators with the attributes that no decision changes."""
    return tuple(
        (n.op, n.output.spatial, frozenset((k, a) for k, a in n.attributes.items() if not attribute_sizes((a,))))
        for n in graph.nodes
    )


def _covers(domain: Domain, size: Size, inner: Mapping[str, Domain]) -> bool:
    """Does a domain hold every value that a size of the inner network can take?"""
    if not isinstance(size, Expr):
        return size in domain
    (name, *others) = sorted(size.names)
    return not others and size == variable(name) and name in inner and inner[name].within(domain)


def _node(x: Node, y: Node, binding: Binding, matcher: _Matcher) -> Binding | None:
    if x.branches or y.branches:
        return binding if x == y else None
    if set(x.attributes) != set(y.attributes):
        return None
    bound = _tensor(x.output, y.output, binding, matcher)
    for key, value in x.attributes.items():
        bound = None if bound is None else _attribute(value, y.attributes[key], bound, matcher)
    return bound


def _tensor(x: Tensor, y: Tensor, binding: Binding, matcher: _Matcher) -> Binding | None:
    if x.spatial != y.spatial or x.ids != y.ids:
        return None
    return _unify(x.channels, y.channels, binding, matcher)


def _attribute(x: Any, y: Any, binding: Binding, matcher: _Matcher) -> Binding | None:
    if isinstance(x, tuple) and isinstance(y, tuple) and len(x) == len(y):
        bound: Binding | None = binding
        for p, q in zip(x, y, strict=True):
            bound = None if bound is None else _attribute(p, q, bound, matcher)
        return bound
    return _unify(x, y, binding, matcher) if isinstance(x, Expr) else binding if x == y else None


def _unify(x: Size, y: Size, binding: Binding, matcher: _Matcher) -> Binding | None:
    """Bind the outer size's decision to the inner size, or check that they agree."""
    if not isinstance(x, Expr):
        return binding if x == y else None
    (name, *others) = x.names
    if not others and name not in binding and all(not m or m == ((name, 1),) for m, _ in x.terms):
        rest = substitute(x, {name: 0})
        factor = add(substitute(x, {name: 1}), multiply(-1, rest))
        return {**binding, name: divide(add(y, multiply(-1, rest)), factor)}
    fresh = {n: variable(n) for n in x.names if n not in binding}  # not read off: perhaps the same on both sides
    known: dict[str, Size] = {n: s for n, s in {**binding, **fresh}.items() if n in x.names}
    if _substituted(x, known) == y:
        return {**binding, **fresh}
    matcher.cut |= bool(fresh)
    return None


def _substituted(size: Size, values: Mapping[str, Size]) -> Size:
    """Substitution in two steps, so that equal names on both sides cannot meet."""
    fresh = {n: variable(f"{n}'") for n in values}
    return substitute(substitute(size, fresh), {f"{n}'": v for n, v in values.items()})


# ------------------------------------------------------------------------------------------------- differences


def diff(a: Space, b: Space) -> list[str]:
    """What differs between two spaces, layer by layer, one line each. Raises `DiagnosticError` if not lowerable."""
    one, two = whole_network_of(a), whole_network_of(b)
    lines: list[str] = []
    if one.input != two.input:
        lines.append(f"input: {one.input} -> {two.input}")
    if one.output != two.output:
        lines.append(f"output: {' '.join(one.output[1])} -> {' '.join(two.output[1])}")
    left, right = _described(one), _described(two)
    for address in [*left, *(k for k in right if k not in left)]:
        if address not in right:
            lines.append(f"- {address}: {left[address]}")
        elif address not in left:
            lines.append(f"+ {address}: {right[address]}")
        elif left[address] != right[address]:
            lines.append(f"~ {address}: {left[address]} -> {right[address]}")
    return lines


def _described(network: Network) -> dict[str, str]:
    layers = [layer for stage in network.stages for layer in stage.layers]
    layers += [network.head] if network.head is not None else []
    return {layer.address: text for layer in layers if (text := describe(layer)) != "dropped"}


def describe(layer: Layer) -> str:
    """A layer's alternatives in words."""
    texts = [_variant_text(v) for v in layer.variants if v.graph.nodes]
    if not texts:
        return "dropped"
    joined = " | ".join(texts) if len(texts) <= 6 else f"{' | '.join(texts[:6])} | … {len(texts)} in all"
    return f"{layer.input} -> {layer.output}: {joined}" + (" (may be dropped)" if layer.skippable else "")


def _variant_text(variant: Variant) -> str:
    chosen = [f"{k.rsplit('.', 1)[-1]} {v}" for k, v in variant.chosen.items() if not k.endswith("of")]
    widths = [f"{d.address.rsplit('.', 1)[-1]} {d.domain}" for d in variant.decisions]
    return " ".join([_kernel_text(variant), *sorted(set(chosen) - {""}), *widths])


def _kernel_text(variant: Variant) -> str:
    """The block's name, and a fingerprint of constant kernels and widths for what is decided."""
    parts = [
        f"{n.op}{n.attributes['kernel'][0]}->{n.output.channels}" if "kernel" in n.attributes else n.op
        for n in variant.graph.nodes
        if n.op in ("conv2d", "linear", "max_pool", "avg_pool", "add", "mul", "concat")
    ]
    return f"{variant.block} [{' '.join(parts)}]"
