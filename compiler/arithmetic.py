"""Arithmetic, comparisons and logic of the language, along one path."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction

from nasc.compiler.deciding import COMPARE, Deciding
from nasc.compiler.expr import (
    Expr,
    Size,
    add,
    divide,
    evaluate,
    exact,
    function,
    multiply,
    variable,
    variables,
)
from nasc.compiler.values import (
    ChoiceOperator,
    Mistake,
    Operator,
    Scope,
    Value,
    Word,
)
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span

MAX_BITS = 1063
MAX_TERMS = 4096
"""Numbers stay below 1e320, sums below this many terms; a width may be 1e7."""

MAX_POWER = 64

_MIRROR: dict[str, Callable[[Size, Size], Size]] = {
    "+": add,
    "-": lambda a, b: add(a, multiply(-1, b)),
    "*": multiply,
    "/": divide,
}


class Arithmetic(Deciding, ABC):
    """Operations and functions of numbers."""

    @abstractmethod
    def value(self, value: syntax.Expression | syntax.Value, scope: Scope, address: str) -> Value:
        """Evaluate a value; `address` is where its decisions are filed."""

    @abstractmethod
    def truth(self, value: Value, span: Span) -> bool:
        """Whether a condition holds. Raises `Mistake` for what is no condition."""

    def operation(self, operation: syntax.Operation, scope: Scope) -> Value:
        operator = operation.operator
        if operator in ("and", "or", "not"):
            return self._logic(operation, scope)
        assert operation.left is not None
        left = self.value(operation.left, scope, "")
        if operator == "*" and left == 0 and not isinstance(left, float):
            return 0
        if operator == "*" and isinstance(left, Expr) and self.bounds(left) == (0, 0):
            return 0
        right = self.value(operation.right, scope, "")
        if operator in COMPARE:
            return self._comparison(operation, left, right)
        a, b = (self._number(v, side.span) for v, side in ((left, operation.left), (right, operation.right)))
        if isinstance(a, float) or isinstance(b, float):
            raise Mistake("E0332", "`inf` can be compared and used in min and max only", operation.span)
        if operator == "/" and self.is_zero(b, operation.span):
            raise Mistake("E0340", "a division by zero", operation.right.span)
        if operator == "*" and _terms(a) * _terms(b) > MAX_TERMS:
            raise Mistake("E0329", "this sum has too many terms", operation.span)
        return _bounded(_MIRROR[operator](a, b), operation.span)

    def _number(self, value: Value, span: Span) -> Size | float:
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, int | Fraction | Expr | float):
            return value
        raise Mistake("E0332", "this is not a number", span)

    def _logic(self, operation: syntax.Operation, scope: Scope) -> bool:
        if operation.operator == "not":
            return not self.truth(self.value(operation.right, scope, ""), operation.right.span)
        assert operation.left is not None
        left = self.truth(self.value(operation.left, scope, ""), operation.left.span)
        if left is (operation.operator == "or"):
            return left
        return self.truth(self.value(operation.right, scope, ""), operation.right.span)

    @abstractmethod
    def taken(self, operator: ChoiceOperator, span: Span) -> Value:
        """What a choice between operators comes out as along this path; itself where that has no name."""

    def _comparison(self, operation: syntax.Operation, left: Value, right: Value) -> bool:
        words = (Word, Operator, ChoiceOperator)
        if isinstance(left, words) or isinstance(right, words):
            if operation.operator not in ("==", "!="):
                raise Mistake("E0332", "names can only be compared with == and !=", operation.span)
            left, right = (self.taken(v, operation.span) if isinstance(v, ChoiceOperator) else v for v in (left, right))
            return _same_name(left, right) is (operation.operator == "==")
        a = self._number(left, operation.span)
        return self.compare(operation.operator, a, self._number(right, operation.span), operation.span)

    def apply_function(self, call: syntax.Call, scope: Scope) -> Size | float:
        arguments = [self._number(self.value(a.value, scope, ""), a.span) for a in call.arguments]
        expected = {"round": 1, "floor": 1, "ceil": 1, "divisible": 2}.get(call.name)
        if not arguments or (expected is not None and len(arguments) != expected):
            raise Mistake("E0304", f"`{call.name}` takes {expected or 'at least one'} number(s)", call.span)
        if call.name in ("max", "min"):
            largest = self._extremum(call.name, arguments)
            return largest if isinstance(largest, float) else _bounded(largest, call.span)
        if any(isinstance(a, float) for a in arguments):
            raise Mistake("E0332", "`inf` can be compared and used in min and max only", call.span)
        sizes = [a for a in arguments if not isinstance(a, float)]
        if call.name == "divisible":
            return _bounded(self._divisible(sizes[0], sizes[1], call.span), call.span)
        return _bounded(function(call.name, *sizes), call.span)

    def _extremum(self, name: str, arguments: list[Size | float]) -> Size | float:
        """Drop the arguments that another one always beats; `inf` is one of them."""
        finite = [a for a in arguments if not isinstance(a, float)]
        if len(finite) < len(arguments) and (name == "max" or not finite):
            return math.inf
        sizes = list(dict.fromkeys(finite))
        spans = [self.bounds(a) if name == "max" else tuple(-x for x in reversed(self.bounds(a))) for a in sizes]
        kept = [
            a
            for i, (a, (low, high)) in enumerate(zip(sizes, spans, strict=True))
            if not any(least >= high and (j < i or most > low) for j, (least, most) in enumerate(spans) if j != i)
        ]
        return kept[0] if len(kept) == 1 else function(name, *kept)

    def _divisible(self, value: Size, divisor: Size, span: Span) -> Size:
        if isinstance(divisor, Expr) or divisor <= 0:
            raise Mistake("E0331", "`divisible` needs a positive number to divide by", span)
        names = variables(value)
        if isinstance(value, Expr) and len(names) == 1:
            (name,) = names
            domain = self.path.domain(name)
            if (
                not domain.listed
                and len(value.terms) <= 2
                and all(
                    evaluate(value, {name: v}) % divisor == 0 for v in (domain.first, exact(domain.first + domain.step))
                )
            ):
                return value
            if value == variable(name) and self.path.ordered.get(name):
                raise Mistake(
                    "E0334",
                    f"widths {domain} are rounded to multiples of {divisor} and would fall together",
                    span,
                    f"use a granularity that is a multiple of {divisor}, or give `hidden` its widths",
                )
        return function("divisible", value, divisor)


def _same_name(left: Value, right: Value) -> bool:
    if isinstance(left, Word):
        left, right = right, left
    if isinstance(left, Operator) and isinstance(right, Word):
        return left.same_as(right)
    return isinstance(left, Word) and isinstance(right, Word) and left.name == right.name


def _terms(size: Size) -> int:
    return len(size.terms) if isinstance(size, Expr) else 1


def _bounded(size: Size, span: Span) -> Size:
    """The size, unless it has grown beyond all use. Raises `Mistake`."""
    if isinstance(size, Expr):
        if _weight(size, MAX_TERMS) <= 0:
            raise Mistake("E0329", "this expression has grown beyond bounds", span, "decide some of what it depends on")
    elif max(size.numerator.bit_length(), size.denominator.bit_length()) > MAX_BITS:
        raise Mistake("E0329", "this number has grown beyond bounds", span, "numbers lie below 1e320")
    return size


def _weight(size: Size, left: int) -> int:
    """What is left of a budget after every atom of a size has taken one; 0 or less where a power is absurd."""
    if not isinstance(size, Expr):
        return left - 1
    for monomial, _ in size.terms:
        for atom, power in monomial:
            left -= 1 if abs(power) <= MAX_POWER else MAX_TERMS
            for argument in () if isinstance(atom, str) else atom.arguments:
                left = _weight(argument, left) if left > 0 else left
        if left <= 0:
            return 0
    return left
