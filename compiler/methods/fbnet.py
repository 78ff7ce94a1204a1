"""The options of FBNet's search: a Gumbel-Softmax over all candidates, nothing pruned.

"FBNet" is Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search"
(2019); what it prints differs from PruNet's defaults where an option below says so.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from nasc.compiler.methods.search_options import completed
from nasc.compiler.methods.supernet import SupernetOptions
from nasc.compiler.methods.values import Optimizer, OptimizerField, Schedule, ScheduleField, Sweep


class FbnetOptions(SupernetOptions):
    """`search fbnet { … }`: every width a candidate of its own, the skip among them from the start."""

    epochs: int = Field(90, ge=1, le=1_000_000, description="all epochs, warm-up included; printed (FBNet)")
    warmup: int = Field(
        10, ge=0, description="epochs that train the weights alone; printed 10 of 90 (FBNet), kept as a ratio"
    )
    batch: int = Field(192, ge=1, description="images a step; printed (FBNet)")
    alpha: Sweep = Field((0.2,), description="weight of the cost, a set is a sweep; printed (FBNet)")
    combine: Literal["add", "multiply"] = Field(
        "add",
        description="loss: CE + alpha * log(LAT)^beta (PruNet, eq. 2) or CE * alpha * log(LAT)^beta; the product is "
        "printed (FBNet, eq. 2), the sum chosen, so that alpha means the same for all methods",
    )
    temperature: ScheduleField = Field(
        Schedule(first=5.0, last=5.0 * 0.956**79),
        description="of Gumbel-Softmax, geometrically from the first epoch after warm-up to the last; printed (FBNet) "
        "as 5, times 0.956 an epoch: over 80 epochs that ends here",
    )
    weights: OptimizerField = Field(
        default_factory=lambda: Optimizer(kind="sgd"),
        validate_default=True,
        description="of the networks' weights; SGD at 0.1 with momentum 0.9 and decay 1e-4 printed (FBNet)",
    )
    architecture: OptimizerField = Field(
        default_factory=lambda: Optimizer(kind="adam"),
        validate_default=True,
        description="of the architecture weights; Adam at 0.01 with decay 5e-4 printed (FBNet)",
    )

    @field_validator("weights", mode="after")
    @classmethod
    def _weights(cls, given: Optimizer) -> Optimizer:
        return completed(given, rate=0.1, decay=1e-4)

    @field_validator("architecture", mode="after")
    @classmethod
    def _architecture(cls, given: Optimizer) -> Optimizer:
        return completed(given, rate=0.01, decay=5e-4)

    @field_validator("temperature", mode="after")
    @classmethod
    def _positive(cls, given: Schedule) -> Schedule:
        if min(given.first, given.last) <= 0:
            raise ValueError("temperature must stay above 0")
        return given

    @model_validator(mode="after")
    def _loss_left(self) -> Self:
        if self.combine == "multiply" and min(self.alpha) <= 0:
            raise ValueError("alpha must be above 0 where the loss is a product: else nothing is left of it")
        return self
