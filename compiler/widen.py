"""A network's widths opened again: its file as a space around it, for a search that goes on from where one ended.

Every inner width becomes a range around it. Where that is impossible (channels in groups of 16) coarser grids are
tried, and what cannot be opened at all stays as it is, with a note.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from nasc.compiler.contains import contains
from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space, elaborate
from nasc.compiler.idle import without_idle, without_unused_lets
from nasc.compiler.open_arrows import arrow_groups, with_arrows
from nasc.compiler.open_layers import LayerOpener, Plan
from nasc.compiler.open_widths import Opening, Reach, Wanted, width_parameters
from nasc.compiler.opened import Checked, space_of
from nasc.compiler.splice import spliced
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, NascError, did_you_mean
from nasc.dsl.walk import mentions

SHOWN = 3
"""Widths that a note names."""
COARSEST = 4096
"""Times the granularity: the last grid that is tried."""


class _Verdict(Enum):
    """Whether a plan makes a space, and one that holds the network."""

    RIGHT = "right"
    WRONG = "wrong"
    APART = "apart"


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

    `only` are stages (`irb2`, `head`) and layers (`irb2.3`) to open, and the parameters (`hidden`) to open in them;
    without any, all are. `note` is a comment at the top of the text. Raises `NascError` for a file of more members than
    one, and for what it does not have.
    """
    space = space_of(checked)
    members = count_members(space)
    if members != 1:
        raise NascError(
            f"`{space.name}` has {members:,} members, and only a single network is widened",
            help="`nasc sample` draws one; what a search found is RUN/best.nas",
        )
    return _Widening(checked, space, opening, _wanted(space, only), outputs).widened(note)


def _wanted(space: Space, only: Sequence[str]) -> Wanted:
    """Names of stages, layers and parameters, sorted; a stage goes before a parameter of its name."""
    places = {name for slot in space.trellis.slots for name in (slot.stage, slot.address)}
    places |= {"head"} if space.header.head is not None else set()
    blocks = space.world.blocks
    used = [blocks[name] for name in mentions(space.syntax) & blocks.keys()]
    parameters = frozenset[str]().union(*(width_parameters(block, blocks) for block in used))
    known = [*sorted(places), *sorted(parameters)]
    for name in only:
        if name not in known:
            raise NascError(
                f"`{space.name}` has no stage, layer or inner width `{name}`", help=did_you_mean(name, known)
            )
    return Wanted(frozenset(only) & places, frozenset(only) - places)


class _Widening:
    """Finds a plan that makes a space around the network, and writes it."""

    def __init__(self, checked: Checked, space: Space, opening: Opening, wanted: Wanted, outputs: bool) -> None:
        self.module = checked.module
        self.space = space
        self.opening = opening
        self.layers = LayerOpener(space, opening, wanted)
        groups = arrow_groups(space, wanted.place) if outputs else []
        self.groups = {group.address: group for group in groups if opening.has_choice(group.width)}
        arrows = [{address: (group.width,)} for address, group in self.groups.items()]
        self.parts: list[Mapping[str, tuple[int, ...]]] = [*self.layers.parts(), *arrows]
        self.widths = {address: widths for part in self.parts for address, widths in part.items()}
        self.known = contains(space, space).yes
        """Whether inclusion can be told at all of such a network."""
        self.stuck: list[str] = []
        """What cannot be opened."""
        self.notes: list[str] = []

    def widened(self, note: str) -> Widened:
        plan = self._plan()
        self._note("cannot be opened here and stays as it is", self.stuck)
        if not plan:
            self.notes.append("nothing is opened: there is no inner width with more than one value in its range")
            items, network = self.space.syntax.items, self.space.syntax.network
        else:
            self._note_grids(plan)
            file = without_idle(replace(self.module.file, items=(self._space(plan),)), self.module.blocks)
            (made,) = (item for item in file.items if isinstance(item, syntax.Space))
            items, network = without_unused_lets(made.items), False
        opened = sum(len(self.widths[address]) for address in plan)
        return Widened(spliced(self.module, items, network, note if plan else ""), opened, tuple(self.notes))

    def _space(self, plan: Plan) -> syntax.Space:
        """The space that a plan makes, with what has no effect in it."""
        items: list[syntax.SpaceItem] = []
        for item in self.space.syntax.items:
            match item:
                case syntax.Stage():
                    items.append(self.layers.stage(item, plan))
                case syntax.Head():
                    items.append(self.layers.head(item, plan))
                case _:
                    items.append(item)
        arrows = {group: plan[address] for address, group in self.groups.items() if address in plan}
        items = with_arrows(items, arrows, self.opening)
        return replace(self.space.syntax, network=False, items=tuple(items))

    # --------------------------------------------------------------------------------------------- the plan

    def _plan(self) -> Plan:
        """Everything on its finest grid, or else as much as makes a space, one part after another."""
        everything = dict.fromkeys(self.widths, Reach())
        if self._verdict(everything) is _Verdict.RIGHT:
            return everything
        plan: Plan = {}
        for part in self.parts:
            plan = self._with_part(plan, tuple(part))
        return plan

    def _with_part(self, plan: Plan, addresses: Sequence[str]) -> Plan:
        """A plan with more widths opened: alike if that is possible, else each as far as it goes."""
        made = {**plan, **dict.fromkeys(addresses, Reach())}
        verdict = self._verdict(made)
        if verdict is _Verdict.RIGHT:
            return made
        others = [Reach(narrower=False), Reach(wider=False)]
        for reach in [*(self._coarser(addresses) if verdict is _Verdict.WRONG else ()), *others]:
            made = {**plan, **dict.fromkeys(addresses, reach)}
            if self._has_choice(addresses, reach) and self._verdict(made) is _Verdict.RIGHT:
                return made
        if len(addresses) == 1:
            self.stuck.append(_words(addresses[0]))
        for address in addresses if len(addresses) > 1 else ():
            plan = self._with_part(plan, (address,))
        return plan

    def _verdict(self, plan: Plan) -> _Verdict:
        diagnostics = Diagnostics()
        space = elaborate(self._space(plan), self.module.blocks, diagnostics)
        if space is None or diagnostics.errors:
            return _Verdict.WRONG
        yes = contains(space, self.space).yes
        return _Verdict.RIGHT if yes or (yes is None and not self.known) else _Verdict.APART

    def _has_choice(self, addresses: Sequence[str], reach: Reach) -> bool:
        widths = (width for address in addresses for width in self.widths[address])
        return any(self.opening.around(width, reach).size > 1 for width in widths)

    def _coarser(self, addresses: Sequence[str]) -> Iterator[Reach]:
        """Coarser grids, the finest first."""
        widths = [width for address in addresses for width in self.widths[address]]
        seen = {tuple(self.opening.step(width, 1) for width in widths)}
        for factor in range(2, min(max(widths) // self.opening.granularity, COARSEST) + 2):
            steps = tuple(self.opening.step(width, factor) for width in widths)
            if steps not in seen:
                seen.add(steps)
                yield Reach(factor)

    # --------------------------------------------------------------------------------------------- notes

    def _note_grids(self, plan: Plan) -> None:
        """Say where the grid is not the granularity, and where a width is opened to one side only."""
        grid = self.opening.granularity
        every = [
            (address, width, self.opening.step(width, reach.factor), reach)
            for address, reach in plan.items()
            for width in self.widths[address]
        ]
        finer = [f"{a} ({w}, step {s})" for a, w, s, _ in every if s % grid]
        coarser = [f"{a} ({w}, step {s})" for a, w, s, _ in every if s > grid]
        one_sided = [f"{a} ({w})" for a, w, _, reach in every if not (reach.narrower and reach.wider)]
        self._note(f"no multiples of {grid}, so that their steps are smaller", finer)
        self._note(f"with steps above {grid}, as their blocks need", coarser)
        self._note("opened to one side only, as both sides make no space around the network", one_sided)

    def _note(self, words: str, there: Sequence[str]) -> None:
        if there:
            more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
            self.notes.append(f"{words}: {', '.join(there[:SHOWN])}{more}")


def _words(address: str) -> str:
    stage, _, last = address.rpartition(".")
    return f"what is written inside the operators of {stage}" if last == "*" else address
