"""Nondeterminism: run a function once for every way its choices can fall.

The elaborator is written as if it built one network. Where it needs the value of an open choice it asks its `Path`,
which answers from the trail it was given and notes what else could have been answered; `explore` runs the function
again for each of those. So a decision that is never asked for is never made.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TypeVar

from nasc.compiler.domain import Domain
from nasc.compiler.expr import Rational

T = TypeVar("T")

MAX_PATHS = 2048


class TooManyPaths(Exception):
    """One layer has more than `MAX_PATHS` alternatives."""


class NeedCells(Exception):
    """A shared decision must be split before it is used: the elaboration starts again with these cells.

    A cell is a `Domain` of a numeric decision, or the index of an alternative.
    """

    def __init__(self, address: str, cells: tuple[Domain | int, ...]) -> None:
        super().__init__(address)
        self.address = address
        self.cells = cells


Cell = Domain | int
Shared = Mapping[str, Cell | tuple[Cell, ...]]
"""What is known of shared decisions: a cell, or all cells of one that has to be split before it is used."""


class Path:
    """One run's answers. `domains` holds what is left of each numeric decision, `chosen` each alternative taken."""

    def __init__(self, trail: Sequence[int], shared: Shared, parent: Path | None = None) -> None:
        self.trail = list(trail)
        self.widths: list[int] = []
        self.shared: Shared = shared if parent is None else parent.shared
        self.reads: set[str] = set() if parent is None else parent.reads
        self.parent = parent
        self.domains: dict[str, Domain] = {}
        self.ordered: dict[str, bool] = {}
        self.chosen: dict[str, str] = {}
        self.picked: dict[str, int] = {}
        self.splits: dict[str, Domain] = {}
        self.consulted: set[str] = set()  # decisions whose values were looked at, of those in `domains`
        self.steps = 0
        self.memo: MutableMapping[object, object] = {} if parent is None else ChainMap({}, parent.memo)

    def pick(self, address: str, count: int) -> int:
        """The index of the alternative taken at an address; the same address gets the same answer."""
        if address.startswith("@"):
            cell = self._cell(address)
            if not isinstance(cell, int):
                raise NeedCells(address, tuple(range(count)))
            return cell
        if address in self.picked:
            return self.picked[address]
        if self.parent is not None and address in self.parent.picked:
            return self.parent.picked[address]
        self.picked[address] = index = self._fork(count)
        return index

    def _fork(self, count: int) -> int:
        place = len(self.widths)
        if place == len(self.trail):
            self.trail.append(0)
        self.widths.append(count)
        return self.trail[place]

    def declare(self, address: str, domain: Domain, ordered: bool) -> None:
        """Make a numeric decision known; a shared one is narrowed to its cell."""
        if self.known(address):
            return
        self.ordered[address] = ordered
        if address.startswith("@"):
            cell = self._cell(address)
            domain = cell if isinstance(cell, Domain) else domain
        self.domains[address] = domain

    def _cell(self, address: str) -> Cell | None:
        self.reads.add(address)
        cell = self.shared.get(address)
        if isinstance(cell, tuple):
            raise NeedCells(address, cell)
        return cell

    def known(self, address: str) -> bool:
        return address in self.domains or (self.parent is not None and self.parent.known(address))

    def domain(self, address: str) -> Domain:
        if address in self.domains:
            return self.domains[address]
        if self.parent is not None:
            return self.parent.domain(address)
        cell = self._cell(address) if address.startswith("@") else None
        if not isinstance(cell, Domain):
            raise KeyError(address)
        return cell

    def bounds(self, address: str) -> tuple[Rational, Rational]:
        domain = self.domain(address)
        return domain.first, domain.last

    def consult(self, address: str) -> None:
        """Note that something depends on a decision's values, be it the same for all that are left."""
        if address in self.domains or self.parent is None:
            self.consulted.add(address)
        else:
            self.parent.consult(address)

    def split(self, address: str, parts: Sequence[Domain]) -> None:
        """Go on with one of these parts of a decision's domain."""
        if address.startswith("@"):
            raise NeedCells(address, tuple(parts))
        if address not in self.domains and self.parent is not None:
            self.parent.split(address, parts)
            return
        part = parts[self._fork(len(parts))] if len(parts) > 1 else parts[0]
        self.domains[address] = self.splits[address] = part

    def split_where(self, address: str, keep: Callable[[Rational], bool]) -> None:
        """Split a decision by a condition on its value."""
        parts = [p for p in self.domain(address).split(keep) if p is not None]
        if len(parts) > 1:
            self.split(address, parts)


def explore(
    run: Callable[[Path], T], shared: Shared, parent: Path | None = None, limit: int = MAX_PATHS
) -> list[tuple[Path, T]]:
    """Every path of `run`, in the order in which a person would list the alternatives."""
    found: list[tuple[Path, T]] = []
    waiting: list[list[int]] = [[]]
    while waiting:
        given = waiting.pop()
        path = Path(given, shared, parent)
        found.append((path, run(path)))
        if len(found) + len(waiting) > limit:
            raise TooManyPaths
        for place in range(len(given), len(path.widths)):
            waiting.extend([*path.trail[:place], other] for other in range(1, path.widths[place]))
    found.sort(key=lambda item: item[0].trail)
    return found
