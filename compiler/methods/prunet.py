"""The options of PruNet: what the paper prints as defaults, and a stated choice where it prints nothing.

Sources are sections of "Tiered Pruning for Efficient Differentiable Inference-aware Neural Architecture Search".
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from nasc.compiler.methods.values import Cost, Optimizer, OptimizerField, Options, Schedule, ScheduleField, Sweep

_WEIGHTS = {"kind": "rmsprop", "rate": 0.002, "decay": 1e-5, "momentum": 0.9}
_ARCHITECTURE = {"kind": "adam", "rate": 0.1, "decay": 0.0, "momentum": 0.9}


class PrunetOptions(Options):
    """`search prunet { … }`. Printed: A.2.1 unless another section is named; chosen: the paper says nothing."""

    epochs: int = Field(200, ge=1, le=1_000_000, description="all epochs, warm-up included; printed")
    warmup: int = Field(70, ge=0, description="epochs that train the weights alone; printed 70 of 200, kept as a ratio")
    batch: int = Field(256, ge=1, description="images a step; printed")
    seed: int = Field(0, ge=0, lt=1 << 63, description="of initialisation, order of images and Gumbel noise; chosen")
    cost: Cost = Field("latency", description="what LAT in eq. 2 is: microseconds, MACs or parameters; printed latency")

    alpha: Sweep = Field((1.0,), description="weight of the cost in eq. 2; the paper runs 0.2 to 2.0")
    beta: FiniteFloat = Field(0.6, gt=0, description="exponent of the logarithm in eq. 2; printed")
    phi: FiniteFloat = Field(1.1, gt=0, description="multiplies the skip's output while both are there; 3.2.3, 4.1.1")
    lambda_: Sweep = Field(
        (0.55,), alias="lambda", description="multiplies the block's output then; the paper runs 0.4, 0.55, 0.85"
    )
    threshold: ScheduleField = Field(
        Schedule(first=0.15, last=0.55), description="blocks less probable are removed, eq. 6; printed"
    )
    tau: FiniteFloat = Field(1.0, gt=0, description="constant temperature of Gumbel-Softmax (3.2); its value is chosen")
    split: FiniteFloat = Field(0.8, gt=0, lt=1, description="part of the training images for the weights; printed")

    small: FiniteFloat = Field(0.5, ge=0, le=1, description="first small mask; Algorithm 1")
    large: FiniteFloat = Field(1.0, gt=0, le=1, description="first large mask; Algorithm 1")
    c: FiniteFloat = Field(0.8, ge=0, le=1, description="s stays at or below 1 - c * distance; Algorithm 1")
    max_distance: FiniteFloat = Field(0.6, gt=0, le=1, description="distance of the masks at first; Algorithm 1")
    momentum: FiniteFloat = Field(0.4, ge=0, lt=1, description="momentum of the masks' movement; Algorithm 1")
    mask_steps: Literal["every", "architecture"] = Field(
        "every", description="after which steps the masks move (Algorithm 1: after each training iteration); chosen"
    )
    reset_moments: bool = Field(
        False, description="clear Adam's moments too when a Prunode's weight is reset; chosen (Algorithm 1: the weight)"
    )
    prune_by: Literal["probability", "weight"] = Field(
        "probability", description="what the threshold is compared with: 3.2.2 says probability, Figure 2 weight"
    )

    weights: OptimizerField = Field(default_factory=lambda: Optimizer(**_WEIGHTS), description="printed: RMSprop")
    architecture: OptimizerField = Field(
        default_factory=lambda: Optimizer(**_ARCHITECTURE), description="printed: Adam; rate 0.1, cosine"
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """An optimiser that leaves its rate or decay out has those printed, and warm-up its printed share."""
        if not isinstance(values, dict):
            return values
        filled = dict(values)
        if isinstance(epochs := filled.get("epochs"), int):
            filled.setdefault("warmup", epochs * 70 // 200)
        for name, printed in (("weights", _WEIGHTS), ("architecture", _ARCHITECTURE)):
            given = filled.get(name)
            if isinstance(given, str):
                given = {"kind": given}
            if isinstance(given, dict):
                filled[name] = {**{k: v for k, v in printed.items() if k != "kind"}, **_given(given)}
        return filled

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup must be below epochs ({self.epochs}): else nothing is left to search in")
        if not 0 <= self.threshold.first <= 1:
            raise ValueError("threshold must start between 0 and 1")
        if not 0.5 <= self.threshold.last < 1:
            raise ValueError("threshold must end at 0.5 or above and below 1, else layers stay undecided (3.2.2)")
        if self.small >= self.large:
            raise ValueError("small must be below large")
        if any(value <= 0 for value in self.lambda_):
            raise ValueError("lambda must be above 0")
        return self


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
