"""Loading spaces in tests."""

from __future__ import annotations

from pathlib import Path

from nasc.compiler.elaborate import Space, elaborate
from nasc.dsl.diagnostics import Diagnostics
from nasc.dsl.loader import Module, load

ROOT = Path(__file__).parent.parent
SPACES = sorted(p for p in (ROOT / "spaces").glob("*.nas") if "\nspace " in p.read_text())
NETWORKS = sorted((ROOT / "spaces" / "networks").glob("*.nas"))
HEAVY = {"gpt2", "vit_b16"}
LIGHT = [p for p in NETWORKS if p.stem not in HEAVY]
"""Networks of which the files are not gigabytes; tests/test_tokens.py and tests/test_published.py have the others."""
STATES = sorted((ROOT / "tests" / "data" / "states").glob("*.nas"))


def module_of(source: Path | str, name: str = "test.nas") -> Module:
    """A file, or a text, loaded without errors."""
    module = load(source) if isinstance(source, Path) else load(name, source)
    assert not module.diagnostics.errors, module.diagnostics.errors
    return module


def space_of(source: Path | str) -> Space:
    """The elaborated space of a file or a text."""
    return elaborated(module_of(source))


def elaborated(module: Module) -> Space:
    diagnostics = Diagnostics()
    assert module.space is not None
    space = elaborate(module.space, module.blocks, diagnostics)
    assert space is not None, diagnostics.found
    return space


def in_space(items: str) -> str:
    """A small image space around some items."""
    return f"nas 1\nspace small {{\n input image 4 x 8 x 8\n output classes 3\n granularity 8\n{items}\n}}\n"
