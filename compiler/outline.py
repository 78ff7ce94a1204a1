"""A space as a list of its layers, for people: what each is built from, its shapes, and what is still open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from nasc.compiler.count import layer_factors
from nasc.compiler.domain import ENUMERABLE, Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Expr
from nasc.compiler.ir import Node, Tensor, Variant
from nasc.compiler.trellis import Slot, Trellis

LONGEST_NAME = 28


@dataclass(frozen=True)
class Row:
    """A layer: its address, block, the shapes that come in and out, what is open, and how many ways it has.

    `members` counts the ways to build this layer, and dropping it where it may be dropped.
    """

    layer: str
    block: str
    input: str
    output: str
    choices: str
    members: int
    skippable: bool

    def as_json(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return asdict(self)


def outline(space: Space) -> list[Row]:
    """The layers of a space in order, the head last."""
    trellis = space.trellis
    ways = {address: count + skip for address, count, skip in layer_factors(space)}
    return [_row(slot, trellis, ways[slot.address]) for slot in trellis.slots]


def _row(slot: Slot, trellis: Trellis, members: int) -> Row:
    built = [e for edges in slot.edges.values() for e in edges if e.kind == "build" and e.variant is not None]
    variants = list({id(e.variant): e.variant for e in built if e.variant is not None}.values())
    choices = [f"{name} {values}" for name, values in _open(variants)]
    if slot.skippable:
        choices.append("may be dropped")
    names = dict.fromkeys(_block_name(v) for v in variants) if slot.index else ["head"]
    return Row(
        layer=slot.address,
        block=" or ".join(names) or "nothing",
        input=_shapes((s.current for s in slot.edges if not s.done), trellis),
        output=_shapes((e.target.output_of(slot.stage) for e in built), trellis),
        choices=", ".join(choices),
        members=members,
        skippable=slot.skippable,
    )


def _block_name(variant: Variant) -> str:
    text = variant.chosen.get("of", variant.block) if variant.block == "one of" else variant.block
    name = text.split(" {")[0]
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _shapes(tensors: Iterable[Tensor], trellis: Trellis) -> str:
    texts = list(dict.fromkeys(_shape(tensor, trellis) for tensor in tensors))
    return " or ".join(texts) if len(texts) <= 2 else f"one of {len(texts)} shapes"


def _shape(tensor: Tensor, trellis: Trellis) -> str:
    if tensor.absent:
        return "nothing"
    if not isinstance(tensor.channels, Expr):
        return str(tensor)
    name = str(tensor.channels)
    decision = trellis.shared.get(name)
    width = f"({decision.domain})" if decision is not None else f"({name})"
    return str(tensor).replace(name, width, 1)


def _open(variants: list[Variant]) -> Iterator[tuple[str, str]]:
    """Every name that is not decided, with the values it can have in any variant."""
    chosen: dict[str, list[str]] = {}
    domains: dict[str, list[Domain]] = {}
    for variant in variants:
        for address, text in variant.chosen.items():
            chosen.setdefault(_name(address), []).append(text)
        for decision in variant.decisions:
            domains.setdefault(_name(decision.address), []).append(decision.domain)
        for node in variant.graph.nodes:
            if node.branches:
                chosen.setdefault(_name(str(node.attributes["address"])), []).extend(_branches(node))
    for name, texts in chosen.items():
        distinct = list(dict.fromkeys(texts))
        if len(distinct) > 1 and name not in domains:
            yield name, f"{{{', '.join(distinct)}}}"
    for name, found in domains.items():
        yield name, str(_union(found))


def _name(address: str) -> str:
    """The parameter's name, without the place in a choice (`1.se`) that only tells alternatives apart."""
    return ".".join(part for part in address.split(".") if not part.isdigit()) or address


def _branches(node: Node) -> list[str]:
    return [branch.name for branch in node.branches]


def _union(domains: list[Domain]) -> Domain:
    first = domains[0]
    if all(d == first for d in domains) or any(d.size > ENUMERABLE for d in domains):
        return first
    return Domain.of([value for domain in domains for value in domain])
