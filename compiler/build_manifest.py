"""The benchmark manifest of a network: each distinct block once, whatever its places call its widths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nasc.compiler.build import map_sizes
from nasc.compiler.domain import Domain
from nasc.compiler.expr import Expr, substitute, variable
from nasc.compiler.ir import Decision, Graph, Layer, Network, Node, Tensor, Variant
from nasc.compiler.manifest import Entry, Manifest, Target, Use, entry_key


def manifest_of(network: Network, targets: Sequence[Target], version: str) -> Manifest:
    """What has to be measured to know the latency of every member of a network. `version` is nasc's own.

    A width that is an interval in several places stands in its entry as all values that any of them needs.
    """
    entries: dict[str, Entry] = {}
    for layer in _layers(network):
        for index, variant in enumerate(layer.variants):
            if not variant.graph.nodes:
                continue
            graph, decisions = canonical(variant, network)
            use = Use(layer=layer.address, variant=index, widths=tuple(d.address for d in decisions))
            widths = tuple(
                Decision(address=f"w{i + 1}", domain=d.domain, ordered=d.ordered) for i, d in enumerate(decisions)
            )
            key = entry_key(graph)
            entry = entries.get(key)
            if entry is None:
                entries[key] = Entry(key=key, block=variant.block, uses=(use,), graph=graph, widths=widths)
            else:
                joined = tuple(_joined(a, b) for a, b in zip(entry.widths, widths, strict=True))
                entries[key] = entry.model_copy(update={"uses": (*entry.uses, use), "widths": joined})
    return Manifest(name=network.name, nasc=version, targets=tuple(targets), entries=tuple(entries.values()))


def _layers(network: Network) -> Iterator[Layer]:
    for stage in network.stages:
        yield from stage.layers
    if network.head is not None:
        yield network.head


def _joined(a: Decision, b: Decision) -> Decision:
    if b.domain.within(a.domain):
        return a
    if a.domain.within(b.domain):
        return b
    return Decision(address=a.address, domain=Domain.of([*a.domain, *b.domain]), ordered=a.ordered and b.ordered)


def canonical(variant: Variant, network: Network) -> tuple[Graph, tuple[Decision, ...]]:
    """A variant's graph with names in order of appearance, and its decisions (shared ones too) in that order."""
    known = {d.address: d for d in (*network.shared, *variant.decisions)}
    order: dict[str, None] = {}
    for tensor in variant.graph.inputs.values():
        _note(tensor, order)
    for node in variant.graph.nodes:
        for value in node.attributes.values():
            map_sizes(value, lambda s: _see(s, order))
        _note(node.output, order)
    decisions = tuple(known[a] for a in order)
    values = {d.address: variable(f"w{i + 1}") for i, d in enumerate(decisions)}
    names = {name: name if name == "in" else f"x{i}" for i, name in enumerate(variant.graph.inputs)}
    names |= {node.name: f"n{i + 1}" for i, node in enumerate(variant.graph.nodes)}
    graph = Graph(
        inputs={names[k]: _renamed(t, values) for k, t in variant.graph.inputs.items()},
        nodes=tuple(
            Node.model_construct(
                name=names[n.name],
                op=n.op,
                inputs=tuple(names[i] for i in n.inputs),
                attributes={k: map_sizes(v, lambda s: substitute(s, values)) for k, v in sorted(n.attributes.items())},
                output=_renamed(n.output, values),
                branches=(),
            )
            for n in variant.graph.nodes
        ),
        output=names[variant.graph.output],
    )
    return graph, decisions


def _see(size: Expr, order: dict[str, None]) -> Expr:
    for name in sorted(size.names):
        order.setdefault(name)
    return size


def _note(tensor: Tensor, order: dict[str, None]) -> None:
    if isinstance(tensor.channels, Expr):
        _see(tensor.channels, order)


def _renamed(tensor: Tensor, values: dict[str, Expr]) -> Tensor:
    if not isinstance(tensor.channels, Expr):
        return tensor
    return tensor.with_channels(substitute(tensor.channels, dict(values)))
