"""Kinds of values that the options of a method take: sets, schedules and optimisers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError

from nasc.dsl.diagnostics import NascError


class OptionError(NascError):
    """An option, by its name in the section, that does not suit the space to be searched."""

    def __init__(self, option: str, message: str, help: str | None = None) -> None:
        super().__init__(message, help)
        self.option = option


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place, message = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


class Options(BaseModel):
    """Options of a `search` or `target` section: checked, frozen, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Schedule(Options):
    """`first .. last`: a value that changes linearly over the epochs after warm-up."""

    first: FiniteFloat
    last: FiniteFloat

    def at(self, fraction: float) -> float:
        """The value when this fraction (0 to 1) of the way is done."""
        return self.first + (self.last - self.first) * fraction


def _schedule(value: Any) -> Any:
    return {"first": value, "last": value} if isinstance(value, int | float) else value


def _sweep(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


ScheduleField = Annotated[Schedule, BeforeValidator(_schedule)]
"""A range, or a number that stays as it is."""

Sweep = Annotated[tuple[FiniteFloat, ...], BeforeValidator(_sweep), Field(min_length=1, max_length=1000)]
"""A set, one run for each of its values, or a single number."""

Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=1 << 63)], ...], BeforeValidator(_sweep), Field(min_length=1, max_length=1000)
]
"""A set of seeds, one run for each, or a single one."""


def _optimizer(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


class Optimizer(Options):
    """`rmsprop { rate 0.002  decay 1e-5 }`. `rate` follows a cosine down to 0 over all epochs; `decay` is L2.

    `momentum` is RMSprop's and SGD's momentum, and Adam's first beta; `squares` is RMSprop's decay of the squared
    gradients, and Adam's second beta; `epsilon` is added to their root.
    """

    kind: Literal["rmsprop", "sgd", "adam", "adamw"]
    rate: FiniteFloat | None = Field(None, gt=0)
    decay: FiniteFloat | None = Field(None, ge=0)
    momentum: FiniteFloat | None = Field(None, ge=0, lt=1)
    squares: FiniteFloat | None = Field(None, gt=0, lt=1)
    epsilon: FiniteFloat | None = Field(None, gt=0)

    def completed(self, **values: float) -> Optimizer:
        """With these values where none are given."""
        missing = {name: value for name, value in values.items() if getattr(self, name) is None}
        return self.model_copy(update=missing)


OptimizerField = Annotated[Optimizer, BeforeValidator(_optimizer)]
Cost = Literal["latency", "macs", "params"]
