"""The width multiplier at run time (MobileNets, 3.3): the fullest member at several widths, trained one by one."""

from __future__ import annotations

from nasc.compiler.fullest_member import fullest_member
from nasc.compiler.methods.width_multiplier import WidthMultiplierOptions
from nasc.dsl.diagnostics import NascError
from nasc.runtime.methods.trials import Price, Proposal, affordable, compare, count_of, prices
from nasc.runtime.search_context import Context, Outcome


def search(context: Context) -> Outcome:
    """Scale, train and compare. Raises `NascError` as `compare` does, and where no member meets the target."""
    with prices(context) as price:
        proposals = _proposals(context, price)
        count = count_of(context, len(proposals))
        members = [proposal.member for proposal in proposals[:count]]
        return compare(context, price, members, count, lambda number, _: proposals[number])


def _proposals(context: Context, price: Price) -> list[Proposal]:
    """The members of the multipliers, each once, that meet the target."""
    options: WidthMultiplierOptions = context.options
    accept, found = affordable(context, price), list[Proposal]()
    for multiplier in options.multipliers:
        member = fullest_member(context.source.space, multiplier)
        if member not in [proposal.member for proposal in found] and (accept is None or accept(member)):
            found.append(Proposal(member, {"multiplier": multiplier}))
    if not found:
        raise NascError(
            "the network costs more than the target with every multiplier",
            help="add smaller multipliers, or see with `nasc cost` what the space can reach",
        )
    return found
