"""Algorithm 1 of PruNet: how the two masks of a Prunode move over the widths that may be chosen."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MaskSettings:
    """Algorithm 1's constants; the defaults are the printed ones."""

    small: float = 0.5
    large: float = 1.0
    c: float = 0.8
    max_distance: float = 0.6
    momentum: float = 0.4


class Masks:
    """The masks of one Prunode: `s` and `l` as parts of the largest width, `small` and `large` as widths of the grid.

    The paper's grid is granularity, 2 granularity, …, max_channels; here it is any ascending list of at least two
    widths. On the paper's the two agree: `clip(…, granularity, max_channels - granularity)` is the first width up to
    the last but one, `small_mask + granularity` the next width after the small one.
    """

    def __init__(self, widths: Sequence[int], settings: MaskSettings | None = None) -> None:
        if len(widths) < 2:
            raise ValueError("a Prunode needs two widths")
        self.widths = tuple(widths)
        self.settings = settings or MaskSettings()
        self.s, self.l, self.update = self.settings.small, self.settings.large, 0.0
        self._place()

    @property
    def granularity(self) -> int:
        """The smallest step between two widths."""
        return min(b - a for a, b in zip(self.widths, self.widths[1:], strict=False))

    @property
    def moving(self) -> bool:
        """Are the masks, not rounded, still further apart than the granularity?"""
        return (self.l - self.s) * self.widths[-1] > self.granularity

    def step(self, weight: float, progress: float) -> float:
        """`update_masks(progress)` for the architecture weight, progress from 0 to 1; returns the weight after it."""
        if not self.moving:
            return weight
        k = self.settings
        self.update = self.update * k.momentum + weight
        distance = k.max_distance * (1.0 - progress) ** 2
        self.s += self.update
        if self.s > 0:
            weight = 0.0
            self.s = min(self.s, 1.0 - k.c * distance)
        else:
            self.s = 0.0
        self.l = self.s + distance
        self._place()
        return weight

    def _place(self) -> None:
        """`create_masks`: both on the grid, the large one above the small one."""
        last = len(self.widths) - 1
        small = min(self._nearest(self.s), last - 1)
        large = max(self._nearest(self.l), small + 1)
        self.small, self.large = self.widths[small], self.widths[large]

    def _nearest(self, part: float) -> int:
        """The place in the grid nearest to a part of the largest width; of two as near, the upper."""
        wanted = part * self.widths[-1]
        after = bisect_left(self.widths, wanted)
        if after in (0, len(self.widths)):
            return min(after, len(self.widths) - 1)
        return after if self.widths[after] - wanted <= wanted - self.widths[after - 1] else after - 1

    def state(self) -> dict[str, float]:
        """All that moves, as plain numbers."""
        return {"s": self.s, "l": self.l, "update": self.update}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state()`. Raises `ValueError` for anything else."""
        values = {name: float(state[name]) for name in ("s", "l", "update")}
        if not all(map(math.isfinite, values.values())):
            raise ValueError("masks that are not finite")
        self.s, self.l, self.update = values["s"], values["l"], values["update"]
        self._place()
