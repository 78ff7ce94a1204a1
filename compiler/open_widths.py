"""The inner widths of a network's layers, read where they are used, and the ranges that open them again.

An inner width is a parameter that a block gives an operator as its width (`hidden` of `irb`, `mid` of `bottleneck`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from nasc.compiler.build import Builder
from nasc.compiler.decided_values import narrowed_value
from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.layer_builder import apply_layer, scope_of, tensor_ref
from nasc.compiler.layers import LayerText
from nasc.compiler.paths import Path
from nasc.compiler.substitution import Blocks
from nasc.compiler.trellis import State
from nasc.compiler.values import Instance, Value
from nasc.compiler.world import World
from nasc.dsl import syntax
from nasc.dsl.diagnostics import NascError, Span
from nasc.dsl.walk import mentions, walk

_SHARES = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*\.\.\s*(\d{1,6}(?:\.\d{1,6})?)")
DEPTH = 64
"""Blocks within blocks that are looked into."""


@dataclass(frozen=True)
class Opening:
    """How far a width is opened: from `low` to `high` times the width (low <= 1 <= high), on multiples of
    `granularity`."""

    low: Fraction = Fraction(1, 2)
    high: Fraction = Fraction(3, 2)
    granularity: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.low <= 1 <= self.high:
            raise NascError(
                f"widths cannot be opened from {self.low} to {self.high} times what they are",
                help="the range must hold 1: for example 0.5..1.5",
            )
        if self.granularity < 1:
            raise NascError(f"the granularity must be a whole number above 0, not {self.granularity}")

    def step(self, width: int, factor: int) -> int:
        """The coarsest grid with the width on it and every multiple of `factor` times the granularity."""
        return math.gcd(self.granularity * factor, width)

    def around(self, width: int, reach: Reach) -> Domain:
        """The widths to choose from: `width` is always one of them, and none is 0."""
        step = self.step(width, reach.factor)
        first = max(1, math.ceil(self.low * width / step)) * step if reach.narrower else width
        last = math.floor(self.high * width / step) * step if reach.wider else width
        return Domain.grid(first, last, step)

    def has_choice(self, width: int) -> bool:
        """Is there more to choose from than the width itself?"""
        return self.around(width, Reach()).size > 1


@dataclass(frozen=True)
class Wanted:
    """What is to be opened: of these stages and layers, these parameters. Without any, all are."""

    places: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()

    def place(self, address: str) -> bool:
        """Is something of a stage (`irb2`) or a layer (`irb2.3`) to be opened?"""
        return not self.places or address in self.places or address.split(".")[0] in self.places

    def parameter(self, name: str) -> bool:
        return not self.parameters or name in self.parameters


@dataclass(frozen=True)
class Reach:
    """How one width is opened: on a grid of so many times the granularity, to narrower and to wider ones."""

    factor: int = 1
    narrower: bool = True
    wider: bool = True


def parse_shares(text: str) -> tuple[Fraction, Fraction]:
    """The two ends of `0.5..1.5`. Raises `NascError` for anything else."""
    found = _SHARES.fullmatch(text.strip())
    if found is None:
        raise NascError(
            f"`{text}` is not a range of shares", help="for example 0.5..1.5: from half to half as much again"
        )
    return Fraction(found[1]), Fraction(found[2])


def range_of(domain: Domain, span: Span) -> syntax.Value:
    """A range as it is written, also one of two values."""
    return narrowed_value(Domain.grid(domain.first, domain.last, domain.step), span)


def width_parameters(block: syntax.Block, blocks: Blocks, depth: int = 0) -> frozenset[str]:
    """The parameters of a block that are the width of an operator in it, or of one in a block that it uses."""
    names = {p.name for p in block.parameters}
    found: set[str] = set()
    for node in walk(block.statements):
        match node:
            case syntax.Step(width=syntax.Reference(parts=(name,))):
                found.add(name)
            case syntax.Call(name=called) if called in blocks and called not in names and depth < DEPTH:
                found |= _passed_on(node, blocks[called], width_parameters(blocks[called], blocks, depth + 1))
    return frozenset(found & names)


def _passed_on(call: syntax.Call, block: syntax.Block, widths: frozenset[str]) -> set[str]:
    """The names that a call hands to the width parameters of its block."""
    names = [p.name for p in block.parameters]
    given = {a.name or (names[i] if i < len(names) else ""): a.value for i, a in enumerate(call.arguments)}
    given |= {p.name: p.value for p in call.properties}
    return {v.parts[0] for k, v in given.items() if k in widths and isinstance(v, syntax.Reference)}


class _Reader(Builder):
    """Builds one layer, and notes what the parameters of its block come out as where they are used."""

    def __init__(self, world: World, path: Path, call: syntax.Call) -> None:
        super().__init__(world, path)
        self.watched = call.span
        self.values: dict[str, Value] = {}
        self.instance_of: Instance | None = None

    def parameter(self, instance: Instance, name: str, span: Span) -> Value:
        value = super().parameter(instance, name, span)
        if instance.span is self.watched:
            self.instance_of = instance
            self.values[name] = value
        return value


def inner_widths(space: Space, text: LayerText, state: State) -> Mapping[str, int]:
    """The widths to open in a layer of a network, by parameter: those that are given, and those worked out from what
    the layer is given (`hidden` from `expand`, `reduce` from the arrow).

    What a block works out from another inner width (`dw` from `hidden`) or from its input stays so.
    """
    if not isinstance(text.callee, syntax.Call):
        return {}
    reader = _Reader(space.world, Path((), {}), text.callee)
    reader.first_layer = text.index == 1
    apply_layer(reader, text, tensor_ref("in", state.current), scope_of(space.header, state))
    if reader.instance_of is None:
        return {}
    block, given = reader.instance_of.block, reader.instance_of.given
    widths = width_parameters(block, space.world.blocks)
    values = {p.name: reader.values.get(p.name) for p in block.parameters if p.name in widths}
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int) and value > 0 and (name in given or _is_worked_out(block, name))
    }


def _is_worked_out(block: syntax.Block, name: str) -> bool:
    """Does a parameter's default come from a ratio or from the block's arrow?"""
    default = next(p.default for p in block.parameters if p.name == name)
    sources = {p.name for p in block.parameters if p.kind == "ratio"} | {block.width}
    return bool(mentions(default) & sources)
