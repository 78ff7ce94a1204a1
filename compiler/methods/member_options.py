"""The options of the methods that train members of a space one by one, each by itself, and compare them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat, field_validator

from nasc.compiler.methods.search_options import PRINTED_BETA, Beta, SearchOptions, Target, completed
from nasc.compiler.methods.values import Optimizer, OptimizerField


class MemberOptions(SearchOptions):
    """What `random`, `evolution` and `width_multiplier` share."""

    beta: Beta = PRINTED_BETA
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
    target: Target = Field(
        None,
        description="the most that a member may cost, in the unit of `cost` (microseconds for latency): what costs "
        "more is not trained, none is no limit; chosen",
    )
    fitness: Literal["auto", "loss", "accuracy"] = Field(
        "auto",
        description="what the best member is best by: the loss of eq. 2, or accuracy; auto is accuracy where there is "
        "a target, else the loss, so that alpha means the same for all methods; accuracy is printed for evolution "
        "(Real), the rest chosen",
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

    @property
    def by_accuracy(self) -> bool:
        """Is the best member the one of the highest accuracy, rather than of the least loss?"""
        return self.fitness == "accuracy" or (self.fitness == "auto" and self.target is not None)
