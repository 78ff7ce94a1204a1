"""Random search at run time: members drawn uniformly, each trained from scratch; the best one is taken."""

from __future__ import annotations

from nasc.compiler.methods.random_members import RandomOptions
from nasc.compiler.sample import sample_members
from nasc.runtime.methods.trials import MEMBERS, Proposal, affordable, compare, count_of, prices
from nasc.runtime.search_context import Context, Outcome
from nasc.runtime.seeds import derive_seed


def search(context: Context) -> Outcome:
    """Draw, train and compare. Raises `NascError` as `compare` does, and where too few members meet the target."""
    options: RandomOptions = context.options
    with prices(context) as price:
        seed, count = derive_seed(options.seed, MEMBERS), count_of(context, options.samples)
        members = sample_members(context.source.space, count, seed, accept=affordable(context, price))
        return compare(context, price, members, count, lambda number, _: Proposal(members[number]))
