"""Latencies for methods that mask channels: what each operator costs at each width, from the table that others use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nasc.compiler.full_layer import FullLayer, Open, Operator
from nasc.compiler.masks import MaskedNetwork
from nasc.compiler.methods.relax import RelaxedLayer, relax
from nasc.compiler.network import network_of
from nasc.dsl.diagnostics import DiagnosticError, NascError
from nasc.runtime.costs import Costs, missing_table, require_target
from nasc.runtime.expected_cost import Line, line_of
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.search_context import Context
from nasc.runtime.table import LatencyTable
from nasc.runtime.targets import target_costs

_HELP = "search for --cost macs or --cost params"


def latency_lines(context: Context, masks: MaskedNetwork) -> tuple[float, tuple[Line, ...], str]:
    """The latency (in microseconds) of all that is fixed, that of each operator by its width, and a word that tells
    these numbers from others.

    An operator's latency is linear between the widths of the table, and falls to 0 with one that may go. Raises
    `NascError` where the table lacks a latency, for a space whose blocks have several widths, and where no network
    meets the target.
    """
    path, options = context.settings.table, context.options
    if path is None:
        raise missing_table(context.job.folder)
    try:
        layers = relax(network_of(context.source.space))
    except (NascError, DiagnosticError) as error:
        raise NascError(f"latencies are of blocks with one width: {error}", help=_HELP) from None
    with LatencyTable(path, readonly=True) as table:
        costs = target_costs(layers, load_manifest(context.job.folder), table, options.targets)
    if costs.others:
        why = f"{context.method.about} cannot search for the worst of several targets"
        raise NascError(why, help="--targets sum, or one by its name")
    if options.target is not None:
        require_target(costs, layers, options.target)
    by_address = {layer.address: layer for layer in layers}
    lines = [line for full in masks.fullest.layers for line in _lines(full, by_address.get(full.address), costs)]
    return costs.fixed, tuple(lines), costs.digest


def _lines(full: FullLayer, relaxed: RelaxedLayer | None, costs: Costs) -> Iterator[Line]:
    """The latency of each operator of a layer."""
    if relaxed is None or relaxed.fixed:
        return
    prices = _prices(relaxed, costs)
    for operator in full.operators:
        if len(operator.opens) != 1:
            raise NascError(f"`{full.address}` has operators of several widths, or of none", help=_HELP)
        (each,) = operator.opens
        points = {width: _price(prices, operator, each, width, full.address) for width in each.widths if width}
        yield line_of(each.name, points, 0 in each.widths)


_Decisions = frozenset[tuple[str, str]]


def _prices(relaxed: RelaxedLayer, costs: Costs) -> dict[_Decisions, float]:
    """The latency of each way to decide a layer."""
    found: dict[_Decisions, float] = {}
    for number, candidate in enumerate(relaxed.candidates):
        chosen = relaxed.layer.variants[candidate.variant].chosen
        for width, price in costs.blocks[relaxed.address, number].items():
            own = {candidate.width: width} if candidate.width else {}
            found[_decisions({**chosen, **candidate.values, **own})] = price
    return found


def _price(prices: Mapping[_Decisions, float], operator: Operator, each: Open, width: int, address: str) -> float:
    decided = {} if each.presence else {each.address: each.texts.get(width, width)}
    found = prices.get(_decisions({**operator.chosen, **decided}))
    if found is None:
        what = f"{dict(operator.chosen)} at {width}"
        raise NascError(f"the table has no candidate of `{address}` that is {what}", help=_HELP)
    return found


def _decisions(values: Mapping[str, object]) -> _Decisions:
    return frozenset((name, str(value)) for name, value in values.items())
