"""Members drawn uniformly within bounds of what they cost, by rejection: many are drawn and priced together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nasc.compiler.cost import Metric
from nasc.compiler.elaborate import Space
from nasc.compiler.member import Member
from nasc.compiler.network import network_of
from nasc.compiler.pricing import Pricer
from nasc.compiler.pricing_codes import Codes, Coding
from nasc.compiler.pricing_formula import Values
from nasc.compiler.pricing_sample import CodeSampler, draw_where
from nasc.runtime.bounds import Bounds
from nasc.runtime.member_latency import MemberLatency
from nasc.runtime.pricing import TableLatency


def sample_within(
    space: Space,
    count: int,
    seed: int,
    costs: Mapping[Metric, Bounds],
    latency: tuple[MemberLatency, Bounds] | None = None,
    *,
    attempts: int,
) -> list[Member]:
    """Draw `count` members whose costs, and predicted latency in microseconds, lie within bounds.

    Raises `DiagnosticError` for a space without a network, `NascError` where fewer than `count` of `attempts` draws
    meet the bounds, and for a block without a latency in a member whose other costs do.
    """
    coding = Coding(network_of(space))
    pricer = Pricer(coding)
    predict = None if latency is None else TableLatency(coding, latency[0])

    def accept(codes: Codes) -> NDArray[np.bool_]:
        met = np.ones(len(codes), dtype=np.bool_)
        for metric, bounds in costs.items():
            met &= _within(pricer.cost(codes, metric), bounds)
        if predict is not None and latency is not None:
            left = np.flatnonzero(met)
            met[left] = _within(predict(codes.take(left)), latency[1])
        return met

    return coding.members(draw_where(CodeSampler(space, coding), accept, count, seed, attempts))


def _within(prices: Values, bounds: Bounds) -> NDArray[np.bool_]:
    return np.asarray((prices >= bounds.low) & (prices <= bounds.high), dtype=np.bool_)
