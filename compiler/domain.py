"""Domains of decisions: an arithmetic progression kept symbolic, or a short list of values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator

from nasc.compiler.expr import Rational, exact

_RATIONAL = re.compile(r"-?[0-9]{1,200}(/[1-9][0-9]{0,199})?")


def _read(value: object) -> Rational:
    if isinstance(value, bool) or not isinstance(value, int | Fraction | str):
        raise ValueError("not an exact number")
    if isinstance(value, str) and not _RATIONAL.fullmatch(value):
        raise ValueError("not an exact number")
    return exact(Fraction(value))


Number = Annotated[
    Rational, PlainValidator(_read), PlainSerializer(lambda v: v if isinstance(v, int) else str(v), return_type=object)
]

ENUMERABLE = 1 << 16
"""Domains larger than this are never listed value by value."""


class Domain(BaseModel):
    """A numeric decision's values, ascending: `first, first + step, … last`, or `listed` where they are irregular."""

    model_config = ConfigDict(frozen=True)

    first: Number
    last: Number
    step: Number = 1
    listed: tuple[Number, ...] = ()

    @classmethod
    def grid(cls, first: Rational, last: Rational, step: Rational = 1) -> Domain:
        return cls.model_construct(first=exact(first), last=exact(last), step=exact(step), listed=())

    @classmethod
    def of(cls, values: list[Rational] | tuple[Rational, ...]) -> Domain:
        """The domain of these values; a progression is recognised as one."""
        ordered = tuple(exact(v) for v in sorted(set(values)))
        if not ordered:
            raise ValueError("a domain needs a value")
        step = exact(ordered[1] - ordered[0]) if len(ordered) > 1 else 1
        if all(b - a == step for a, b in pairwise(ordered)):
            return cls.grid(ordered[0], ordered[-1], step)
        return cls.model_construct(first=ordered[0], last=ordered[-1], step=1, listed=ordered)

    @property
    def size(self) -> int:
        return len(self.listed) if self.listed else int((self.last - self.first) // self.step) + 1

    def __iter__(self) -> Iterator[Rational]:  # type: ignore[override]
        if self.listed:
            return iter(self.listed)
        return (exact(self.first + i * self.step) for i in range(self.size))

    def __contains__(self, value: Rational) -> bool:
        if self.listed:
            return value in self.listed
        return self.first <= value <= self.last and (value - self.first) % self.step == 0

    def at(self, index: int) -> Rational:
        """The value at an index, ascending."""
        return self.listed[index] if self.listed else exact(self.first + index * self.step)

    def index(self, value: Rational) -> int:
        """Where a value of the domain stands, ascending: `at` gives it back."""
        return self.listed.index(value) if self.listed else int((value - self.first) // self.step)

    def split(self, keep: Callable[[Rational], bool]) -> tuple[Domain | None, Domain | None]:
        """The values for which `keep` holds, and the others. Raises `OverflowError` where there are too many to ask."""
        if self.size > ENUMERABLE:
            raise OverflowError
        kept: list[Rational] = []
        rest: list[Rational] = []
        for value in self:
            (kept if keep(value) else rest).append(value)
        return (Domain.of(kept) if kept else None), (Domain.of(rest) if rest else None)

    def intersect(self, other: Domain) -> Domain | None:
        """The values in both."""
        if self == other:
            return self
        small, large = (self, other) if self.size <= other.size else (other, self)
        both = [v for v in small if v in large] if small.size <= ENUMERABLE else []
        return Domain.of(both) if both else None

    def within(self, other: Domain) -> bool:
        """Is every value of this domain in the other?"""
        if not self.listed and not other.listed:
            if self.size == 1:
                return self.first in other
            return self.first in other and self.last in other and self.step % other.step == 0
        return all(v in other for v in self)

    def __str__(self) -> str:
        if self.size == 1:
            return str(self.first)
        if self.listed or (self.size == 2 and self.step != 1):
            return "{" + ", ".join(map(str, self)) + "}"
        return f"{self.first} .. {self.last}" + (f" step {self.step}" if self.step != 1 else "")
