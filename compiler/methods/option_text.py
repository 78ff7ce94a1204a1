"""One option of a `search` section said at a command line, such as `threshold=0.1..0.55`."""

from __future__ import annotations

from typing import Any

from nasc.compiler.methods.sections import NotPlainError, plain_value
from nasc.compiler.methods.values import Options
from nasc.dsl.diagnostics import DiagnosticError, NascError, did_you_mean
from nasc.dsl.parser import parse_setting

_HELP = "write it as a file's `search` section would: a number, a word, `{a, b}`, `a .. b` or `adam { rate 0.1 }`"


def read_option(text: str, model: type[Options]) -> tuple[str, Any]:
    """The option's name and its value, as the section's model takes it. Raises `NascError`."""
    name, sign, value = text.partition("=")
    name = name.strip()
    names = [field.alias or key for key, field in model.model_fields.items()]
    if name not in names:
        raise NascError(
            f"there is no option `{name}`", help=did_you_mean(name, names) or f"options: {', '.join(names)}"
        )
    if not sign or not value.strip():
        raise NascError(f"`{text}` is not NAME=VALUE", help="such as `tau=2` or `threshold=0.1..0.55`")
    try:
        return name, plain_value(parse_setting(value.replace("..", " .. ")))
    except (DiagnosticError, NotPlainError):
        raise NascError(f"`{value.strip()}` is no value of `{name}`", help=_HELP) from None


def read_plain(text: str) -> tuple[str, Any]:
    """NAME=VALUE with a number or a word as its value. Raises `NascError`."""
    name, sign, value = text.partition("=")
    try:
        found = plain_value(parse_setting(value))
    except (DiagnosticError, NotPlainError):
        found = None
    if not sign or not isinstance(found, int | float | str | bool):
        raise NascError(f"`{text}` is not NAME=VALUE", help="such as `rate=0.05` or `schedule=exponential`")
    return name.strip().replace("-", "_"), found
