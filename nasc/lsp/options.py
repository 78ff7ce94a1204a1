"""The options of `search` and `target` sections, from the models that check them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from nasc.compiler.methods.others import TargetOptions
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.values import Schedule
from nasc.dsl.diagnostics import NascError


@dataclass(frozen=True)
class Option:
    """An option: what it is, its default, the words it may be given, and the options inside its braces."""

    name: str
    about: str
    default: str
    words: tuple[str, ...]
    inner: type[BaseModel] | None


def options_of(section: Sequence[str]) -> dict[str, Option]:
    """The options of `("search", "prunet")`, or of the braces of one of them: `("search", "prunet", "weights")`."""
    kind, name, *inside = section
    try:
        model: type[BaseModel] | None = TargetOptions if kind == "target" else find_method(name).options
    except NascError:
        return {}
    for part in inside:
        model = found.inner if model is not None and (found := _options(model).get(part)) else None
    return _options(model) if model is not None else {}


def _options(model: type[BaseModel]) -> dict[str, Option]:
    found: dict[str, Option] = {}
    for name, field in model.model_fields.items():
        shown = field.alias or name
        if shown != "kind":
            words, inner = _words(field.annotation)
            found[shown] = Option(shown, field.description or "", _default(field.default), words, inner)
    return found


def _default(value: object) -> str:
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Schedule):
        return f"{value.first:g} .. {value.last:g}"
    if isinstance(value, tuple):
        return f"{value[0]}" if len(value) == 1 else f"{{{', '.join(map(str, value))}}}"
    return getattr(value, "kind", None) or str(value)


def _words(annotation: Any) -> tuple[tuple[str, ...], type[BaseModel] | None]:
    """The words that a type takes, and the model of what may stand in its braces."""
    if annotation is bool:
        return ("yes", "no"), None
    if get_origin(annotation) is Literal:
        return tuple(str(word) for word in get_args(annotation)), None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        kind = annotation.model_fields.get("kind")
        return (_words(kind.annotation)[0], annotation) if kind is not None else ((), None)
    words: tuple[str, ...] = ()
    inner: type[BaseModel] | None = None
    for part in get_args(annotation):
        more, model = _words(part)
        words, inner = words + more, inner or model
    return words, inner
