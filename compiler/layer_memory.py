"""Layers that earlier checks of a text have built: an editor checks it at every keystroke, which changes few of them.

A layer is known again by values alone: its text, all text that it can refer to, the tensors that come in, and what was
known of the shared decisions it looked at. What building it told besides is told again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from nasc.compiler.domain import Domain
from nasc.compiler.expr import Rational
from nasc.compiler.ir import Tensor, Variant
from nasc.compiler.layers import Header, LayerText
from nasc.compiler.paths import Cell, Shared
from nasc.compiler.trellis import State
from nasc.compiler.values import Bound
from nasc.compiler.world import World
from nasc.dsl import syntax
from nasc.dsl.walk import walk

MOST = 2048
"""Layers that are kept: the largest shipped space has 1,300, most have 30."""

Key = tuple[object, ...]
Declared = dict[str, tuple[Domain, bool]]
Intervals = dict[str, tuple[Rational, Rational]]


@dataclass(frozen=True, eq=False)
class Built:
    """What one layer can become from one state: variants with what comes out, and the shared decisions each takes."""

    results: tuple[tuple[Variant, Tensor], ...]
    taken: tuple[frozenset[str], ...]


@dataclass(frozen=True, eq=False)
class Made:
    """A layer that was built, and what that told besides.

    `reads` are the shared decisions that it looked at, `split` those of them that have cells; `declared` shared
    decisions with their domains, and whether these are ordered; `used` the given values that were looked at (by `id`).
    """

    built: Built
    reads: Mapping[str, Cell | None]
    split: frozenset[str]
    declared: Declared
    bounds: Intervals
    used: frozenset[int]
    steps: int


@dataclass(eq=False)
class LayerMemory:
    """What was built, each layer with the places of the given values that were looked at; all of it is forgotten when
    it has become too much."""

    kept: dict[Key, list[tuple[Made, frozenset[int]]]] = field(default_factory=dict)
    count: int = 0

    def keep(self, key: Key, made: Made, places: frozenset[int]) -> None:
        if self.count >= MOST:
            self.kept.clear()
            self.count = 0
        self.kept.setdefault(key, []).append((made, places))
        self.count += 1


class Recall:
    """A memory as the check of one text uses it."""

    def __init__(self, memory: LayerMemory, world: World, header: Header) -> None:
        self.memory = memory
        self.world = world
        lets = tuple(let.value for let in header.lets.values())
        self.context = _digest(world, header)
        self.common = _properties((header.sites, lets))

    def find(self, text: LayerText, state: State, shared: Shared, split: Iterable[str]) -> Made | None:
        """A layer that was built from the same; what it looked at is noted as if it were built now."""
        for made, places in self.memory.kept.get(self._key(text, state), ()):
            same = all(shared.get(a) == c for a, c in made.reads.items())
            if same and made.split == made.reads.keys() & split:
                properties = self._properties(text)
                self.world.used.update(id(properties[place]) for place in places)
                self.world.steps += made.steps
                return made
        return None

    def keep(self, text: LayerText, state: State, made: Made) -> None:
        """Keep what was built."""
        places = frozenset(i for i, p in enumerate(self._properties(text)) if id(p) in made.used)
        self.memory.keep(self._key(text, state), made, places)

    def _key(self, text: LayerText, state: State) -> Key:
        given = tuple((name, _written(b.value), b.address, b.of_stage) for name, b in text.given.items())
        width = text.width and (_written(text.width.value), text.width.address)
        return self.context, _written(text.callee), given, width, text.index == 1, state.tensors

    def _properties(self, text: LayerText) -> list[syntax.Property]:
        """Every value given to a layer, be it to a call within it, in the order of the text."""
        own = tuple(b.site for b in text.given.values() if b.site is not None)
        return [*_properties((own, text.callee, text.width and text.width.value)), *self.common]


def _properties(part: object) -> list[syntax.Property]:
    return [node for node in walk(part) if isinstance(node, syntax.Property)]


def _written(node: syntax.Node) -> str:
    return node.span.source.text[node.span.start : node.span.end]


def _digest(world: World, header: Header) -> bytes:
    """Of all that any layer may refer to: blocks, `let`s, defaults, and the space's own numbers."""

    def given(bounds: Mapping[str, Bound]) -> list[tuple[str, str]]:
        return [(name, _written(bound.value)) for name, bound in bounds.items()]

    parts = (
        [(name, _written(block)) for name, block in world.blocks.items()],
        [(name, _written(let)) for name, let in header.lets.items()],
        [(block, given(bounds)) for block, bounds in world.defaults.items()],
        (world.granularity, world.classes),
    )
    return blake2b(repr(parts).encode()).digest()
