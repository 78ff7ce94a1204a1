"""Ranges as people write them on the command line: `200M..210M`, `0.4ms..0.5ms`, `..2G`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nasc.dsl.diagnostics import NascError

COUNTS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
TIMES = {"us": 1.0, "ms": 1e3, "s": 1e6}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


@dataclass(frozen=True)
class Bounds:
    """A range with both ends included."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def parse_bounds(text: str, units: Mapping[str, float]) -> Bounds:
    """Read `LOW..HIGH`, one of which may be left out. Raises `NascError` for anything else."""
    low, dots, high = (part.strip() for part in text.partition(".."))
    if not dots or not (low or high):
        raise NascError(f"`{text}` is not a range", help=_example(units))
    bounds = Bounds(_value(low, units) if low else 0.0, _value(high, units) if high else float("inf"))
    if bounds.low > bounds.high:
        raise NascError(f"`{text}` is empty: it ends below its start")
    return bounds


def parse_amount(text: str, units: Mapping[str, float]) -> float:
    """Read one number with its unit, `0.7ms` or `25M`. Raises `NascError` for anything else."""
    return _value(text.strip(), units)


def _value(text: str, units: Mapping[str, float]) -> float:
    found = _NUMBER.fullmatch(text)
    if found is None or found[2] not in units:
        raise NascError(f"`{text}` is not a number with one of the units {', '.join(filter(None, units))}",
                        help=_example(units))  # fmt: skip
    return float(found[1]) * units[found[2]]


def _example(units: Mapping[str, float]) -> str:
    return "for example `200M..210M`" if "M" in units else "for example `0.4ms..0.5ms`"
