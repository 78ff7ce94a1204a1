"""The options of random search: members drawn uniformly, each trained by itself, the best by eq. 2 taken."""

from __future__ import annotations

from pydantic import Field, FiniteFloat, field_validator

from nasc.compiler.methods.search_options import SearchOptions, completed
from nasc.compiler.methods.values import Optimizer, OptimizerField


class RandomOptions(SearchOptions):
    """`search random { … }`: the baseline of every other method."""

    samples: int = Field(20, ge=1, le=1_000_000, description="members that are drawn and trained; chosen")
    epochs: int = Field(10, ge=1, le=1_000_000, description="epochs that each member is trained for; chosen")
    split: FiniteFloat = Field(
        0.8,
        gt=0,
        lt=1,
        description="part of the training images that trains, the rest tells the members apart; chosen",
    )
    weights: OptimizerField = Field(
        default_factory=lambda: Optimizer(kind="rmsprop"),
        validate_default=True,
        description="sgd, rmsprop or adamw, as `nasc train` has them; chosen",
    )

    @field_validator("weights", mode="after")
    @classmethod
    def _weights(cls, given: Optimizer) -> Optimizer:
        found = completed(given, rate=0.002, decay=1e-5)
        if given.kind == "adam":
            raise ValueError("members are not trained by adam: write `adamw`, `rmsprop` or `sgd`")
        if found != completed(found.model_copy(update={"squares": None, "epsilon": None})):
            raise ValueError("members are trained as by `nasc train`, whose squares and epsilon are fixed")
        return found
