"""Sums and functions of numbers, worked out where a file is written."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from nasc.compiler.build import Builder
from nasc.compiler.decided_values import plain_number
from nasc.compiler.expr import Rational
from nasc.compiler.paths import Path
from nasc.compiler.values import Mistake, SpaceScope
from nasc.compiler.world import World
from nasc.dsl import syntax


def computed(
    value: syntax.Expression, lets: Mapping[str, syntax.Let], granularity: Rational | None
) -> syntax.Expression:
    """The number, or `yes` or `no`, that an expression is; itself where it is more than numbers (`s1.channels`)."""
    builder = Builder(World({}, granularity, None), Path((), {}))
    try:
        found = builder.value(value, SpaceScope(lets, {}), "")
    except Mistake:
        return value
    if isinstance(found, bool):
        return syntax.Reference(parts=("yes" if found else "no",), span=value.span)
    return plain_number(found, value.span) if isinstance(found, int | Fraction) else value
