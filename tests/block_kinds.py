"""Every kind of block of every shipped space: for each distinct structure its largest block, with all decisions made.

Two blocks have one structure when their operators, attributes and edges agree, whatever their channels and image sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nasc.compiler.build_manifest import manifest_of
from nasc.compiler.ir import Graph, Node
from nasc.compiler.manifest import Manifest
from nasc.compiler.member import member_text
from nasc.compiler.network import network_of
from nasc.compiler.sample import sample_members
from nasc.compiler.specialise import specialise
from nasc.dsl.diagnostics import DiagnosticError
from tests.spaces import NETWORKS, SPACES, elaborated, module_of

MEMBERS = 1
"""Members drawn of a space that cannot be compiled as a whole; their blocks stand for the space's."""
CHANNEL_COUNTS = {("slice", "start"), ("slice", "stop")}
NOT_MODELLED = {"bn": {"momentum"}, "dropout": {"rate"}}
"""Attributes that an inference model does not hold."""


@dataclass(frozen=True)
class Kind:
    """One structure: a name to show, the spaces that have it, and the block with the most weights and positions."""

    name: str
    spaces: tuple[str, ...]
    graph: Graph


@cache
def kinds() -> tuple[Kind, ...]:
    """Every structure of every shipped space, in the order in which it comes."""
    found: dict[tuple[object, ...], list[tuple[str, str, Graph]]] = {}
    for path in (*SPACES, *NETWORKS):
        for block, graph in blocks_of(path):
            found.setdefault(structure(graph), []).append((path.stem, block, graph))
    return tuple(_kind(same) for same in found.values())


def _kind(same: list[tuple[str, str, Graph]]) -> Kind:
    space, block, graph = max(same, key=lambda found: sum(t.channels * t.positions for t in found[2].shapes.values()))
    return Kind(f"{space}:{block}", tuple(dict.fromkeys(name for name, _, _ in same)), graph)


def blocks_of(path: Path) -> Iterator[tuple[str, Graph]]:
    """The blocks of a space file at their largest widths."""
    for manifest in manifests_of(path):
        for entry in manifest.entries:
            graph = specialise(entry.graph, {w.address: w.domain.last for w in entry.widths})
            if graph.nodes:
                yield entry.block, graph


def manifests_of(path: Path) -> list[Manifest]:
    """The manifest of a space, or those of some of its members where it cannot be compiled as a whole."""
    module = module_of(path)
    space = elaborated(module)
    try:
        return [manifest_of(network_of(space))]
    except DiagnosticError as refused:
        assert "E0380" in str(refused)
    drawn = (member_text(space, member, module) for member in sample_members(space, MEMBERS, seed=0))
    return [manifest_of(network_of(elaborated(module_of(text, path.name)))) for text in drawn]


def structure(graph: Graph) -> tuple[object, ...]:
    """A graph without its sizes: for each node its operator, its attributes and where its inputs come from."""
    place = {name: i for i, name in enumerate(graph.shapes)}
    inputs = tuple(len(tensor.spatial) for tensor in graph.inputs.values())
    nodes = tuple((n.op, _attributes(n, graph), tuple(place[name] for name in n.inputs)) for n in graph.nodes)
    return inputs, nodes, place[graph.output]


def _attributes(node: Node, graph: Graph) -> tuple[tuple[str, object], ...]:
    kept = dict(node.attributes)
    for name in NOT_MODELLED.get(node.op, ()):
        kept.pop(name, None)
    for op, name in CHANNEL_COUNTS:
        if node.op == op:
            kept.pop(name, None)
    if node.op == "conv2d" and kept["groups"] == graph.tensor(node.inputs[0]).channels != 1:
        kept["groups"] = "depthwise"
    return tuple(sorted((name, str(value)) for name, value in kept.items()))
