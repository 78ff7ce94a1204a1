"""Alternatives of a layer that differ in a width only, as one alternative whose width is a decision.

FiGS, 3.3, "Removing redundant operators": the narrower convolution is the wider one with channels masked, so that only
the widest is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nasc.compiler.domain import Domain
from nasc.compiler.expr import Size, variable
from nasc.compiler.ir import Decision, Graph, Node, Tensor, Variant

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?(e-?[0-9]+)?|[0-9]+/[0-9]+")


@dataclass(frozen=True)
class Alternative:
    """A variant; `texts` has what the file says for the widths of decisions that are of several of its variants."""

    variant: Variant
    texts: Mapping[str, Mapping[int, str]] = field(default_factory=dict)


def merged_widths(variants: Sequence[Variant]) -> list[Alternative]:
    """The variants, those that differ in one number and thereby in one width as one; in their order."""
    left = [Alternative(variant) for variant in variants]
    for address in dict.fromkeys(key for variant in variants for key in variant.chosen):
        left = _merged_by(address, left)
    return left


def _merged_by(address: str, alternatives: Sequence[Alternative]) -> list[Alternative]:
    groups: dict[object, list[Alternative]] = {}
    for each in alternatives:
        others = {key: value for key, value in each.variant.chosen.items() if key != address}
        number = _NUMBER.fullmatch(each.variant.chosen.get(address, ""))
        key = (each.variant.block, tuple(sorted(others.items()))) if number else id(each)
        groups.setdefault(key, []).append(each)
    found: list[Alternative] = []
    for group in groups.values():
        together = _together(address, group) if len(group) > 1 else None
        found += group if together is None else [together]
    return found


def _together(address: str, group: Sequence[Alternative]) -> Alternative | None:
    """One alternative for all of them; None where they differ in more than one width."""
    variants = [each.variant for each in group]
    if any(v.decisions != variants[0].decisions or v.shared != variants[0].shared for v in variants):
        return None
    widths = _widths([v.graph for v in variants])
    if widths is None:
        return None
    order = sorted(range(len(widths)), key=lambda i: widths[i])
    widest = variants[order[-1]]
    decision = Decision(address=address, domain=Domain.of(widths), ordered=False)
    chosen = {key: value for key, value in widest.chosen.items() if key != address}
    graph = _opened(widest.graph, variants[order[0]].graph, variable(address))
    variant = widest.model_copy(update={"chosen": chosen, "decisions": (*widest.decisions, decision), "graph": graph})
    texts = {widths[i]: variants[i].chosen[address] for i in order}
    return replace(group[0], variant=variant, texts={**group[0].texts, address: texts})


def _widths(graphs: Sequence[Graph]) -> tuple[int, ...] | None:
    """The one width in which graphs of the same operators differ, in each of them."""
    first = graphs[0]
    if any(len(g.nodes) != len(first.nodes) or g.output != first.output or g.inputs != first.inputs for g in graphs):
        return None
    found: set[tuple[Size, ...]] = set()
    for nodes in zip(*(g.nodes for g in graphs), strict=True):
        if any(_without_width(node) != _without_width(nodes[0]) or node.branches for node in nodes):
            return None
        rows = [tuple(n.output.channels for n in nodes), tuple(n.attributes.get("groups", 1) for n in nodes)]
        found |= {row for row in rows if len(set(row)) > 1}
    if len(found) != 1:
        return None
    (row,) = found
    whole = tuple(width for width in row if isinstance(width, int))
    return whole if len(set(whole)) == len(graphs) else None


def _without_width(node: Node) -> object:
    attributes = {key: value for key, value in node.attributes.items() if key != "groups"}
    return node.name, node.op, node.inputs, attributes, node.output.with_channels(1)


def _opened(wide: Graph, narrow: Graph, width: Size) -> Graph:
    """The wider graph with a symbol where the narrower one has another width."""
    nodes = []
    for one, other in zip(wide.nodes, narrow.nodes, strict=True):
        output: Tensor = one.output
        if output.channels != other.output.channels:
            output = output.with_channels(width)
        attributes = dict(one.attributes)
        if attributes.get("groups") != other.attributes.get("groups"):
            attributes["groups"] = width
        nodes.append(one.model_copy(update={"output": output, "attributes": attributes}))
    return Graph(inputs=wide.inputs, nodes=tuple(nodes), output=wide.output)
