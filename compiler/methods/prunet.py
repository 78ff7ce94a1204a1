"""The options of PruNet: what the paper prints as defaults, and a stated choice where it prints nothing.

Sources are sections of "Tiered Pruning for Efficient Differentiable Inference-aware Neural Architecture Search".
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from nasc.compiler.methods.supernet import SupernetOptions
from nasc.compiler.methods.values import Schedule, ScheduleField, Sweep


class PrunetOptions(SupernetOptions):
    """`search prunet { … }`: tiered pruning."""

    phi: FiniteFloat = Field(1.1, gt=0, description="multiplies the skip's output beside a block; printed (4.1.1)")
    lambda_: Sweep = Field(
        (0.55,),
        alias="lambda",
        description="multiplies the block's output then, a set is a sweep; printed 0.4, 0.55, 0.85 (4.1.1), one chosen",
    )
    threshold: ScheduleField = Field(
        Schedule(first=0.15, last=0.55),
        description="blocks less probable are removed, eq. 6, and where it is one number below 0.5 (B.1) the most "
        "probable of those left is taken in the end; printed (A.2.1)",
    )
    tau: FiniteFloat = Field(1.0, gt=0, description="constant temperature of Gumbel-Softmax (3.2); chosen")

    small: FiniteFloat = Field(0.5, ge=0, le=1, description="first small mask; printed (Algorithm 1)")
    large: FiniteFloat = Field(1.0, gt=0, le=1, description="first large mask; printed (Algorithm 1)")
    c: FiniteFloat = Field(0.8, ge=0, le=1, description="s stays at or below 1 - c * distance; printed (Algorithm 1)")
    max_distance: FiniteFloat = Field(
        0.6, gt=0, le=1, description="distance of the masks at first; printed (Algorithm 1)"
    )
    momentum: FiniteFloat = Field(
        0.4, ge=0, lt=1, description="momentum of the masks' movement; printed (A.2.1, Algorithm 1)"
    )
    progress_from: Literal["search", "start"] = Field(
        "search", description="where Algorithm 1's progress is 0: when warm-up ends, or at the first epoch; chosen"
    )
    mask_steps: Literal["every", "architecture"] = Field(
        "every",
        description="after which steps masks move: Algorithm 1 says after each training iteration, which may mean "
        "those that train architecture weights only; chosen",
    )
    reset_moments: bool = Field(
        False,
        description="clear Adam's moments too when a Prunode's weight is reset; chosen (Algorithm 1 names the weight)",
    )
    prune_by: Literal["probability", "weight"] = Field(
        "probability",
        description="what the threshold is compared with: 3.2.2 says probability, Figure 2 weight; chosen",
    )
    removal: Literal["weakest", "together"] = Field(
        "weakest",
        description="several blocks under the threshold in one epoch: the weakest goes and the others' probabilities "
        "are worked out anew, or all go at once but for the most probable; chosen",
    )
    skip_weight: Literal["equal", "initial"] = Field(
        "equal",
        description="the skip's architecture weight when it comes in: that of the block beside it, or 1/N; chosen",
    )
    skip_moments: Literal["fresh", "kept"] = Field(
        "fresh",
        description="Adam's moments of a layer's weights when the skip comes in: cleared, or kept, which lets the "
        "skip's weight move several times faster than the rate says (many steps counted, no moments); chosen",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not 0 <= self.threshold.first <= 1:
            raise ValueError("threshold must start between 0 and 1")
        constant = self.threshold.first == self.threshold.last
        if not (constant or self.threshold.last >= 0.5) or self.threshold.last >= 1:
            raise ValueError(
                "threshold must end at 0.5 or above and below 1, else layers stay undecided (3.2.2); "
                "or be one number all along (B.1)"
            )
        if self.progress_from == "start" and self.mask_steps == "architecture":
            raise ValueError("progress_from start needs mask_steps every: warm-up has no steps that train architecture")
        if self.small >= self.large:
            raise ValueError("small must be below large")
        if any(value <= 0 for value in self.lambda_):
            raise ValueError("lambda must be above 0")
        return self
