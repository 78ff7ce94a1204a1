"""From a member of a space to masks: how many channels of each decision of the fullest network it has.

The other way round from `masked_member.member_of`, for members, which have one alternative of each layer.
"""

from __future__ import annotations

from collections.abc import Mapping

from nasc.compiler.full_layer import FullLayer, Open, Operator
from nasc.compiler.fullest_ways import NONE, SOME
from nasc.compiler.masks import MaskedNetwork
from nasc.compiler.member import Member
from nasc.compiler.substitution import Decided
from nasc.dsl.diagnostics import NascError


def member_widths(masked: MaskedNetwork, member: Member) -> dict[str, int]:
    """The width of each mask that makes the fullest network this member: 0 for what it does not have.

    A mask that must not be 0, of something that is not there, has its least width, and so has one that layers share of
    which the member has none. Raises `NascError` for a member with an operator that the fullest network does not have.
    """
    widths = {each.name: int(member.shared.get(each.name, _least(each))) for each in masked.fullest.shared}
    for layer in masked.layers:
        widths |= _of_layer(layer.layer, member.layers.get(layer.layer.address))
    return widths


def stays_in_masks(masked: MaskedNetwork, member: Member) -> bool:
    """Can masks make the fullest network this member? Not where it drops a layer that does not add its input (or has
    `identity` in its place), and so would hand on nothing."""
    return all(_stays(layer.layer, member.layers.get(layer.layer.address)) for layer in masked.layers)


def _stays(layer: FullLayer, decided: Decided | None) -> bool:
    if layer.may_go or not layer.operators:
        return True
    return decided is not None and any(_fits(operator, decided) for operator in layer.operators)


def _of_layer(layer: FullLayer, decided: Decided | None) -> dict[str, int]:
    found = None if decided is None else _operator(layer, decided)
    widths: dict[str, int] = {}
    for operator in layer.operators:
        for each in operator.opens:
            widths[each.name] = _least(each) if operator is not found or decided is None else _width(each, decided)
    return widths


def _operator(layer: FullLayer, decided: Decided) -> Operator | None:
    """The alternative that these decisions are of; None where the layer hands on its input."""
    for operator in layer.operators:
        if _fits(operator, decided):
            return operator
    if layer.may_go or not layer.operators:
        return None
    raise NascError(
        f"the fullest network's `{layer.address}` has no operator with the decisions of this member",
        help="search with a method that trains members one by one, such as `evolution`",
    )


def _fits(operator: Operator, decided: Decided) -> bool:
    """Are these decisions an alternative's, or those of one in which something of it is absent?"""
    opens = {each.address: each for each in operator.opens}
    chosen = operator.chosen
    same = all(_agrees(value, decided[name]) for name, value in chosen.items() if name in decided and name not in opens)
    others = [name for name, value in decided.items() if name not in chosen and isinstance(value, str)]
    return same and all(name in opens and decided[name] in _texts(opens[name]) for name in others)


def _agrees(chosen: str, decided: object) -> bool:
    return chosen == str(decided) or (chosen == SOME and decided == NONE)


def _texts(each: Open) -> Mapping[str, int]:
    """The widths of a decision by what the file says for them."""
    return {each.texts.get(width, str(width)): width for width in each.widths}


def _width(each: Open, decided: Decided) -> int:
    if each.presence and not each.address:
        return 1
    value = decided.get(each.address)
    if value is None:
        return _least(each)
    return _texts(each)[value] if isinstance(value, str) else int(value)


def _least(each: Open) -> int:
    return each.widths[0]
