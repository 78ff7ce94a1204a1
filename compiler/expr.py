"""Exact symbolic numbers: rational polynomials over decisions, in a canonical form.

A `Size` is an `int`, a `Fraction`, or an `Expr` where it depends on decisions that are not made yet. An `Expr` is a sum
of monomials over atoms (a decision's address, or a function such as `max` of sizes), so that two sizes are symbolically
equal exactly when they compare equal: `hidden / hidden` is 1, `expand * c` with `expand = w / c` is `w`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

Rational = int | Fraction


@dataclass(frozen=True, order=False)
class Function:
    """A non-polynomial atom: `max(…)`, `min(…)`, `round(…)`, `floor(…)`, `divisible(…, d)`."""

    name: str
    arguments: tuple[Size, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.arguments))})"


Atom = str | Function
Monomial = tuple[tuple[Atom, int], ...]
Bounds = tuple[Rational | float, Rational | float]


def _key(item: tuple[Atom, int]) -> tuple[str, int]:
    return str(item[0]), item[1]


@dataclass(frozen=True)
class Expr:
    """A sum of `coefficient * monomial`; never a constant (that is an `int` or a `Fraction`)."""

    terms: tuple[tuple[Monomial, Rational], ...]

    @cached_property
    def names(self) -> frozenset[str]:
        """The addresses of the decisions in it."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom, _ in monomial:
                if isinstance(atom, str):
                    found.add(atom)
                else:
                    found.update(*(variables(a) for a in atom.arguments))
        return frozenset(found)

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Size) -> Size:
        return add(self, other)

    def __mul__(self, other: Size) -> Size:
        return multiply(self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __sub__(self, other: Size) -> Size:
        return add(self, multiply(-1, other))

    def __truediv__(self, other: Size) -> Size:
        return divide(self, other)

    def __str__(self) -> str:
        return " + ".join(_term_text(m, c) for m, c in self.terms).replace("+ -", "- ")

    def __repr__(self) -> str:
        return f"Expr({self})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _validated, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


Size = int | Fraction | Expr


def _term_text(monomial: Monomial, coefficient: Rational) -> str:
    factors = [str(a) if p == 1 else f"{a}^{p}" for a, p in monomial]
    if coefficient != 1 or not factors:
        factors.insert(0, str(coefficient))
    return "*".join(factors)


def _validated(value: object) -> Expr:
    if isinstance(value, Expr):
        return value
    if isinstance(value, str):
        size = parse_size(value)
        if isinstance(size, Expr):
            return size
    raise ValueError("not a symbolic size")


def exact(value: Rational) -> Rational:
    """An `int` where the value is whole."""
    if type(value) is Fraction and value.denominator == 1:  # asking the type is several times faster than isinstance
        return value.numerator
    return value


def _terms(size: Size) -> dict[Monomial, Rational]:
    if isinstance(size, Expr):
        return dict(size.terms)
    return {(): size} if size else {}


def _normal(terms: Mapping[Monomial, Rational]) -> Size:
    kept = [(m, exact(c)) for m, c in terms.items() if c]
    if not kept:
        return 0
    if len(kept) == 1:
        return Expr(tuple(kept)) if kept[0][0] else kept[0][1]
    return Expr(tuple(sorted(kept, key=lambda t: tuple(map(_key, t[0])))))


def variable(address: str) -> Expr:
    """The size that a decision's address stands for."""
    return Expr(((((address, 1),), 1),))


def add(a: Size, b: Size) -> Size:
    if not isinstance(a, Expr) and not isinstance(b, Expr):
        return exact(a + b)
    terms = _terms(a)
    for monomial, coefficient in _terms(b).items():
        terms[monomial] = terms.get(monomial, 0) + coefficient
    return _normal(terms)


def _times(a: Monomial, b: Monomial) -> Monomial:
    if not a or not b:
        return a or b
    powers = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(((x, p) for x, p in powers.items() if p), key=_key))


def _scaled(size: Expr, factor: Rational) -> Size:
    if factor == 1:
        return size
    return Expr(tuple((m, exact(c * factor)) for m, c in size.terms)) if factor else 0


def multiply(a: Size, b: Size) -> Size:
    if not isinstance(a, Expr):
        return _scaled(b, a) if isinstance(b, Expr) else exact(a * b)
    if not isinstance(b, Expr):
        return _scaled(a, b)
    terms: dict[Monomial, Rational] = {}
    for m, c in a.terms:
        for n, d in b.terms:
            product = _times(m, n)
            terms[product] = terms.get(product, 0) + c * d
    return _normal(terms)


def divide(a: Size, b: Size) -> Size:
    """`a / b`; raises `ZeroDivisionError` for a literal zero."""
    if not isinstance(b, Expr):
        if isinstance(a, int) and isinstance(b, int):
            return Fraction(a, b) if a % b else a // b
        return multiply(a, exact(Fraction(1, b)))
    if a == b:
        return 1
    if len(b.terms) == 1:
        ((monomial, coefficient),) = b.terms
        inverse = tuple((atom, -power) for atom, power in monomial)
        return multiply(a, Expr(((inverse, exact(Fraction(1) / coefficient)),)))
    return multiply(a, Expr(((((Function("sum", (b,)), -1),), 1),)))


# ------------------------------------------------------------------------------------------------- functions


def _round(value: Rational) -> int:
    return math.floor(value + Fraction(1, 2)) if value % 1 != Fraction(1, 2) else round(value)


def make_divisible(value: Rational, divisor: Rational) -> Rational:
    """Round to a multiple of `divisor`, never more than 10 % down (the mobile networks' rule)."""
    rounded = max(divisor, math.floor(value + Fraction(divisor) / 2) // divisor * divisor) if value > 0 else 0
    return exact(rounded + divisor if rounded < Fraction(9, 10) * value else rounded)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "max": max,
    "min": min,
    "round": _round,
    "floor": math.floor,
    "ceil": math.ceil,
    "divisible": make_divisible,
    "sum": lambda x: x,
}
FUNCTION_NAMES = frozenset(_FUNCTIONS) - {"sum"}


def function(name: str, *arguments: Size) -> Size:
    """Apply a function, at once where all arguments are known."""
    if not any(isinstance(a, Expr) for a in arguments):
        value: Any = _FUNCTIONS[name](*arguments)
        found: Size = value if isinstance(value, float) else exact(value)  # type: ignore[assignment]  # inf in `min`
        return found
    if name in ("max", "min"):
        return _extremum(name, arguments)
    return Expr(((((Function(name, arguments), 1),), 1),))


def _extremum(name: str, arguments: tuple[Size, ...]) -> Size:
    """`max` or `min` flattened, each argument once, constants joined."""
    flat: list[Size] = []
    for argument in arguments:
        inner = _sole_function(argument)
        flat.extend(inner.arguments if inner is not None and inner.name == name else (argument,))
    known = [a for a in flat if not isinstance(a, Expr)]
    unknown = sorted({a for a in flat if isinstance(a, Expr)}, key=str)
    joined: list[Size] = list(unknown)
    if known:
        bound = _FUNCTIONS[name](known)
        if not (name == "min" and bound == math.inf):
            joined.append(bound)
    if len(joined) == 1:
        return joined[0]
    return Expr(((((Function(name, tuple(joined)), 1),), 1),))


def _sole_function(size: Size) -> Function | None:
    if isinstance(size, Expr) and len(size.terms) == 1:
        monomial, coefficient = size.terms[0]
        if coefficient == 1 and len(monomial) == 1 and monomial[0][1] == 1 and isinstance(monomial[0][0], Function):
            return monomial[0][0]
    return None


# ------------------------------------------------------------------------------------------------- using them


def variables(size: Size) -> frozenset[str]:
    """The addresses of the decisions that a size depends on."""
    return size.names if isinstance(size, Expr) else frozenset()


def evaluate(size: Size, values: Mapping[str, Rational]) -> Rational:
    """The number a size is when every decision in it has its value. Raises `KeyError` for one that has none."""
    if not isinstance(size, Expr):
        return size
    total: Rational = 0
    for monomial, coefficient in size.terms:
        product: Rational = coefficient
        for atom, power in monomial:
            base = values[atom] if isinstance(atom, str) else _apply(atom, values)
            product = product * Fraction(base) ** power if power != 1 else product * base
        total += product
    return exact(total)


def _apply(atom: Function, values: Mapping[str, Rational]) -> Rational:
    result: Rational = _FUNCTIONS[atom.name](*(evaluate(a, values) for a in atom.arguments))
    return result


def substitute(size: Size, values: Mapping[str, Size]) -> Size:
    """Replace decisions by sizes; those not named stay."""
    if not isinstance(size, Expr) or size.names.isdisjoint(values):
        return size
    total: Size = 0
    for monomial, coefficient in size.terms:
        product: Size = coefficient
        for atom, power in monomial:
            if isinstance(atom, str):
                base = values.get(atom, variable(atom))
            else:
                base = function(atom.name, *(substitute(a, values) for a in atom.arguments))
            for _ in range(abs(power)):
                product = multiply(product, base) if power > 0 else divide(product, base)
        total = add(total, product)
    return total


def bounds(size: Size, domain: Callable[[str], Bounds]) -> Bounds:
    """An interval that holds the size, from the bounds of each decision (interval arithmetic)."""
    if not isinstance(size, Expr):
        return size, size
    low: Rational | float = 0
    high: Rational | float = 0
    for monomial, coefficient in size.terms:
        factors = [_power_bounds(_atom_bounds(atom, domain), power) for atom, power in monomial]
        start: Bounds = (coefficient, coefficient)
        a, b = reduce(_interval_product, factors, start)
        low, high = low + a, high + b
    return low, high


def _atom_bounds(atom: Atom, domain: Callable[[str], Bounds]) -> Bounds:
    if isinstance(atom, str):
        return domain(atom)
    inner = [bounds(a, domain) for a in atom.arguments]
    apply = _FUNCTIONS[atom.name]  # every one of them grows with its first arguments
    return apply(*(b[0] for b in inner)), apply(*(b[1] for b in inner))


def _power_bounds(base: Bounds, power: int) -> Bounds:
    if power == 1:
        return base
    if power > 0:
        return reduce(_interval_product, [base] * power)
    low, high = base
    if low <= 0 <= high:
        return -math.inf, math.inf
    inverse: Bounds = (Fraction(1) / Fraction(high), Fraction(1) / Fraction(low))
    return reduce(_interval_product, [inverse] * -power)


def _interval_product(x: Bounds, y: Bounds) -> Bounds:
    if x[0] > 0 and y[0] > 0:  # nearly always
        return x[0] * y[0], x[1] * y[1]
    ends = [a * b if a and b else 0 for a in x for b in y]
    return min(ends), max(ends)


# ------------------------------------------------------------------------------------------------- reading back

_TOKEN = re.compile(r"\s*(?:(\d+(?:/\d+)?)(?![\w.?])|(@?\w[\w#?]*(?:\.[\w#?]+)*)|(.))")


def parse_size(text: str) -> Size:
    """Read what `str` of a size wrote. Raises `ValueError` for anything else; never evaluates code."""
    if len(text) > 100_000:
        raise ValueError("a size of more than 100000 characters")
    tokens = [m.groups() for m in _TOKEN.finditer(text)]
    reader = _Reader(iter([*tokens, (None, None, "")]))
    size = reader.total()
    if reader.current != (None, None, ""):
        raise ValueError(f"unexpected text in the size {text!r}")
    return size


MAX_POWER = 16
_ARGUMENTS = {"round": 1, "floor": 1, "ceil": 1, "sum": 1, "divisible": 2}


class _Reader:
    """Recursive descent over sums of products of powers."""

    def __init__(self, tokens: Iterator[tuple[Any, ...]]) -> None:
        self.tokens = tokens
        self.depth = 0
        self.advance()

    def advance(self) -> None:
        self.current: tuple[Any, ...] = next(self.tokens, (None, None, ""))

    def take(self, symbol: str) -> bool:
        if self.current[2] == symbol:
            self.advance()
            return True
        return False

    def total(self) -> Size:
        self.depth += 1
        if self.depth > 50:
            raise ValueError("a size nested more than 50 deep")
        negative = self.take("-")
        size = multiply(-1, self.product()) if negative else self.product()
        while self.current[2] in ("+", "-") and self.current[2]:
            sign = 1 if self.current[2] == "+" else -1
            self.advance()
            size = add(size, multiply(sign, self.product()))
        self.depth -= 1
        return size

    def product(self) -> Size:
        size = self.power()
        while self.take("*"):
            size = multiply(size, self.power())
        return size

    def power(self) -> Size:
        base = self.atom()
        if not self.take("^"):
            return base
        negative = self.take("-")
        number, _, _ = self.current
        if number is None or not number.isdigit() or not 0 < int(number[:3]) <= MAX_POWER or not isinstance(base, Expr):
            raise ValueError("a power must be a small number, and its base a decision")
        self.advance()
        one: Size = 1
        result = reduce(multiply, [base] * int(number), one)
        return divide(1, result) if negative else result

    def atom(self) -> Size:
        number, name, symbol = self.current
        self.advance()
        if number is not None:
            if len(number) > 400 or number.endswith("/0"):
                raise ValueError("a number that is too long")
            return exact(Fraction(number))
        if name is None:
            raise ValueError(f"unexpected {symbol!r} in a size")
        if not self.take("("):
            return variable(name)
        if name not in _FUNCTIONS:
            raise ValueError(f"unknown function {name!r} in a size")
        arguments = [self.total()]
        while self.take(","):
            arguments.append(self.total())
        if not self.take(")"):
            raise ValueError("a missing `)` in a size")
        if len(arguments) != _ARGUMENTS.get(name, max(2, len(arguments))):
            raise ValueError(f"{name!r} with {len(arguments)} arguments in a size")
        if name == "sum":
            return Expr(((((Function("sum", tuple(arguments)), 1),), 1),))
        return function(name, *arguments)
