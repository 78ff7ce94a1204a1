"""What networks cost that masks leave of the fullest one: expected while masks are drawn, and of given widths."""

from __future__ import annotations

from collections.abc import Mapping

from nasc.compiler.cost import cost_of
from nasc.compiler.expected import cost_formulas, kept_cost
from nasc.compiler.masks import MaskedNetwork
from nasc.compiler.methods.values import Cost
from nasc.runtime.costs import UNITS, require_reached
from nasc.runtime.expected_cost import ExpectedCost
from nasc.runtime.methods.figs_latency import latency_lines
from nasc.runtime.search_context import Context


def expected_cost(context: Context, masks: MaskedNetwork) -> tuple[ExpectedCost, str]:
    """The expected cost, and a word that tells it from others.

    Raises `NascError` where the table lacks a latency, and where no network meets the target.
    """
    names, most = list(masks.opens), [each.widths[-1] for each in masks.opens.values()]
    kind, target = context.options.cost, context.options.target
    if kind != "latency":
        if target is not None:
            least = cost_of(context.source.space)
            require_reached((least.macs if kind == "macs" else least.params).min, target, UNITS[kind])
        return ExpectedCost(names, most, cost_formulas(masks, kind)), kind
    fixed, lines, digest = latency_lines(context, masks)
    return ExpectedCost(names, most, (fixed,), lines), digest


def cost_of_widths(masks: MaskedNetwork, cost: ExpectedCost, kind: Cost, widths: Mapping[str, int]) -> float:
    """The cost of the network with these widths; a latency by the lines of the expected one."""
    return cost.of(widths) if kind == "latency" else kept_cost(masks, widths, kind)
