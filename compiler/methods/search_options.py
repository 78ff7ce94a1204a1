"""The options of every search method that runs: the runs of a sweep, the loss, and the data.

Sources are sections of "Tiered Pruning for Efficient Differentiable Inference-aware Neural Architecture Search"
(PruNet), unless another is named. "chosen" says that no paper prints the value.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, FiniteFloat

from nasc.compiler.methods.values import Cost, Optimizer, Options, Seeds, Sweep

Beta = Annotated[FiniteFloat, Field(gt=0, description="exponent of the logarithm in eq. 2; printed (A.2.1)")]
"""Of the methods whose loss is eq. 2."""
PRINTED_BETA = 0.6

Target = Annotated[
    Annotated[FiniteFloat, Field(gt=0)] | None, BeforeValidator(lambda given: None if given == "none" else given)
]
"""The most that what is found may cost, in the unit of `cost`; `none` is no limit."""

_SQUARES = {"rmsprop": 0.9, "adam": 0.999, "adamw": 0.999}
_EPSILON = {"rmsprop": 1e-3, "adam": 1e-8, "adamw": 1e-8}


class SearchOptions(Options):
    """What every method that runs has: `search METHOD { … }` states the rest in a class that derives from this."""

    batch: int = Field(256, ge=1, description="images a step; printed (A.2.1)")
    seeds: Seeds = Field(
        (0,),
        alias="seed",
        description="of weights, order of images, noise and draws, a set is a sweep; chosen",
    )
    cost: Cost = Field(
        "latency",
        description="what LAT in eq. 2 is: latency in microseconds, macs or params; latency is printed (eq. 2)",
    )
    alpha: Sweep = Field(
        (1.0,),
        description="weight of the cost in eq. 2, a set is a sweep; printed 0.2 to 2.0 (A.2.1), 1 of them chosen",
    )
    targets: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)] = Field(
        "sum",
        description="what a latency is of several `target` sections: sum (the mean, by their weights), worst (the one "
        "furthest up towards its limit), or the name of the only one to search for; chosen",
    )
    class_fraction: FiniteFloat = Field(
        1.0,
        gt=0,
        le=1,
        description="part of the classes, drawn at random, that is searched on; printed 0.1 (A.2.1), "
        "all is chosen: most data has few classes",
    )
    augment: Literal["standard", "policy", "none"] = Field(
        "standard",
        description="of training images: crop and flip, or these and a random policy, or nothing; the policy is "
        "printed (A.2), crop and flip are chosen",
    )
    magnitude: FiniteFloat = Field(9.0, ge=0, le=10, description="of the policy's operations; printed (A.2)")
    deviation: FiniteFloat = Field(0.5, ge=0, description="standard deviation of the magnitude; printed (A.2)")

    @property
    def seed(self) -> int:
        """The seed of a run; of a sweep, its first."""
        return self.seeds[0]


def completed(given: Optimizer, **printed: float) -> Optimizer:
    """An optimiser with the printed rate and decay, and the usual constants, where it states none."""
    usual = {
        "momentum": 0.9,
        **({"squares": _SQUARES[given.kind], "epsilon": _EPSILON[given.kind]} if given.kind in _SQUARES else {}),
    }
    return given.completed(**{**usual, **printed})
