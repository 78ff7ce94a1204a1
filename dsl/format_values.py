"""Values, operators and properties on one line, in their one canonical spelling."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from nasc.dsl import syntax

_LEVELS = {"or": 1, "and": 2, "not": 3, "+": 5, "-": 5, "*": 6, "/": 6}
_COMPARISON = 4
_ATOM = 7


def print_value(value: syntax.Value) -> str:
    """Return a value as `.nas` text on one line."""
    match value:
        case syntax.Range():
            step = "" if value.step is None else f" step {print_expression(value.step)}"
            return f"{print_expression(value.first)} .. {print_expression(value.last)}{step}"
        case syntax.ValueSet():
            return "{" + ", ".join(map(print_value, value.members)) + "}"
        case syntax.Interval():
            low, high = print_expression(value.low), print_expression(value.high)
            return f"{'(' if value.open_low else '['}{low}, {high}{')' if value.open_high else ']'}"
        case syntax.Shape():
            return " x ".join(map(print_expression, value.sizes))
        case syntax.Choice():
            return print_choice(value)
        case _:
            return print_expression(value)


def print_expression(expression: syntax.Expression, level: int = 0) -> str:
    """Return an expression, in parentheses where it binds less than `level` asks for."""
    match expression:
        case syntax.Number():
            text = print_number(expression)
            return f"({text})" if "/" in text and level > _LEVELS["+"] else text
        case syntax.String():
            return f'"{expression.value}"'
        case syntax.Reference():
            return ".".join(expression.parts)
        case syntax.Call():
            return print_call(expression)
        case syntax.Pipeline():
            return f"({print_pipeline(expression)})"
        case syntax.Operation():
            text = _print_operation(expression)
            return f"({text})" if _level(expression) < level else text


def print_number(number: syntax.Number) -> str:
    """Return the spelling a number was written in, or if it has none, its shortest exact one."""
    if _spells(number.text, number.value):
        return number.text
    if number.value.denominator == 1:
        return str(number.value.numerator)
    return _decimal(number.value) or f"{number.value.numerator}/{number.value.denominator}"


def _spells(text: str, value: Fraction) -> bool:
    try:
        return "/" not in text and Fraction(text) == value
    except ValueError:
        return False


def _decimal(value: Fraction) -> str | None:
    """Return a fraction whose denominator divides a power of ten as a decimal, else None."""
    rest = value.denominator
    digits = 0
    while rest % 10 == 0 or rest % 2 == 0 or rest % 5 == 0:
        rest //= 10 if rest % 10 == 0 else 2 if rest % 2 == 0 else 5
        digits += 1
    if rest != 1:
        return None
    whole = str(abs(value.numerator) * 10**digits // value.denominator).rjust(digits + 1, "0")
    return f"{'-' if value < 0 else ''}{whole[:-digits]}.{whole[-digits:]}"


def _level(operation: syntax.Operation) -> int:
    return _LEVELS.get(operation.operator, _COMPARISON)


def _print_operation(operation: syntax.Operation) -> str:
    level = _level(operation)
    if operation.left is None:
        return f"not {print_expression(operation.right, level)}"
    # Operators are left-associative, comparisons do not chain.
    left = print_expression(operation.left, level + (level == _COMPARISON))
    right = print_expression(operation.right, level + 1)
    is_ratio = operation.operator == "/" and _is_number(operation.left) and _is_number(operation.right)
    return f"{left}/{right}" if is_ratio else f"{left} {operation.operator} {right}"


def _is_number(expression: syntax.Expression | None) -> bool:
    return isinstance(expression, syntax.Number)


# ------------------------------------------------------------------------------------------------- operators


def print_call(call: syntax.Call) -> str:
    """Return `name`, `name(arguments)`, `name { properties }` or all of it."""
    return print_callee(call) + (f" {print_braces(call.properties)}" if call.braced else "")


def print_callee(call: syntax.Call) -> str:
    """Return a call without its braces."""
    return f"{call.name}({', '.join(map(print_argument, call.arguments))})" if call.called else call.name


def print_argument(argument: syntax.Argument) -> str:
    value = argument.value
    text = print_pipeline(value) if isinstance(value, syntax.Pipeline) else print_value(value)
    return text if argument.name is None else f"{argument.name} = {text}"


def print_braces(properties: Iterable[syntax.Property]) -> str:
    """Return `{ kernel 3  stride 2 }`."""
    inside = "  ".join(map(print_property, properties))
    return f"{{ {inside} }}" if inside else "{}"


def print_property(item: syntax.Property) -> str:
    return f"{item.name} {print_value(item.value)}"


def print_pipeline(pipeline: syntax.Pipeline) -> str:
    """Return a pipeline without parentheses."""
    return " | ".join([print_source(pipeline.source), *map(print_step, pipeline.steps)])


def print_source(source: syntax.Expression | syntax.Step) -> str:
    return print_step(source) if isinstance(source, syntax.Step) else print_expression(source)


def print_step(step: syntax.Step) -> str:
    return print_operator(step.operator) + print_after(step)


def print_after(step: syntax.Step) -> str:
    """Return what follows a step's operator: its width and its condition."""
    width = "" if step.width is None else f" -> {print_value(step.width)}"
    return width if step.when is None else f"{width} when {print_expression(step.when)}"


def print_operator(operator: syntax.Call | syntax.Choice | syntax.Group) -> str:
    match operator:
        case syntax.Call():
            return print_call(operator)
        case syntax.Choice():
            return print_choice(operator)
        case syntax.Group():
            return f"({print_steps(operator.steps)})"


def print_steps(steps: Iterable[syntax.Step]) -> str:
    return " | ".join(map(print_step, steps))


def print_choice(choice: syntax.Choice) -> str:
    """Return `one of { a  b }`, `any of { a  b } by add`."""
    inside = "  ".join(print_steps(candidate.steps) for candidate in choice.candidates)
    return f"{choice.quantifier} of {{ {inside} }}{print_join(choice)}"


def print_join(choice: syntax.Choice) -> str:
    return "" if choice.join is None else f" by {choice.join}"
