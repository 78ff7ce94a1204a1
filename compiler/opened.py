"""A file on its way into the compiler: loaded, changed by settings, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from nasc.compiler.check import Checked, check
from nasc.compiler.elaborate import Space
from nasc.compiler.primitives import NAMES
from nasc.compiler.settings import with_settings
from nasc.dsl.diagnostics import NascError
from nasc.dsl.loader import Module, load

__all__ = ["Checked", "load_file", "open_file", "space_of"]


def load_file(path: Path | str, text: str | None = None, unsaved: Mapping[Path, str] = MappingProxyType({})) -> Module:
    """Load a file, or `text` under its name; primitive operators cannot be defined anew. `unsaved` as `load` has it."""
    return load(path, text, NAMES, unsaved)


def open_file(path: Path | str, text: str | None = None, sets: Sequence[str] = ()) -> Checked:
    """Load and check a file with settings applied (`irb3.x=6`), all of its errors found.

    Raises `DiagnosticError` where there are errors, `NascError` for a setting that fits nothing in the file.
    """
    module = load_file(path, text)
    if sets:
        module.diagnostics.raise_errors()
        module = with_settings(module, sets)
    checked = check(module)
    checked.diagnostics.raise_errors()
    return checked


def space_of(checked: Checked) -> Space:
    """The space or network of a checked file. Raises `NascError` for a file without one."""
    if checked.space is None:
        raise NascError(
            f"{checked.module.file.source.name} holds no space or network",
            help="it may hold blocks for other files to import; `nasc doc FILE` lists them",
        )
    return checked.space
