"""The widths of a network's stages written as ranges: those that residuals and joins tie stay one decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from nasc.compiler.elaborate import Space
from nasc.compiler.open_widths import Opening, Reach, range_of
from nasc.dsl import syntax
from nasc.dsl.walk import mentions


@dataclass(frozen=True)
class Group:
    """Stages of one width, in order."""

    stages: tuple[str, ...]
    width: int

    @property
    def address(self) -> str:
        return f"{self.stages[0]}.width"


def arrow_groups(space: Space, wants: Callable[[str], bool]) -> list[Group]:
    """The stages whose arrows can be opened, those tied to one another together.

    A stage is tied to the one whose output it takes in where its first layer may add the two (equal shapes), and to
    one that it names where their widths are equal.
    """
    made = _Tying(space)
    for stage in space.header.stages:
        made.add(stage)
    roots = dict.fromkeys(made.root(name) for name in made.widths)
    groups = [tuple(name for name in made.widths if made.root(name) == root) for root in roots]
    return [Group(names, made.widths[names[0]]) for names in groups if all(map(wants, names))]


class _Tying:
    """Goes through the stages, and joins those that are tied."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.inputs = {slot.address: next(iter(slot.edges)).current for slot in space.trellis.slots}
        self.outputs = {slot.address: next(iter(slot.edges.values()))[-1].target for slot in space.trellis.slots}
        self.layers: dict[str, list[str]] = {}
        for slot in space.trellis.slots:
            self.layers.setdefault(slot.stage, []).append(slot.address)
        self.widths: dict[str, int] = {}
        self.above: dict[str, str] = {}
        self.owner: dict[str, str | None] = {}
        """The stage whose arrow decides the channels that come out of a stage."""
        self.last: str | None = None

    def root(self, name: str) -> str:
        while name in self.above:
            name = self.above[name]
        return name

    def add(self, stage: syntax.Stage) -> None:
        feeding = self.owner.get(stage.source) if stage.source else self.last
        first, last = self.layers[stage.name][0], self.layers[stage.name][-1]
        came, went = self.inputs[first], self.outputs[first].output_of(stage.name)
        width = self.outputs[last].output_of(stage.name).channels
        own = stage.width is not None and not any(row.width is not None for row in stage.rows)
        if own and isinstance(width, int) and width > 0:
            self.widths[stage.name] = width
            if came == went:
                self._tie(stage.name, feeding)
            for name in sorted(mentions(stage) & self.owner.keys()):
                if self._width_of(self.owner[name]) == width:
                    self._tie(stage.name, self.owner[name])
        self.owner[stage.name] = self.last = stage.name if stage.width is not None or stage.rows else feeding

    def _width_of(self, name: str | None) -> int | None:
        return self.widths.get(name) if name is not None else None

    def _tie(self, name: str, other: str | None) -> None:
        if other in self.widths and self.root(name) != self.root(other):
            self.above[self.root(name)] = self.root(other)


def with_arrows(
    items: Sequence[syntax.SpaceItem], groups: Mapping[Group, Reach], opening: Opening
) -> list[syntax.SpaceItem]:
    """The items of a space with the arrows of these groups opened."""
    widths: dict[str, syntax.Value] = {}
    lets: list[syntax.Let] = []
    taken = mentions(tuple(items)) | {i.name for i in items if isinstance(i, syntax.Let | syntax.Stage)}
    for group, reach in groups.items():
        stages = [i for i in items if isinstance(i, syntax.Stage) and i.name in group.stages]
        span = stages[0].span
        value = range_of(opening.around(group.width, reach), span)
        if len(stages) > 1:
            name = f"{group.stages[0]}_width"
            while name in taken:
                name += "_"
            lets.append(syntax.Let(span=span, name=name, value=value))
            value = syntax.Reference(span=span, parts=(name,))
        widths |= dict.fromkeys(group.stages, value)
    made = [replace(i, width=widths[i.name]) if isinstance(i, syntax.Stage) and i.name in widths else i for i in items]
    place = next(n for n, i in enumerate(made) if isinstance(i, syntax.Stage | syntax.Head))
    return [*made[:place], *lets, *made[place:]]
