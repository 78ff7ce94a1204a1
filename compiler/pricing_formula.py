"""Formulas of decisions evaluated for many members together, exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasc.compiler.domain import Domain
from nasc.compiler.expr import Expr, Rational, Size, bounds, evaluate, variables
from nasc.compiler.pricing_codes import Column, Whole

Values = NDArray[Any]
Point = tuple[Rational, ...]

SAFE = 1 << 62
"""Numbers that stay below this can be added once more in 64 bits."""


class Lookup:
    """A function of some decisions, asked once for each of the points that come up."""

    def __init__(self, columns: Sequence[Column], of: Callable[[Point], Any], dtype: Any) -> None:
        self.rows = [column.row for column in columns]
        self.domains = [column.domain for column in columns]
        self.of, self.dtype = of, dtype
        self.known: dict[tuple[int, ...], Any] = {}

    def __call__(self, values: Whole) -> Values:
        """Its value for each member (a column of `Codes.values`). What it gives may itself be several numbers."""
        if not self.rows or not values.shape[1]:
            return np.array([self._at(())] * values.shape[1], dtype=self.dtype)
        points, which = _distinct(values[self.rows], [domain.size for domain in self.domains])
        found: Values = np.array([self._at(point) for point in zip(*points.tolist(), strict=True)], dtype=self.dtype)
        return found[which]

    def _at(self, indices: tuple[int, ...]) -> Any:
        if indices not in self.known:
            self.known[indices] = self.of(tuple(d.at(i) for d, i in zip(self.domains, indices, strict=True)))
        return self.known[indices]


def _distinct(indices: Whole, sizes: Sequence[int]) -> tuple[Whole, Whole]:
    """Each different column once, and for every column which of them it is."""
    if math.prod(sizes) > SAFE:
        points, which = np.unique(indices, axis=1, return_inverse=True)
        return points, which.reshape(-1)
    numbers = np.zeros(indices.shape[1], dtype=np.int64)
    for row, size in zip(indices, sizes, strict=True):
        numbers = numbers * size + row
    _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    return indices[:, first], which


class Polynomial:
    """A size that is a polynomial with whole values, none of them beyond 64 bits on the way."""

    def __init__(self, size: Size, columns: Mapping[str, Column]) -> None:
        terms = size.terms if isinstance(size, Expr) else (((), size),) if size else ()
        self.scale = math.lcm(*(Fraction(coefficient).denominator for _, coefficient in terms))
        self.columns = {name: columns[name] for name in variables(size)}
        self.terms = [
            (int(coefficient * self.scale), [(str(atom), power) for atom, power in monomial])
            for monomial, coefficient in terms
        ]

    @property
    def most(self) -> int:
        """No number on the way to its value is larger."""
        return sum(
            abs(coefficient) * math.prod(_most(self.columns[name].domain) ** power for name, power in monomial)
            for coefficient, monomial in self.terms
        )

    def __call__(self, values: Whole) -> Values:
        """Its value for each member (a column of `Codes.values`)."""
        known = {name: _numbers(column.domain, values[column.row]) for name, column in self.columns.items()}
        total = np.zeros(values.shape[1], dtype=np.int64)
        for coefficient, monomial in self.terms:
            product = np.full(values.shape[1], coefficient, dtype=np.int64)
            for name, power in monomial:
                product *= known[name] ** power
            total += product
        return total // self.scale


def _most(domain: Domain) -> int:
    return max(abs(int(domain.first)), abs(int(domain.last)), 1)


def _numbers(domain: Domain, indices: Whole) -> Whole:
    if domain.listed:
        return np.array(domain.listed, dtype=np.int64)[indices]
    return int(domain.first) + indices * int(domain.step)


def is_polynomial(size: Size, columns: Mapping[str, Column]) -> bool:
    """Is it a sum of products of whole decisions?"""
    powers = [item for monomial, _ in size.terms for item in monomial] if isinstance(size, Expr) else []
    return all(isinstance(atom, str) and power > 0 and _whole(columns[atom].domain) for atom, power in powers)


def _whole(domain: Domain) -> bool:
    return all(isinstance(value, int) for value in domain.listed or (domain.first, domain.step))


Formula = Polynomial | Lookup


def formula(size: Size, columns: Mapping[str, Column]) -> tuple[Formula, Rational | float]:
    """What evaluates a size that is whole at every point, and a bound of its absolute value (infinite at worst).

    Raises `KeyError` for a size with a decision that has no column.
    """
    if is_polynomial(size, columns):
        polynomial = Polynomial(size, columns)
        if polynomial.most < SAFE:
            return polynomial, -(-polynomial.most // polynomial.scale)
    names = sorted(variables(size))
    domains = {name: columns[name].domain for name in names}
    low, high = bounds(size, lambda name: (domains[name].first, domains[name].last))

    def at(point: Point) -> int:
        return int(evaluate(size, dict(zip(names, point, strict=True))))

    most = high if high > -low else -low
    dtype = np.int64 if most < SAFE else object
    return Lookup([columns[name] for name in names], at, dtype), most
