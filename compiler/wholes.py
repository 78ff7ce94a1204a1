"""Can a symbolic size only be a whole number?"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product

from nasc.compiler.domain import Domain
from nasc.compiler.expr import Atom, Expr, Size, evaluate

ENOUGH = 4096
ROUNDING = frozenset({"round", "floor", "ceil"})


def is_whole(size: Size, domain: Callable[[str], Domain]) -> bool | None:
    """Is a size a whole number for all values of its decisions? None where that would take too long to tell."""
    if not isinstance(size, Expr):
        return size == int(size)
    if all(c.denominator == 1 and all(p > 0 and _whole_atom(a, domain) for a, p in m) for m, c in size.terms):
        return True
    domains = {name: domain(name) for name in sorted(size.names)}
    if _is_linear(size):
        ((name, values),) = domains.items()
        if not values.listed:
            ends = (values.first, values.first + values.step if values.size > 1 else values.first)
            return all(Fraction(evaluate(size, {name: value})).denominator == 1 for value in ends)
    count = 1
    for values in domains.values():
        count *= values.size
    if count > ENOUGH:
        return None
    points = (dict(zip(domains, point, strict=True)) for point in product(*domains.values()))
    return all(Fraction(evaluate(size, point)).denominator == 1 for point in points)


def _is_linear(size: Expr) -> bool:
    """Is it a * x + b for one decision x?"""
    alone = all(len(m) == 0 or (len(m) == 1 and m[0][1] == 1 and isinstance(m[0][0], str)) for m, _ in size.terms)
    return alone and len(size.names) == 1


def _whole_atom(atom: Atom, domain: Callable[[str], Domain]) -> bool:
    if isinstance(atom, str):
        values = domain(atom)
        parts = values.listed or (values.first, values.step)
        return all(part == int(part) for part in parts)
    if atom.name in ROUNDING:
        return True
    if atom.name == "divisible":
        return is_whole(atom.arguments[1], domain) is True
    return all(is_whole(argument, domain) for argument in atom.arguments)
