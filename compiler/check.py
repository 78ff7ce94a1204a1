"""All that is wrong with a file, at once: its text, its names, its meaning, and what has no effect in it.

What shows in the syntax is found together, in one run. Shapes and sizes are looked at only when nothing of that is
wrong, so that one mistake is not reported twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nasc.compiler.check_blocks import check_blocks
from nasc.compiler.check_effects import check_effects
from nasc.compiler.check_names import NameChecker
from nasc.compiler.check_space import SpaceChecker
from nasc.compiler.check_unused import warn_unused
from nasc.compiler.elaborate import Space, elaborate
from nasc.dsl.diagnostics import Diagnostic, Diagnostics
from nasc.dsl.loader import Module

CASCADES = frozenset({"E0301", "E0302", "E0304", "E0305", "E0306", "E0342", "E0350", "E0351", "E0356", "W0402"})
"""What a part of the text that could not be read may bring about elsewhere."""


@dataclass(frozen=True)
class Checked:
    """A file's space, elaborated, where there is one and nothing is wrong with it; and all diagnostics."""

    module: Module
    space: Space | None
    diagnostics: Diagnostics


def check(module: Module) -> Checked:
    """Check a loaded file: errors first, each kind in order of the text, then warnings. Never raises for its text."""
    found = Diagnostics(list(module.diagnostics.found))
    further = _static(module)
    if found.errors:
        further = [d for d in further if d.code not in CASCADES]
    found.found.extend(further)
    space = None
    if module.space is not None and not found.errors:
        space = elaborate(module.space, module.blocks, found)
        if space is not None:
            check_effects(space, module.blocks, found)
            _check_methods(space, module, found)
    found.found.sort(key=lambda d: d.severity == "warning")
    return Checked(module, space, found)


def _check_methods(space: Space, module: Module, found: Diagnostics) -> None:
    if module.searches and not found.errors:
        from nasc.compiler.check_methods import check_methods

        check_methods(space, module.searches, found)


def _static(module: Module) -> list[Diagnostic]:
    """What needs no elaboration, in order of the text, the main file's first."""
    found = Diagnostics()
    names = NameChecker(module.blocks, found)
    check_blocks((b for n, b in module.blocks.items() if n not in module.library), names)
    if module.space is not None:
        SpaceChecker(module.space, names).check()
    if module.searches or module.targets:
        from nasc.compiler.methods.sections import read_section

        for section in (*module.searches, *module.targets):
            read_section(section, found)
    if not found.errors:
        warn_unused(module, found)
    return _in_order(found.found, module)


def _in_order(found: Iterable[Diagnostic], module: Module) -> list[Diagnostic]:
    places = {id(source): i for i, source in enumerate(module.sources)}

    def place(diagnostic: Diagnostic) -> tuple[int, int]:
        span = diagnostic.span
        return (len(places), 0) if span is None else (places.get(id(span.source), len(places)), span.start)

    return sorted(found, key=place)
