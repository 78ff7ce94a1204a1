"""`search` and `target` sections: from syntax to a checked options model, mistakes as diagnostics."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from nasc.compiler.methods.others import TargetOptions
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.values import Optimizer, Options
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, NascError, Span, did_you_mean

BAD_VALUE, UNKNOWN_OPTION, UNKNOWN_NAME = "E0360", "E0361", "E0362"


def read_section(section: syntax.Section, diagnostics: Diagnostics) -> Options | None:
    """The options that a section states; None where a mistake (added to `diagnostics`) leaves nothing to go by."""
    try:
        model = TargetOptions if section.kind == "target" else find_method(section.name).options
    except NascError as error:
        diagnostics.add(UNKNOWN_NAME, error.message, section.name_span, help=error.help)
        return None
    before = len(diagnostics.errors)
    values = _properties(section.properties, diagnostics)
    try:
        options = model.model_validate(values)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            _report(problem, section, model, diagnostics)
        return None
    return options if len(diagnostics.errors) == before else None


def _properties(properties: Iterable[syntax.Property], diagnostics: Diagnostics) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for prop in properties:
        if prop.name in values:
            diagnostics.add(BAD_VALUE, f"`{prop.name}` is given twice", prop.name_span)
            continue
        try:
            values[prop.name] = plain_value(prop.value)
        except NotPlainError as mistake:
            diagnostics.add(BAD_VALUE, f"`{prop.name}` cannot have this value", mistake.span, help=str(mistake))
    return values


class NotPlainError(Exception):
    """A value that no option takes."""

    def __init__(self, span: Span, help: str) -> None:
        super().__init__(help)
        self.span = span


def plain_value(value: syntax.Value) -> Any:
    """Numbers, words, tuples, `{first, last}` and dicts, as the models take them. Raises `NotPlainError`."""
    match value:
        case syntax.Number():
            return _number(value.value)
        case syntax.String():
            return value.value
        case syntax.Reference(parts=(word,)):
            return {"yes": True, "no": False}.get(word, word)
        case syntax.Operation(operator="-", left=None, right=syntax.Number(value=number)):
            return _number(-number)
        case syntax.ValueSet():
            return tuple(plain_value(member) for member in value.members)
        case syntax.Range(step=None):
            return {"first": plain_value(value.first), "last": plain_value(value.last)}
        case syntax.Call(arguments=()):
            if not value.properties:
                return value.name
            return {"kind": value.name, **{prop.name: plain_value(prop.value) for prop in value.properties}}
    if isinstance(value, syntax.Operation) and value.operator == "-":
        raise NotPlainError(value.span, 'a name with a dash stands in quotes, such as `"onnxruntime-cuda"`')
    raise NotPlainError(value.span, "options are numbers, words, sets `{a, b}`, ranges `a .. b` and `rmsprop { … }`")


def _number(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(value)


def _report(problem: ErrorDetails, section: syntax.Section, model: type[Options], diagnostics: Diagnostics) -> None:
    """One pydantic error at the property that it is about, or at the section's name."""
    place = [str(part) for part in problem["loc"]]
    prop, name = _find(section.properties, place)
    if problem["type"] == "extra_forbidden":
        known = _names(model, place[:-1])
        help = did_you_mean(name, known) or f"options: {', '.join(known)}"
        where = f"`{section.kind} {section.name}`" if len(place) == 1 else f"`{place[0]}`"
        span = prop.name_span if prop else section.name_span
        diagnostics.add(UNKNOWN_OPTION, f"{where} has no option `{name}`", span, help=help)
        return
    engine = section.kind == "target" and place[:1] == ["engine"]
    span = prop.value.span if prop else section.name_span
    message = f"`{name}`: {_lowered(problem['msg'])}" if place else _lowered(problem["msg"])
    diagnostics.add(UNKNOWN_NAME if engine else BAD_VALUE, message, span)


def _find(properties: tuple[syntax.Property, ...], place: list[str]) -> tuple[syntax.Property | None, str]:
    """The innermost property on the way to `place`, and the name that is complained about."""
    found, name = None, place[0] if place else ""
    for part in place:
        inner = next((p for p in properties if p.name == part), None)
        if inner is None:
            # A missing part of `rmsprop { … }`, or a number in a set: the property around it is the place.
            return found, name if found and part.isdecimal() else part if part != "kind" else name
        found, name = inner, part
        properties = inner.value.properties if isinstance(inner.value, syntax.Call) else ()
    return found, name


def _names(model: type[Options], place: list[str]) -> list[str]:
    if place:
        return [name for name in Optimizer.model_fields if name != "kind"]
    return [field.alias or name for name, field in model.model_fields.items()]


def _lowered(message: str) -> str:
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
