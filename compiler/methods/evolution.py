"""The options of regularised evolution, in which the oldest member dies.

"Real" is Real et al., "Regularized Evolution for Image Classifier Architecture Search" (2019).
"""

from __future__ import annotations

from pydantic import Field

from nasc.compiler.methods.member_options import MemberOptions


class EvolutionOptions(MemberOptions):
    """`search evolution { … }`: each new member is a mutation of the best of a few."""

    samples: int = Field(
        64, ge=1, le=1_000_000, description="members that are trained in all, the first population included; chosen"
    )
    population: int = Field(
        16,
        ge=1,
        le=1_000_000,
        description="members that live at a time, the first ones drawn uniformly; printed 100 of 20000 (Real), "
        "less is chosen for fewer members",
    )
    tournament: int = Field(
        4,
        ge=1,
        le=1_000_000,
        description="members drawn of the population, with replacement, the best of which is mutated; printed 25 of "
        "100 (Real), kept as a ratio",
    )
