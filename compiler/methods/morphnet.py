"""The options of MorphNet: L1 on the scales of batch norm, each weighed by what its channel costs.

"MorphNet" is Gordon et al., "MorphNet: Fast & Simple Resource-Constrained Structure Learning of Deep Networks" (2018).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat, field_validator

from nasc.compiler.methods.search_options import SearchOptions, completed
from nasc.compiler.methods.values import Optimizer, OptimizerField, Sweep


class MorphnetOptions(SearchOptions):
    """`search morphnet { … }`: the fullest network, made narrower while it trains."""

    cost: Literal["macs", "params"] = Field(
        "macs", description="what a channel's scale is weighed by: macs or params; both printed (MorphNet, 3.3)"
    )
    alpha: Sweep = Field(
        (1.0,),
        alias="lambda",
        description="weight of the penalty, which is relative to the cost of the fullest network, a set is a sweep; "
        "chosen",
    )
    epochs: int = Field(60, ge=1, le=1_000_000, description="epochs that the fullest network is trained for; chosen")
    split: FiniteFloat = Field(
        0.8,
        gt=0,
        lt=1,
        description="part of the training images that trains, the rest tells the loss of what is found; chosen",
    )
    weights: OptimizerField = Field(
        default_factory=lambda: Optimizer(kind="rmsprop"),
        validate_default=True,
        description="sgd, rmsprop or adamw, as `nasc train` has them; chosen",
    )
    threshold: FiniteFloat = Field(
        0.01, gt=0, description="channels whose scale is less are removed; printed (MorphNet, 3.3)"
    )
    expand: FiniteFloat = Field(
        1.0,
        ge=1,
        le=1000,
        description="what the widths that are left are multiplied by, up to the widest; the step is printed "
        "(MorphNet, Algorithm 1), none chosen",
    )

    @field_validator("weights", mode="after")
    @classmethod
    def _weights(cls, given: Optimizer) -> Optimizer:
        found = completed(given, rate=0.002, decay=1e-5)
        if given.kind == "adam":
            raise ValueError("the network is not trained by adam: write `adamw`, `rmsprop` or `sgd`")
        return found

    @field_validator("alpha", mode="after")
    @classmethod
    def _not_negative(cls, given: tuple[float, ...]) -> tuple[float, ...]:
        if min(given) < 0:
            raise ValueError("lambda must not be below 0")
        return given
