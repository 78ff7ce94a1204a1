"""The options of FiGS: a mask for each channel, drawn at each step, and a penalty on the expected cost.

"FiGS" is "FiGS: Fine-Grained Stochastic Architecture Search" (2020). "chosen" says that it does not print the value.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator

from nasc.compiler.methods.search_options import completed
from nasc.compiler.methods.supernet import GradientOptions
from nasc.compiler.methods.values import Optimizer, OptimizerField, Sweep

STRENGTHS: dict[str, tuple[float, ...]] = {"params": (5e-7,), "macs": (2e-9,), "latency": (1e-3,)}
"""Weights of the cost: FiGS-One-Shot-B's, FiGS-FBNet-B's, and for microseconds a chosen one."""


class FigsOptions(GradientOptions):
    """`search figs { … }`: weights and masks are trained together."""

    epochs: int = Field(100, ge=1, le=1_000_000, description="all epochs; printed (4.1)")
    warmup: int = Field(
        0, ge=0, description="epochs of them that train the weights alone, with nothing masked; none is printed"
    )
    batch: int = Field(512, ge=1, description="images a step; printed (4.1)")
    alpha: Sweep = Field(
        default_factory=lambda values: STRENGTHS[values["cost"]],
        alias="lambda",
        description="weight of the expected cost, in its own unit; a set is a sweep; printed 5e-7 for parameters "
        "(Table 1) and 2e-9 for FLOPs (appendix), 1e-3 for microseconds is chosen",
    )
    tau: FiniteFloat = Field(0.001, gt=0, description="temperature of the masks, never annealed; printed (4.1)")
    logit: FiniteFloat = Field(2.5, description="what logits start from: a probability of 0.92; printed (4.1)")
    weights: OptimizerField = Field(
        default_factory=lambda: Optimizer(kind="adam"),
        validate_default=True,
        description="of the network's weights; Adam at 1.6, epsilon 1, decay 1.7e-5 printed (appendix), for batches of "
        "512; its rate follows a cosine here, printed is a decay by half every 35 epochs",
    )
    architecture: OptimizerField = Field(
        default_factory=lambda: Optimizer(kind="adam"),
        validate_default=True,
        description="of the logits; the same is printed, without decay",
    )

    @model_validator(mode="before")
    @classmethod
    def _none_of_the_logarithm(cls, values: Any) -> Any:
        if isinstance(values, dict) and "beta" in values and values["beta"] != cls.model_fields["beta"].default:
            raise ValueError("FiGS has no beta: its cost is added as it is, weighed by lambda")
        return values

    @field_validator("weights", mode="after")
    @classmethod
    def _weights(cls, given: Optimizer) -> Optimizer:
        return _printed(given, decay=1.7e-5)

    @field_validator("architecture", mode="after")
    @classmethod
    def _architecture(cls, given: Optimizer) -> Optimizer:
        return _printed(given, decay=0.0)

    @model_validator(mode="after")
    def _search_left(self) -> Self:
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup must be below epochs ({self.epochs}): else nothing is left to search in")
        return self


def _printed(given: Optimizer, decay: float) -> Optimizer:
    """Adam with the printed epsilon of 1; any other optimiser as usual."""
    if given.kind != "adam" or given.epsilon is not None:
        return completed(given, rate=1.6, decay=decay)
    return completed(given.model_copy(update={"epsilon": 1.0}), rate=1.6, decay=decay)
