"""Options shared by the methods that train a SuperNet by gradient descent, weights and architecture weights in turn.

Sources are sections of "Tiered Pruning for Efficient Differentiable Inference-aware Neural Architecture Search"
(PruNet), unless another is named. "chosen" says that no paper prints the value.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator

from nasc.compiler.methods.search_options import PRINTED_BETA, Beta, SearchOptions, Target, completed
from nasc.compiler.methods.values import Optimizer, OptimizerField


class WeightsOptions(Protocol):
    """What training a SuperNet asks of any method's options: `warmup` epochs, of all `epochs`, train weights alone."""

    @property
    def batch(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def weights(self) -> Optimizer: ...


class GradientOptions(SearchOptions):
    """What every method has that trains weights and architecture weights: each states its own defaults."""

    epochs: int
    warmup: int
    weights: OptimizerField
    architecture: OptimizerField


class SupernetOptions(GradientOptions):
    """What every method over a SuperNet has."""

    beta: Beta = PRINTED_BETA
    epochs: int = Field(200, ge=1, le=1_000_000, description="all epochs, warm-up included; printed (A.2.1)")
    warmup: int = Field(
        70, ge=0, description="epochs that train the weights alone; printed 70 of 200 (A.2.1), kept as a ratio"
    )
    split: FiniteFloat = Field(
        0.8, gt=0, lt=1, description="part of the training images for the weights, after warm-up; printed (A.2.1)"
    )
    warmup_images: Literal["all", "weights"] = Field(
        "all", description="what the warm-up trains on: all training images, or the weights' part alone; chosen"
    )
    weights: OptimizerField = Field(
        default_factory=lambda: Optimizer(kind="rmsprop"),
        validate_default=True,
        description="of the networks' weights; RMSprop at 0.002, decay 1e-5 printed (A.2.1), the rest chosen (timm's)",
    )
    architecture: OptimizerField = Field(
        default_factory=lambda: Optimizer(kind="adam"),
        validate_default=True,
        description="of the architecture weights; Adam and a cosine from 0.1 printed (A.2.1), the rest chosen",
    )

    target: Target = Field(
        None,
        description="the most that the found network may cost, in the unit of `cost` (microseconds for latency): alpha "
        "is where the search starts, and is moved as it runs until the target is met; chosen",
    )

    @model_validator(mode="before")
    @classmethod
    def _warmup_share(cls, values: Any) -> Any:
        """Warm-up that is not given keeps its printed share of the epochs."""
        if isinstance(values, dict) and isinstance(epochs := values.get("epochs"), int) and "warmup" not in values:
            fields = cls.model_fields
            return {**values, "warmup": epochs * fields["warmup"].default // fields["epochs"].default}
        return values

    @field_validator("weights", mode="after")
    @classmethod
    def _weights(cls, given: Optimizer) -> Optimizer:
        return completed(given, rate=0.002, decay=1e-5)

    @field_validator("architecture", mode="after")
    @classmethod
    def _architecture(cls, given: Optimizer) -> Optimizer:
        return completed(given, rate=0.1, decay=0.0)

    @model_validator(mode="after")
    def _search_left(self) -> Self:
        if self.target is not None and len(self.alpha) > 1:
            raise ValueError("alpha is found by the search when there is a target: leave one to start from")
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup must be below epochs ({self.epochs}): else nothing is left to search in")
        return self
