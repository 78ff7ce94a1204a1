"""The options of random search: members drawn uniformly, each trained by itself, the best by eq. 2 taken."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat, field_validator

from nasc.compiler.methods.supernet import completed
from nasc.compiler.methods.values import Cost, Optimizer, OptimizerField, Options, Seeds, Sweep


class RandomOptions(Options):
    """`search random { … }`: the baseline of every other method. All of its values are chosen."""

    samples: int = Field(20, ge=1, le=1_000_000, description="members that are drawn and trained")
    epochs: int = Field(10, ge=1, le=1_000_000, description="epochs that each member is trained for")
    batch: int = Field(256, ge=1, description="images a step")
    seeds: Seeds = Field((0,), alias="seed", description="of the draw, initial weights and order of images")
    cost: Cost = Field("latency", description="what LAT in eq. 2 of PruNet is: latency (microseconds), macs or params")
    alpha: Sweep = Field((1.0,), description="weight of the cost in eq. 2")
    beta: FiniteFloat = Field(0.6, gt=0, description="exponent of the logarithm in eq. 2")
    split: FiniteFloat = Field(
        0.8, gt=0, lt=1, description="part of the training images that trains; the rest tells the members apart"
    )
    class_fraction: FiniteFloat = Field(1.0, gt=0, le=1, description="part of the classes that is searched on")
    augment: Literal["standard", "policy", "none"] = Field("standard", description="of training images")
    magnitude: FiniteFloat = Field(9.0, ge=0, le=10, description="of the policy's operations")
    deviation: FiniteFloat = Field(0.5, ge=0, description="standard deviation of the magnitude")
    weights: OptimizerField = Field(
        default_factory=lambda: Optimizer(kind="rmsprop"),
        validate_default=True,
        description="RMSprop at 0.002, decay 1e-5, cosine",
    )

    @property
    def seed(self) -> int:
        """The seed of a run; of a sweep, its first."""
        return self.seeds[0]

    @field_validator("weights", mode="after")
    @classmethod
    def _weights(cls, given: Optimizer) -> Optimizer:
        return completed(given, rate=0.002, decay=1e-5)
