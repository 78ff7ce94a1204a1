"""Deciding what a size is along one path: comparisons, zeros and whole numbers, splitting decisions where needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from nasc.compiler.domain import ENUMERABLE, Domain
from nasc.compiler.expr import (
    Expr,
    Rational,
    Size,
    add,
    bounds,
    evaluate,
    multiply,
    substitute,
    variables,
)
from nasc.compiler.paths import Path
from nasc.compiler.values import (
    Mistake,
)
from nasc.compiler.world import World
from nasc.dsl.diagnostics import Span

MAX_SPLIT = 1024
"""A decision with more values than this is not split value by value."""

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class Deciding:
    """Sizes along one path."""

    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self.path = path

    def bounds(self, size: Size) -> tuple[Rational | float, Rational | float]:
        return bounds(size, self.path.bounds)

    def compare(self, operator: str, a: Size | float, b: Size | float, span: Span) -> bool:
        """Decide a comparison of sizes, splitting decisions where their values differ in it."""
        test = COMPARE[operator]
        if isinstance(a, float) or isinstance(b, float):
            return test(self._extreme(a), self._extreme(b))
        difference = add(a, multiply(-1, b))
        for address in variables(difference):
            self.path.consult(address)
        for _ in range(64):
            low, high = self.bounds(difference)
            if low == high:
                return test(low, 0)
            answer = _from_bounds(operator, low, high)
            if answer is not None:
                return answer
            difference = substitute(difference, self._single_values(difference))
            decided = self._split_for(difference, operator, span)
            if decided is not None:
                return decided
        raise Mistake("E0330", "this condition cannot be decided for every member", span)

    def _extreme(self, value: Size | float) -> Rational | float:
        return value if isinstance(value, float) else self.bounds(value)[0]

    def _single_values(self, size: Size) -> dict[str, Size]:
        if not isinstance(size, Expr):
            return {}
        domains = {v: self.path.domain(v) for v in variables(size)}
        return {v: d.first for v, d in domains.items() if d.size == 1}

    def _split_for(self, size: Size, operator: str, span: Span) -> bool | None:
        """Split one decision of a size so that its comparison with 0 comes nearer to being decided.

        Gives the answer where it turns out to be the same for all values of the only decision left.
        """
        open_ = {v: self.path.domain(v) for v in sorted(variables(size))}
        try:
            if len(open_) == 1:
                ((address, domain),) = open_.items()
                kept, rest = _halves(size, operator, address, domain)
                if kept is not None and rest is not None:
                    self.path.split(address, [kept, rest])
                    return self.path.domain(address) is kept
                return kept is not None
            for address, domain in open_.items():
                if 0 in domain:
                    self.path.split_where(address, lambda v: v == 0)
                    return None
            address, domain = min(open_.items(), key=lambda item: item[1].size)
            if domain.size > MAX_SPLIT:
                raise OverflowError
            self.path.split(address, _singles(domain))
            return None
        except OverflowError:
            raise Mistake(
                "E0330",
                "this condition depends on a decision with too many values to tell them apart",
                span,
                "give the value, or narrow the range",
            ) from None

    def is_zero(self, size: Size, span: Span) -> bool:
        return self.compare("==", size, 0, span)

    def equal(self, a: Size, b: Size, span: Span) -> bool:
        return a == b or self.compare("==", a, b, span)

    def whole(self, size: Size, span: Span) -> int:
        """The one integer a size is; a decision that changes it is split into its values."""
        if isinstance(size, Expr):
            size = substitute(size, self._single_values(size))
        if isinstance(size, Expr):
            size = self._constant(size, span)
        if size != int(size):
            raise Mistake("E0331", f"this must be a whole number, not {size}", span)
        return int(size)

    def _constant(self, size: Expr, span: Span) -> Rational:
        names = sorted(variables(size))
        if len(names) == 1:
            domain = self.path.domain(names[0])
            only = _only_value(size, names[0], domain) if domain.size <= ENUMERABLE else None
            if only is not None:
                return only
        for name in names:
            domain = self.path.domain(name)
            if domain.size > MAX_SPLIT:
                raise Mistake("E0330", "a size depends on a decision with too many values", span)
            if domain.size > 1:
                self.path.split(name, _singles(domain))
        return evaluate(size, {n: self.path.domain(n).first for n in names})


@lru_cache(maxsize=256)  # every path of a layer asks again
def _singles(domain: Domain) -> tuple[Domain, ...]:
    return tuple(Domain.of([value]) for value in domain)


@lru_cache(maxsize=4096)
def _halves(size: Size, operator: str, name: str, domain: Domain) -> tuple[Domain | None, Domain | None]:
    """The values of a decision for which a comparison of a size with 0 holds, and the others."""
    test = COMPARE[operator]
    return domain.split(lambda value: test(evaluate(size, {name: value}), 0))


@lru_cache(maxsize=4096)
def _only_value(size: Expr, name: str, domain: Domain) -> Rational | None:
    """What a size is for every value of its decision, None where that differs."""
    only = evaluate(size, {name: domain.first})
    return only if all(evaluate(size, {name: value}) == only for value in domain) else None


def _from_bounds(operator: str, low: Rational | float, high: Rational | float) -> bool | None:
    """Whether `x OP 0` holds for all x in [low, high], for none (False), or only some (None)."""
    match operator:
        case ">":
            return True if low > 0 else False if high <= 0 else None
        case ">=":
            return True if low >= 0 else False if high < 0 else None
        case "<":
            return True if high < 0 else False if low >= 0 else None
        case "<=":
            return True if high <= 0 else False if low > 0 else None
    outside = low > 0 or high < 0
    return (operator == "!=") if outside else None
