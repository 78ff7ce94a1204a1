"""The options of FBNet's search: a Gumbel-Softmax over all candidates, nothing pruned.

"FBNet" is Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search"
(2019); what it prints differs from PruNet's defaults where an option below says so.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from nasc.compiler.methods.supernet import SupernetOptions, completed
from nasc.compiler.methods.values import Optimizer, OptimizerField, Schedule, ScheduleField, Sweep


class FbnetOptions(SupernetOptions):
    """`search fbnet { … }`: every width a candidate of its own, the skip among them from the start."""

    epochs: int = Field(90, ge=1, le=1_000_000, description="all epochs, warm-up included; printed (FBNet)")
    warmup: int = Field(
        10, ge=0, description="epochs that train the weights alone; printed 10 of 90 (FBNet), kept as a ratio"
    )
    batch: int = Field(192, ge=1, description="images a step; printed (FBNet)")
    alpha: Sweep = Field((0.2,), description="weight of the cost; printed (FBNet)")
    combine: Literal["add", "multiply"] = Field(
        "add",
        description="CE + alpha log(LAT)^beta (PruNet, eq. 2) or CE * alpha log(LAT)^beta (FBNet, eq. 2); the sum is "
        "chosen, so that alpha means the same for all methods",
    )
    temperature: ScheduleField = Field(
        Schedule(first=5.0, last=5.0 * 0.956**80),
        description="of Gumbel-Softmax, falling geometrically after warm-up; FBNet prints 5, times 0.956 an epoch",
    )
    weights: OptimizerField = Field(
        default_factory=lambda: Optimizer(kind="sgd"),
        validate_default=True,
        description="SGD at 0.1 with momentum 0.9 and decay 1e-4 printed (FBNet)",
    )
    architecture: OptimizerField = Field(
        default_factory=lambda: Optimizer(kind="adam"),
        validate_default=True,
        description="Adam at 0.01 with decay 5e-4 printed (FBNet)",
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
