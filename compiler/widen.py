"""A network's widths opened again: its file as a space around it, for a search that goes on from where one ended.

Every inner width becomes a range around it. Where that is impossible (channels in groups of 16) coarser grids are
tried, and what cannot be opened at all stays as it is, with a note.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space, elaborate
from nasc.compiler.idle import without_idle, without_unused_lets
from nasc.compiler.open_arrows import Group, arrow_groups, with_arrows
from nasc.compiler.open_layers import WRITTEN, Key, LayerOpener
from nasc.compiler.open_widths import Opening
from nasc.compiler.opened import Checked, space_of
from nasc.compiler.splice import spliced
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, NascError, did_you_mean

SHOWN = 3
"""Widths that a note names."""


@dataclass(frozen=True)
class Widened:
    """The text of the space, how many decisions it opens, and what is worth saying of it."""

    text: str
    opened: int
    notes: tuple[str, ...]


def widen(
    checked: Checked, opening: Opening, only: Sequence[str] = (), outputs: bool = False, note: str = ""
) -> Widened:
    """Open the inner widths of a file's network, and with `outputs` the widths of its stages.

    `only` are stages (`irb2`, `head`) and layers (`irb2.3`) to open; without any, all are. `note` is a comment at the
    top of the text. Raises `NascError` for a file of more members than one, and for stages or layers it does not have.
    """
    space = space_of(checked)
    members = count_members(space)
    if members != 1:
        raise NascError(
            f"`{space.name}` has {members:,} members, and only a single network is widened",
            help="`nasc sample` draws one; what a search found is RUN/best.nas",
        )
    _require_known(space, only)
    return _Widening(checked, space, opening, frozenset(only), outputs).widened(note)


def _require_known(space: Space, only: Sequence[str]) -> None:
    slots = space.trellis.slots
    known = dict.fromkeys([*(slot.stage for slot in slots), *(slot.address for slot in slots)])
    for name in only:
        if name not in known:
            raise NascError(f"`{space.name}` has no stage or layer `{name}`", help=did_you_mean(name, known))


@dataclass(frozen=True)
class _Plan:
    """What is opened, and how many times the granularity each grid is a multiple of."""

    inner: Mapping[Key, int]
    arrows: Mapping[Group, int]

    def with_(self, part: Key | Group, factor: int) -> _Plan:
        if isinstance(part, Group):
            return replace(self, arrows={**self.arrows, part: factor})
        return replace(self, inner={**self.inner, part: factor})


class _Widening:
    """Finds the plan that makes a space, and writes it."""

    def __init__(self, checked: Checked, space: Space, opening: Opening, only: frozenset[str], outputs: bool) -> None:
        self.module = checked.module
        self.space = space
        self.opening = opening
        self.only = only
        self.layers = LayerOpener(space, opening, self._wants)
        self.keys = self.layers.keys()
        groups = arrow_groups(space, self._wants) if outputs else []
        self.groups = [group for group in groups if opening.around(group.width).size > 1]
        self.notes: list[str] = []

    def _wants(self, address: str) -> bool:
        return not self.only or address in self.only or address.split(".")[0] in self.only

    def widened(self, note: str) -> Widened:
        plan = self._plan()
        widths = self._widths(plan)
        if not widths:
            self.notes.append("nothing is opened: no width has a range of more values than its own")
            return Widened(spliced(self.module, self.space.syntax.items, self.space.syntax.network, note), 0, self._said())
        self._note_grids(widths)
        made = self._space(plan)
        file = without_idle(replace(self.module.file, items=(made,)), self.module.blocks)
        (kept,) = (item for item in file.items if isinstance(item, syntax.Space))
        text = spliced(self.module, without_unused_lets(kept.items), False, note)
        return Widened(text, len(widths), self._said())

    def _said(self) -> tuple[str, ...]:
        return tuple(self.notes)

    def _space(self, plan: _Plan) -> syntax.Space:
        """The space that a plan makes, with what has no effect in it."""
        items: list[syntax.SpaceItem] = []
        for item in self.space.syntax.items:
            match item:
                case syntax.Stage():
                    items.append(self.layers.stage(item, plan.inner))
                case syntax.Head():
                    items.append(self.layers.head(item, plan.inner))
                case _:
                    items.append(item)
        items = with_arrows(items, plan.arrows, self.opening)
        return replace(self.space.syntax, network=False, items=tuple(items))

    # --------------------------------------------------------------------------------------------- the plan

    def _plan(self) -> _Plan:
        """Everything on its finest grid, or else as much as makes a space, one part after another."""
        everything = _Plan(dict.fromkeys(self.keys, 1), dict.fromkeys(self.groups, 1))
        if self._is_space(everything):
            return everything
        plan = _Plan({}, {})
        for part in (*self.keys, *self.groups):
            tried = (plan.with_(part, factor) for factor in self._factors(part))
            found = next((more for more in tried if self._is_space(more)), None)
            if found is None:
                self.notes.append(f"{self._words(part)} cannot be opened and stays as it is")
            plan = found or plan
        return plan

    def _is_space(self, plan: _Plan) -> bool:
        diagnostics = Diagnostics()
        return elaborate(self._space(plan), self.module.blocks, diagnostics) is not None and not diagnostics.errors

    def _factors(self, part: Key | Group) -> Iterator[int]:
        """Factors of the granularity that give different grids, finer ones first."""
        widths = (part.width,) if isinstance(part, Group) else tuple(self.keys[part].values())
        seen: set[tuple[int, ...]] = set()
        for factor in range(1, max(widths) // self.opening.granularity + 2):
            steps = tuple(self.opening.step(width, factor) for width in widths)
            if steps not in seen and any(self.opening.around(width, factor).size > 1 for width in widths):
                seen.add(steps)
                yield factor

    # --------------------------------------------------------------------------------------------- notes

    def _words(self, part: Key | Group) -> str:
        if isinstance(part, Group):
            return part.words
        stage, parameter = part
        return f"what is written inside the operators of `{stage}`" if parameter == WRITTEN else f"`{stage}.{parameter}`"

    def _widths(self, plan: _Plan) -> dict[str, tuple[int, int]]:
        """Each width that a plan opens, by address, with its step."""
        inner = {
            address: (width, self.opening.step(width, factor))
            for key, factor in plan.inner.items()
            for address, width in self.keys[key].items()
        }
        arrows = {
            f"{group.stages[0]}.width": (group.width, self.opening.step(group.width, factor))
            for group, factor in plan.arrows.items()
        }
        return {**inner, **arrows}

    def _note_grids(self, widths: Mapping[str, tuple[int, int]]) -> None:
        """Say where the grid is not the granularity."""
        grid = self.opening.granularity
        for words, there in (
            (f"no multiples of {grid}, so their grids are finer", [a for a, (_, s) in widths.items() if s % grid]),
            (f"possible on coarser grids than {grid} only", [a for a, (_, s) in widths.items() if s > grid]),
        ):
            shown = [f"{a} ({widths[a][0]}, step {widths[a][1]})" for a in there[:SHOWN]]
            if there:
                more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
                self.notes.append(f"{words}: {', '.join(shown)}{more}")
