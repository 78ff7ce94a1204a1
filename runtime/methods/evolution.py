"""Regularised evolution at run time: Real et al., "Regularized Evolution for Image Classifier Architecture Search".

Algorithm 1 there: the population is the youngest members; the best of a few drawn from it is mutated, the child is
trained, and the oldest dies. What is taken in the end is the best of all that ever lived.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from nasc.compiler.member import Member
from nasc.compiler.methods.evolution import EvolutionOptions
from nasc.compiler.mutate import Mutator
from nasc.compiler.sample import sample_members
from nasc.runtime.methods.trials import MEMBERS, Proposal, Trained, affordable, compare, count_of, prices
from nasc.runtime.search_context import Context, Outcome
from nasc.runtime.seeds import derive_seed


def search(context: Context) -> Outcome:
    """Evolve. Raises `NascError` as `compare` does, and where too few members meet the target."""
    options: EvolutionOptions = context.options
    with prices(context) as price:
        seed, count = derive_seed(options.seed, MEMBERS), count_of(context, options.samples)
        accept, space = affordable(context, price), context.source.space
        first = sample_members(space, min(count, options.population), seed, accept=accept)
        return compare(context, price, first, count, Evolution(options, Mutator(space), first, accept))


class Evolution:
    """Proposes members in their order; a member of a number is the same however often it is asked for."""

    def __init__(
        self,
        options: EvolutionOptions,
        mutator: Mutator,
        first: Sequence[Member],
        accept: Callable[[Member], bool] | None,
    ) -> None:
        self.options, self.mutator, self.accept = options, mutator, accept
        self.members = [*first]

    def __call__(self, number: int, trained: Sequence[Trained]) -> Proposal:
        if number < self.options.population:
            return Proposal(self.members[number])
        parent = self._parent(number, trained)
        seed = derive_seed(self.options.seed, "mutation", number)
        child = self.mutator.mutated(self.members[parent], seed, accept=self.accept)
        self.members[number:] = [child]
        return Proposal(child, {"parent": parent})

    def _parent(self, number: int, trained: Sequence[Trained]) -> int:
        """The number of the best of some members that are alive, drawn with replacement."""
        draw = random.Random(derive_seed(self.options.seed, "tournament", number))
        alive = range(number - self.options.population, number)
        drawn = sorted(draw.choices(alive, k=self.options.tournament))
        return max(drawn, key=lambda each: trained[each].fitness(self.options))
