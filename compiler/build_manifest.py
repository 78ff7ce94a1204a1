"""The manifest of a network: each distinct block of its layers once, with every place that uses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nasc import __version__
from nasc.compiler.domain import Domain
from nasc.compiler.expr import Size, substitute, variable, variables
from nasc.compiler.ir import Decision, Graph, Layer, Network, Node, Tensor, Variant
from nasc.compiler.manifest import MANIFEST_SCHEMA, Entry, Manifest, Target, Use, entry_key
from nasc.compiler.methods.others import TargetOptions
from nasc.compiler.methods.sections import read_section
from nasc.compiler.opened import Checked
from nasc.dsl.diagnostics import Diagnostics, NascError, did_you_mean


def manifest_of(
    network: Network, targets: Sequence[Target] = (), resized: Mapping[int, Network] | None = None
) -> Manifest:
    """Every distinct block of a network, in the order in which it comes, for these targets (by default one).

    A block is a variant's graph, its input shapes included; layers whose canonical graphs are equal share an entry,
    whose widths have every value that any of them can have. A variant of which nothing is built has no entry.
    `resized` has the same network for each input size that a target has of its own (`nasc.compiler.resize`).
    """
    entries: dict[str, _Entry] = {}
    _collect(entries, network, None)
    for size, other in (resized or {}).items():
        _collect(entries, other, size)
    return Manifest(
        schema_=MANIFEST_SCHEMA,
        name=network.name,
        nasc=__version__,
        targets=tuple(targets) or (Target(),),
        entries=tuple(entry.finished() for entry in entries.values()),
    )


def _collect(entries: dict[str, _Entry], network: Network, size: int | None) -> None:
    """Add the blocks of a network whose input has that size."""
    known: dict[int, tuple[str, Block]] = {}
    shared = {decision.address: decision for decision in network.shared}
    for layer in layers_of(network):
        for number, variant in enumerate(layer.variants):
            if not variant.graph.nodes:
                continue
            if id(variant) not in known:
                block = canonical(variant, shared)
                known[id(variant)] = (entry_key(block.graph), block)
            key, block = known[id(variant)]
            entry = entries.setdefault(key, _Entry(key, variant.block, block.graph))
            entry.add(layer.address, number, block, size)


def layers_of(network: Network) -> Iterator[Layer]:
    """Every layer in order, the head last."""
    for stage in network.stages:
        yield from stage.layers
    if network.head is not None:
        yield network.head


@dataclass(frozen=True)
class Block:
    """A variant's graph in canonical names, and what its decisions are called in the variant, `w1` first."""

    graph: Graph
    decisions: tuple[Decision, ...]


def canonical(variant: Variant, shared: Mapping[str, Decision]) -> Block:
    """The variant's graph with its nodes called `n1`, …, its decisions `w1`, … and inputs beside `in` `in2`, ….

    `shared` are the network's: the width of an input may be one that the variant itself does not take.
    """
    graph = variant.graph
    read = {name for node in graph.nodes for name in node.inputs}
    inputs = [name for name in graph.inputs if name in read]
    names = {name: f"in{i}" for i, name in enumerate((n for n in inputs if n != "in"), 2)}
    names |= {node.name: f"n{i}" for i, node in enumerate(graph.nodes, 1)}
    order = dict.fromkeys(_mentioned(graph, inputs))
    widths = {address: variable(f"w{i}") for i, address in enumerate(order, 1)}
    renamed = Graph(
        inputs={names.get(name, name): _resized(graph.inputs[name], widths) for name in inputs},
        nodes=tuple(_renamed(node, names, widths) for node in graph.nodes),
        output=names.get(graph.output, graph.output),
    )
    domains = dict(shared)
    domains |= {a: Decision(address=a, domain=d, ordered=True) for a, d in variant.shared.items()}
    domains |= {d.address: d for d in variant.decisions}
    return Block(renamed, tuple(domains[address] for address in order))


def _mentioned(graph: Graph, inputs: Sequence[str]) -> Iterator[str]:
    """The addresses of the decisions in a graph, in order of appearance."""
    for name in inputs:
        yield from sorted(variables(graph.inputs[name].channels))
    for node in graph.nodes:
        for value in node.attributes.values():
            for size in value if isinstance(value, tuple) else (value,):
                yield from sorted(variables(size))
        yield from sorted(variables(node.output.channels))


def _resized(tensor: Tensor, widths: Mapping[str, Size]) -> Tensor:
    return tensor.with_channels(substitute(tensor.channels, widths)) if variables(tensor.channels) else tensor


def _renamed(node: Node, names: Mapping[str, str], widths: Mapping[str, Size]) -> Node:
    attributes = {
        key: tuple(substitute(v, widths) for v in value) if isinstance(value, tuple) else substitute(value, widths)
        for key, value in node.attributes.items()
    }
    return Node.model_construct(
        name=names[node.name],
        op=node.op,
        inputs=tuple(names.get(name, name) for name in node.inputs),
        attributes=attributes,
        output=_resized(node.output, widths),
        branches=node.branches,
    )


@dataclass
class _Entry:
    """An entry being collected."""

    key: str
    block: str
    graph: Graph
    uses: list[Use] = field(default_factory=list)
    widths: list[Decision] = field(default_factory=list)

    def add(self, layer: str, number: int, block: Block, size: int | None) -> None:
        widths = tuple(d.address for d in block.decisions)
        self.uses.append(Use(layer=layer, variant=number, widths=widths, size=size))
        found = [d.model_copy(update={"address": f"w{i}"}) for i, d in enumerate(block.decisions, 1)]
        self.widths = list(map(_joined, self.widths, found)) if self.widths else found

    def finished(self) -> Entry:
        return Entry(key=self.key, block=self.block, uses=tuple(self.uses), graph=self.graph, widths=tuple(self.widths))


def _joined(a: Decision, b: Decision) -> Decision:
    if a.domain == b.domain:
        return a
    return a.model_copy(update={"domain": Domain.of([*a.domain, *b.domain]), "ordered": a.ordered and b.ordered})


def targets_of(checked: Checked, only: str | None = None) -> tuple[Target, ...]:
    """The file's `target` sections, or the one called `only`. Raises `NascError` where there is none of that name."""
    sections = {section.name: section for section in checked.module.targets}
    if only is not None and only not in sections:
        known = ", ".join(sections) or "none"
        raise NascError(
            f"the file has no target `{only}`", help=did_you_mean(only, sections) or f"its targets: {known}"
        )
    found: list[Target] = []
    for name, section in sections.items():
        options = read_section(section, Diagnostics())
        if only in (None, name) and isinstance(options, TargetOptions):
            found.append(Target(name=name, **options.model_dump()))
    return tuple(found)
