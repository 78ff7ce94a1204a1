"""The options of FiGS: a mask for each channel, drawn at each step, and a penalty on the expected cost.

"FiGS" is "FiGS: Fine-Grained Stochastic Architecture Search" (2020). "chosen" says that it does not print the value.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator

from nasc.compiler.methods.search_options import Target, completed
from nasc.compiler.methods.supernet import GradientOptions
from nasc.compiler.methods.values import Optimizer, OptimizerField, Sweep

STRENGTHS: dict[str, tuple[float, ...]] = {"params": (5e-7,), "macs": (2e-9,), "latency": (1e-3,)}
"""Weights of the cost: FiGS-One-Shot-B's, FiGS-FBNet-B's, and for microseconds a chosen one."""


class FigsOptions(GradientOptions):
    """`search figs { … }`: weights and masks are trained together."""

    epochs: int = Field(100, ge=1, le=1_000_000, description="all epochs; printed (FiGS, 4.1)")
    warmup: int = Field(
        0,
        ge=0,
        description="epochs of them that train weights alone, with nothing masked; 0 is printed (FiGS, 4.1)",
    )
    batch: int = Field(512, ge=1, description="images a step; printed (FiGS, 4.1)")
    alpha: Sweep = Field(
        default_factory=lambda values: STRENGTHS[values["cost"]],
        alias="lambda",
        description="weight of the expected cost, in its own unit; a set is a sweep; printed 5e-7 for parameters "
        "(FiGS, Table 1) and 2e-9 for FLOPs (appendix), 1e-3 for microseconds is chosen",
    )
    redundant: Literal["merge", "keep"] = Field(
        "merge",
        description="alternatives that differ in a width only: merged into the widest, or kept beside each other; "
        "both printed (FiGS, 3.3)",
    )
    tau: FiniteFloat = Field(0.001, gt=0, description="temperature of the masks, never annealed; printed (FiGS, 4.1)")
    logit: FiniteFloat = Field(2.5, description="what logits start from: a probability of 0.92; printed (FiGS, 4.1)")
    target: Target = Field(
        None,
        description="the most that the found network may cost, in the unit of `cost` (microseconds for latency): "
        "lambda is moved as the search runs, from the one given or else from where the cost weighs as much as a "
        "cross-entropy of 1, and in the end all logits are moved together; chosen",
    )
    weights: OptimizerField = Field(
        default_factory=lambda: Optimizer(kind="adam"),
        validate_default=True,
        description="of the network's weights; Adam at 1.6, epsilon 1 and decay 1.7e-5 for batches of 512 printed "
        "(FiGS, appendix), the cosine of the rate chosen: printed is half the rate every 35 epochs",
    )
    architecture: OptimizerField = Field(
        default_factory=lambda: Optimizer(kind="adam"),
        validate_default=True,
        description="of the logits; the same is printed (FiGS, appendix), no decay chosen",
    )

    @property
    def merges(self) -> bool:
        """Are alternatives that differ in a width only one?"""
        return self.redundant == "merge"

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
        if self.target is not None and len(self.alpha) > 1:
            raise ValueError("lambda is found by the search when there is a target: leave one to start from")
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup must be below epochs ({self.epochs}): else nothing is left to search in")
        return self


def _printed(given: Optimizer, decay: float) -> Optimizer:
    """Adam with the printed epsilon of 1, which goes with the printed rate; any other optimiser as usual."""
    if given.kind == "adam" and given.epsilon is None and given.rate is None:
        given = given.model_copy(update={"epsilon": 1.0})
    return completed(given, rate=1.6, decay=decay)
