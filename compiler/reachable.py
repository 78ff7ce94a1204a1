"""The networks that a search can still reach, written as a `.nas` file: the space, with what is gone left out.

A layer of which nothing is gone stays as the space has it. Of any other, each candidate left is written with what is
decided in it, and candidates that differ in one value only are put together into a set. Dropped layers keep their
places (`layer 4 identity`). Decisions shared by layers (`let`, a stage's arrow) stay open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

from nasc.compiler.build import Builder
from nasc.compiler.build_manifest import layers_of
from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Rational
from nasc.compiler.idle import without_idle, without_unused_lets
from nasc.compiler.ir import Layer, Network, Variant
from nasc.compiler.layer_lines import Alternative, Line, gathered, merged_alternatives, merged_steps, word
from nasc.compiler.layer_writer import LayerWriter
from nasc.compiler.layers import LayerText, layer_texts
from nasc.compiler.member import used_blocks
from nasc.compiler.network import whole_network_of
from nasc.compiler.parts import by_layer, layer_address, whole_variant
from nasc.compiler.paths import NeedCells, Path
from nasc.compiler.primitives import NAMES
from nasc.compiler.substitution import Narrowed, Substitution
from nasc.compiler.values import Mistake, SpaceScope
from nasc.compiler.world import World
from nasc.dsl import syntax
from nasc.dsl.loader import Module, load


@dataclass(frozen=True)
class Open:
    """A candidate of a layer that is still there: the number of its variant, and what is decided in it.

    `values` maps an address to its value or to the `Domain` that is left of it; what is absent is as open as in the
    space.
    """

    variant: int
    values: Mapping[str, Rational | Domain]


@dataclass(frozen=True)
class Reachable:
    """What a search can still reach.

    `layers` maps an address (`irb2.4`, `head`) to the candidates left, no two of which share a network: none where the
    layer is dropped. A layer that is absent has all of its candidates. `droppable` are the layers with candidates that
    may still be dropped, of those that the space lets be dropped.
    """

    layers: Mapping[str, tuple[Open, ...]]
    droppable: frozenset[str]


def reachable_text(space: Space, network: Network, reachable: Reachable, module: Module, note: str = "") -> str:
    """A state of a search as the text of a `.nas` file; `network` is `network_of(space)`, `note` a comment at the top.

    What is written is a `space`, also where one member is left of one: `member_text` writes a found network. Raises
    `KeyError` for an address that is no layer, `DiagnosticError` for candidates that build no network.
    """
    from nasc.dsl.format import print_file

    written = _Writer(space, network, reachable).space_syntax()
    source = module.file.source
    file = syntax.File(span=module.file.span, source=source, version=1, items=(*used_blocks(written, module), written))
    # It is read anew, for the elaborator tells alternatives apart by their words in the text.
    again = load(source.name, print_file(file), NAMES)
    again.diagnostics.raise_errors()
    return print_file(replace(without_idle(again.file, again.blocks), source=source), note)


class _Writer:
    """Writes the items of one state."""

    def __init__(self, space: Space, network: Network, reachable: Reachable) -> None:
        self.space = space
        whole = whole_network_of(space)
        self.reachable = _of_layers(reachable, network, whole)
        self.layers = {layer.address: layer for layer in layers_of(whole)}
        unknown = (set(self.reachable.layers) | self.reachable.droppable) - self.layers.keys()
        if unknown:
            raise KeyError(min(unknown))
        chosen = {key for la in self.layers.values() for v in la.variants for key in v.chosen}
        lets = space.header.lets
        self.lets = {n: let for n, let in lets.items() if any(f"{key}.".startswith(f"@{n}.") for key in chosen)}
        self.tied = {n: let for n, let in lets.items() if n not in self.lets}
        self.writer = LayerWriter(space, self.lets)

    def space_syntax(self) -> syntax.Space:
        """The space with what is left of each layer."""
        items = [self._item(item) for item in self.space.syntax.items]
        return replace(self.space.syntax, items=without_unused_lets(items))

    def _item(self, item: syntax.SpaceItem) -> syntax.SpaceItem:
        match item:
            case syntax.Stage():
                return self._stage(item)
            case syntax.Head():
                return self._head(item)
        return item

    # --------------------------------------------------------------------------------------------- layers

    def _stage(self, stage: syntax.Stage) -> syntax.Stage:
        last = int(self.space.trellis.depths[stage.name].last)
        texts = layer_texts(stage, self.space.header, last, SpaceScope(self.space.header.lets, {}))
        skips = {t.index: self._skip(t) for t in texts if self._left(t.address) != ()}
        usual = skips[min(skips)] if len(set(skips.values())) == 1 else self._stage_skip(stage)
        lines = [self._line(text, skips.get(text.index, usual), usual) for text in texts]
        constant = self.writer.constant(stage)
        if usual != self.space.header.skip:
            constant["skip"] = word(usual, stage.span)
        return gathered(stage, lines, constant, self.space.world.blocks)

    def _left(self, address: str) -> tuple[Open, ...] | None:
        """A layer's candidates left; None where nothing of it is gone."""
        layer = self.layers[address]
        left = self.reachable.layers.get(address)
        return None if left is None or _is_whole(layer, left) else left

    def _skip(self, text: LayerText) -> str:
        layer = self.layers[text.address]
        return "no" if layer.skippable and text.address not in self.reachable.droppable else text.skip

    def _stage_skip(self, stage: syntax.Stage) -> str:
        given = next((p.value for p in stage.properties if p.name == "skip"), None)
        return given.parts[0] if isinstance(given, syntax.Reference) else self.space.header.skip

    def _line(self, text: LayerText, skip: str, usual: str) -> Line:
        left = self._left(text.address)
        if left == ():
            return Line(())
        if left is None and self._skip(text) != text.skip:
            left = tuple(Open(i, {}) for i in range(len(self.layers[text.address].variants)))
        if left is None:
            alternatives: tuple[Alternative, ...] = (self.writer.untouched(text),)
        else:
            made = [self.writer.alternative(text, self._substitution(text.address, o)) for o in left]
            alternatives = merged_alternatives(made)
        own_width = text.width is not None and text.width.address != f"@{text.stage}.width"
        width = text.width.value if text.width is not None and own_width else None
        return Line(alternatives, width, skip if skip != usual else "")

    def _substitution(self, address: str, candidate: Open) -> Substitution:
        layer = self.layers[address]
        known = _known(layer.variants[candidate.variant], candidate)
        channels = self.writer.channels(address)
        whole = _Whole(self.space, channels)
        return Substitution(self.space.world.blocks, self.lets, known, known, self.tied, whole, channels)

    # --------------------------------------------------------------------------------------------- the head

    def _head(self, head: syntax.Head) -> syntax.Head:
        left = self._left("head")
        if left is None:
            return head
        chains = [self.writer.head(head, self._substitution("head", candidate)) for candidate in left]
        return replace(head, steps=merged_steps(chains, head.span))


def _of_layers(reachable: Reachable, network: Network, whole: Network) -> Reachable:
    """What is left of whole layers, where a network's are divided into parts: every combination of theirs."""
    parts = {layer.address: layer for layer in layers_of(network)}
    layers = {layer.address: layer for layer in layers_of(whole)}
    found: dict[str, tuple[Open, ...]] = {}

    def part(name: str, candidate: Open) -> Variant:
        return parts[name].variants[candidate.variant]

    for address, left in by_layer(reachable.layers):
        names = [name for name in parts if layer_address(name) == address]
        if len(names) < 2:
            found[address] = left[0]
            continue
        found[address] = tuple(
            Open(
                whole_variant(layers[address], map(part, names, each)),
                {key: value for candidate in each for key, value in candidate.values.items()},
            )
            for each in product(*left)
        )
    return Reachable(found, reachable.droppable)


def _known(variant: Variant, candidate: Open) -> Narrowed:
    """What is known of a candidate's decisions: all that it takes are there, those still open with their domains."""
    return {**variant.chosen, **{d.address: candidate.values.get(d.address, d.domain) for d in variant.decisions}}


def _is_whole(layer: Layer, left: tuple[Open, ...]) -> bool:
    """Do the candidates left make up all that a layer was in the space?"""
    sizes = [0] * len(layer.variants)
    for candidate in left:
        sizes[candidate.variant] += _size(layer.variants[candidate.variant], candidate)
    return all(size == _size(v, Open(i, {})) for i, (size, v) in enumerate(zip(sizes, layer.variants, strict=True)))


def _size(variant: Variant, candidate: Open) -> int:
    size = 1
    for decision in variant.decisions:
        left = candidate.values.get(decision.address, decision.domain)
        size *= left.size if isinstance(left, Domain) else 1
    return size


@dataclass(frozen=True)
class _Whole:
    """What a range or an interval stands for at the space level, where the layer's input has so many channels."""

    space: Space
    channels: Rational | None

    def __call__(self, value: syntax.Value, is_ratio: bool) -> Domain | None:
        if not isinstance(value, syntax.Range | syntax.Interval) or (is_ratio and self.channels is None):
            return None
        world = World(self.space.world.blocks, self.space.world.granularity, self.space.world.classes)
        scope = SpaceScope(self.space.header.lets, {})
        try:
            return Builder(world, Path((), {})).domain(value, scope, self.channels if is_ratio else None)
        except (Mistake, NeedCells):
            return None
