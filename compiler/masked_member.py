"""From probabilities of channels to one network: its widths, the channels that it keeps, its text, its weights.

Where FiGS's text ends ("the floor of the summed probabilities", 3.2), this decides: the most probable channels stay;
a width is the largest that the space allows up to that floor; whether an operator without widths is there is rounded;
a layer of which nothing would be left keeps its most probable operator at its smallest.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nasc.compiler.full_layer import FullLayer, Open, Operator
from nasc.compiler.masks import MaskedLayer, MaskedNetwork
from nasc.compiler.member import Member, SideBySide
from nasc.compiler.specialise import AbsentOutput, specialise
from nasc.compiler.substitution import Decided
from nasc.compiler.vanishing import alive
from nasc.compiler.world import dotted

Probabilities = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Kept:
    """What is kept of each mask: how many channels, and all of its channels with the most probable first."""

    widths: Mapping[str, int]
    ranked: Mapping[str, tuple[int, ...]]


def keep(masked: MaskedNetwork, probabilities: Probabilities) -> Kept:
    """The network that probabilities stand for. Raises `KeyError` for a decision without any."""
    expected = {name: math.fsum(probabilities[name]) for name in masked.opens}
    found = {name: probabilities[name] for name in masked.opens}
    ranked = {name: tuple(sorted(range(len(row)), key=lambda i: (-row[i], i))) for name, row in found.items()}
    return Kept(kept_widths(masked, expected), ranked)


def kept_widths(masked: MaskedNetwork, expected: Mapping[str, float]) -> dict[str, int]:
    """The widths that expected widths (summed probabilities) stand for."""
    widths = {name: _width(each, expected[name]) for name, each in masked.opens.items()}
    for layer in masked.layers:
        _revive(layer, widths, expected)
    return widths


def _width(each: Open, expected: float) -> int:
    if each.presence:
        return int(expected >= 0.5)
    fitting = bisect_right(each.widths, math.floor(expected + 1e-9))
    return each.widths[max(0, fitting - 1)]


def _revive(layer: MaskedLayer, widths: dict[str, int], expected: Mapping[str, float]) -> None:
    """Give a layer of which nothing would be left an operator, the most probable one; in place."""
    own = [each for operator in layer.layer.operators for each in operator.opens if not widths[each.name]]
    if not own or _stands(layer, widths):
        return
    own.sort(key=lambda each: -expected[each.name] / each.widths[-1])
    least = {each.name: next(w for w in each.widths if w) for each in own}
    for each in own:
        if _stands(layer, {**widths, each.name: least[each.name]}):
            widths[each.name] = least[each.name]
            return
    for each in own:
        widths[each.name] = least[each.name]
        if _stands(layer, widths):
            return


def _stands(layer: MaskedLayer, widths: Mapping[str, int]) -> bool:
    graph = layer.layer.graph
    try:
        left = specialise(graph, widths)
    except (AbsentOutput, ZeroDivisionError):
        return False
    return not graph.nodes or layer.layer.may_go or bool(left.nodes)


# ------------------------------------------------------------------------------------------------- the member


def member_of(masked: MaskedNetwork, kept: Kept) -> Member:
    """The member with these widths."""
    layers: dict[str, Decided | None] = {}
    beside: dict[str, SideBySide] = {}
    for layer in masked.layers:
        address, left = layer.layer.address, alive(layer.layer.graph, kept.widths)
        there = _operators_there(layer, left)
        decided = tuple(_decided(each, kept.widths, left) for each in there)
        layers[address] = decided[0] if decided else None
        if len(decided) > 1:
            beside[address] = SideBySide(decided, any(each.merged for each in layer.layer.operators))
    shared = {each.name: kept.widths[each.name] for each in masked.fullest.shared}
    return Member(layers, shared, beside)


def operators_left(masked: MaskedNetwork, widths: Mapping[str, int]) -> int:
    """How many of the layers' operators the network with these widths has."""
    return sum(len(_operators_there(layer, alive(layer.layer.graph, widths))) for layer in masked.layers)


def _operators_there(layer: MaskedLayer, left: frozenset[str]) -> list[Operator]:
    return [each for each in layer.layer.operators if _is_there(each, left, layer.layer)]


def _is_there(operator: Operator, left: frozenset[str], layer: FullLayer) -> bool:
    """Is something of an operator left? One without nodes of its own, such as a pool, is what it ends in."""
    return operator.node in left or (len(layer.operators) == 1 and bool(left))


def _decided(operator: Operator, widths: Mapping[str, int], left: frozenset[str]) -> Decided:
    """An operator's decisions. Those in operators of an `any of` that are gone are left out."""
    decided: dict[str, int | str] = dict(operator.chosen)
    gone: set[str] = set()
    somewhere: dict[str, bool] = {}
    for branch in operator.branches:
        there = branch.node in left
        decided[branch.address] = int(there)
        gone |= set() if there else set(branch.names)
        choice = branch.address.rpartition(".")[0]
        somewhere[choice] = somewhere.get(choice, False) or there
    decided |= {dotted(choice, "some"): "some" if there else "none" for choice, there in somewhere.items()}
    for each in operator.opens:
        if not each.presence and each.address not in gone:
            width = widths[each.name]
            decided[each.address] = each.texts.get(width, width)
    return decided
