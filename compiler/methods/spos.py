"""The options of Single Path One-Shot: one SuperNet for all members, and evolution over the weights that they share.

"SPOS" is Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling" (2020).
"""

from __future__ import annotations

from pydantic import Field

from nasc.compiler.methods.evolution import EvolutionOptions


class SposOptions(EvolutionOptions):
    """`search spos { … }`: a SuperNet trained with a member drawn uniformly at each step, then evolution."""

    epochs: int = Field(
        120,
        ge=1,
        le=1_000_000,
        description="epochs that the SuperNet is trained for; printed 120 on ImageNet (SPOS)",
    )
    samples: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="members that are looked at with the SuperNet's weights; printed 20 generations of 50 (SPOS)",
    )
    population: int = Field(
        50,
        ge=1,
        le=1_000_000,
        description="members that live at a time, the first ones drawn uniformly; printed (SPOS)",
    )
    tournament: int = Field(
        10,
        ge=1,
        le=1_000_000,
        description="members drawn of the population, with replacement, the best of which is mutated; printed: the "
        "best 10 of 50 have children, half of them by crossover (SPOS), a tournament is chosen",
    )
    statistics: int = Field(
        20,
        ge=1,
        le=1_000_000,
        description="batches that a member's BatchNorm statistics are taken anew from before it is looked at; chosen, "
        "a small part of the training images is printed (SPOS)",
    )

    @property
    def warmup(self) -> int:
        """All epochs: no architecture weight is trained, and one SuperNet does for every run of a sweep."""
        return self.epochs
