"""The options of the width multiplier: the fullest member of a space, all of its open widths scaled alike."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, FiniteFloat, field_validator

from nasc.compiler.methods.member_options import MemberOptions


def _several(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


class WidthMultiplierOptions(MemberOptions):
    """`search width_multiplier { … }`: the uniform baseline (Howard et al., "MobileNets", 2017)."""

    multipliers: Annotated[
        tuple[Annotated[FiniteFloat, Field(gt=0, le=1)], ...],
        BeforeValidator(_several),
        Field(min_length=1, max_length=1000),
    ] = Field(
        (0.25, 0.5, 0.75, 1.0),
        description="parts of its maximum that every open width is set to, a member each; printed (MobileNets)",
    )

    @field_validator("multipliers", mode="after")
    @classmethod
    def _each_once(cls, given: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(dict.fromkeys(given))

    @property
    def samples(self) -> int:
        """How many members are trained at most."""
        return len(self.multipliers)
