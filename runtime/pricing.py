"""The latencies of many members together from a table: `MemberLatency`, each block at each point looked up once."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from nasc.compiler.manifest import Entry
from nasc.compiler.pricing_codes import Codes, Coding
from nasc.compiler.pricing_formula import Lookup, Point
from nasc.runtime.member_latency import MemberLatency

Floats = NDArray[np.float64]


class TableLatency:
    """Predicts latencies of members of the network that `predict` and `coding` have."""

    def __init__(self, coding: Coding, predict: MemberLatency) -> None:
        self.coding, self.predict = coding, predict
        self._blocks = [
            (number, index, self._block(number, index))
            for number, layer in enumerate(coding.layers)
            for index in range(len(layer.variants))
            if (layer.address, index) in predict.entries
        ]

    def _block(self, layer: int, variant: int) -> Lookup:
        entry, widths = self.predict.entries[self.coding.layers[layer].address, variant]
        columns = self.coding.shared | self.coding.own(layer, variant)
        return Lookup([columns[name] for name in widths], partial(self._added, entry), np.float64)

    def _added(self, entry: Entry, point: Point) -> tuple[float, bool]:
        """What a block adds in microseconds (not a number where the table lacks it), and whether anything is left."""
        found = self.predict.latencies.find(entry, point)
        if found is None:
            return np.nan, True
        added = self.predict.calibration.block(found.us - self.predict.call_us)
        return (0.0, False) if found.empty else (added, True)

    def __call__(self, codes: Codes) -> Floats:
        """Each member's latency in microseconds. Raises `NascError` for a block without a latency."""
        total, blocks = np.zeros(len(codes)), np.zeros(len(codes))
        for layer, variant, block in self._blocks:
            which = np.flatnonzero(codes.choices[layer] == variant)
            if len(which):
                added = block(codes.values[:, which])
                total[which] += added[:, 0]
                blocks[which] += added[:, 1]
        missing = np.flatnonzero(np.isnan(total))
        if len(missing):
            self.predict(self.coding.members(codes.take(missing[:1]))[0])  # says which, and how to measure them
        return np.where(blocks > 0, self.predict.call_us + total, 0.0)
