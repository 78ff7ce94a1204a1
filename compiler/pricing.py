"""What many members cost: parameters, multiply-accumulates and, where it is given, latency, priced all together.

`MemberCost` prices one member, layer by layer; here each variant of each layer is priced for all members that have it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasc.compiler.cost import Metric, graph_formula
from nasc.compiler.expr import Rational, Size
from nasc.compiler.pricing_codes import Codes, Coding
from nasc.compiler.pricing_formula import SAFE, Formula, Values, formula

Latency = Callable[[Codes], NDArray[np.float64]]


@dataclass(frozen=True)
class Prices:
    """What members cost, an array each: exact whole numbers (Python's where 64 bits may not do), microseconds."""

    params: Values
    macs: Values
    latency_us: NDArray[np.float64] | None = None


class Pricer:
    """Prices members of one network; `latency` is what predicts theirs (`nasc.runtime.pricing`)."""

    def __init__(self, coding: Coding, latency: Latency | None = None) -> None:
        self.coding, self.latency = coding, latency
        self._formulas: dict[Metric, list[list[Formula]]] = {}
        self._dtypes: dict[Metric, type] = {}

    def price(self, codes: Codes) -> Prices:
        """What each member costs. Raises what `latency` raises."""
        latency = None if self.latency is None else self.latency(codes)
        return Prices(self.cost(codes, "params"), self.cost(codes, "macs"), latency)

    def cost(self, codes: Codes, metric: Metric) -> Values:
        """Each member's parameters or multiply-accumulates."""
        if metric not in self._formulas:
            self._prepare(metric)
        total: Values = np.zeros(len(codes), dtype=self._dtypes[metric])
        for choices, formulas in zip(codes.choices, self._formulas[metric], strict=True):
            for variant, found in enumerate(formulas):
                which = np.flatnonzero(choices == variant)
                if len(which):
                    total[which] += found(codes.values[:, which]).astype(total.dtype)
        return total

    def _prepare(self, metric: Metric) -> None:
        """Work out the formulas of all variants, and whether their sums stay within 64 bits."""
        sizes: dict[int, Size] = {}
        total: Rational | float = 0
        self._formulas[metric] = []
        for number, layer in enumerate(self.coding.layers):
            rows = []
            for index, variant in enumerate(layer.variants):
                if id(variant.graph) not in sizes:  # equal layers share it
                    sizes[id(variant.graph)] = graph_formula(variant.graph, metric)
                columns = self.coding.shared | self.coding.own(number, index)
                rows.append(formula(sizes[id(variant.graph)], columns))
            total += max(most for _, most in rows)
            self._formulas[metric].append([found for found, _ in rows])
        self._dtypes[metric] = np.int64 if total < SAFE else object
