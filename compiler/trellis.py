"""A space as a layered graph of states: every member is one path through it.

A state says what the rest of the network can see of what came before: the shapes of the tensors still needed (or that
they are absent), and the shared decisions that had to be split. Nearly every space has one state per place; then the
trellis is just its list of layers. Counting, costing, sampling all walk it, linearly in its size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nasc.compiler.domain import Domain
from nasc.compiler.ir import Decision, Tensor, Variant
from nasc.compiler.paths import Cell


@dataclass(frozen=True)
class State:
    """What can be seen at a place. `tensors` has "" for the layer before; `done` means that the stage's depth is
    reached; `taken` are the shared decisions already made (with a `?`: only asked about)."""

    tensors: tuple[tuple[str, Tensor], ...]
    cells: tuple[tuple[str, Cell], ...] = ()
    taken: frozenset[str] = frozenset()
    done: bool = False

    @property
    def current(self) -> Tensor:
        return dict(self.tensors)[""]

    def output_of(self, stage: str) -> Tensor:
        """What came out of the stage just left, which the next one need not start from; else what is at hand."""
        return dict(self.tensors).get(stage, self.current)


@dataclass(frozen=True, eq=False)
class Edge:
    """One way on from a state: build a variant, drop the layer, stop the stage here, or pass (it has stopped before).

    `out` names the opaque size that stands for the width that comes out, where its variants differ in it.
    `newly` are the shared decisions that this edge is the first to take.
    """

    kind: str
    source: State
    target: State
    variant: Variant | None = None
    out: str | None = None
    newly: tuple[str, ...] = ()


@dataclass(eq=False)
class Slot:
    """A layer's place: `stage` and `index` (from 1), or the head (`index` 0)."""

    address: str
    stage: str
    index: int
    edges: dict[State, list[Edge]] = field(default_factory=dict)
    skippable: bool = False


@dataclass(eq=False)
class Trellis:
    """All slots in order, the first states, and the shared decisions' full domains."""

    slots: list[Slot]
    starts: list[State]
    shared: dict[str, Decision]
    depths: dict[str, Domain]
    partitions: dict[str, tuple[Cell, ...]]
    features: frozenset[str] = frozenset()
    """The stages that come out, where it is not the last one alone."""

    def final(self, state: State) -> bool:
        """Does a path that ends here build a network, with everything that must come out?"""
        if any(tensor.absent for name, tensor in state.tensors if name in (self.features or {""})):
            return False
        for address, cell in state.cells:
            if not {address, f"?{address}"} & state.taken and cell != self.partitions[address][0]:
                return False
        return True
