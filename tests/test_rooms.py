"""The rules between the rooms: one direction of imports, and no block's name in the compiler."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nasc.dsl.loader import standard_library
from tests.spaces import ROOT

ROOMS = {"dsl": {"dsl"}, "compiler": {"dsl", "compiler"}, "runtime": {"dsl", "compiler", "runtime"}}
HEAVY = {"torch", "onnxruntime", "matplotlib", "sklearn"}

# Words that are not the library's block: a convolution's name in generated code (`self.depthwise`), a kind of lexer.
ROLES = {"primitives/convolution.py": {"conv", "depthwise"}, "grammar_cache.py": {"basic"}}


def sources(room: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / room).rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    for path, tree in sources(room):
        for module in imported(tree):
            if module.startswith("nasc."):
                assert module.split(".")[1] in ROOMS[room], f"{path} imports {module}"


@pytest.mark.parametrize("room", ["dsl", "compiler"])
def test_the_front_half_never_imports_what_trains(room: str) -> None:
    for path, tree in sources(room):
        assert not {m.split(".")[0] for m in imported(tree)} & HEAVY, path


def docstrings(tree: ast.Module) -> set[int]:
    """Strings that are statements of their own: documentation, not data."""
    return {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}


@pytest.mark.parametrize("room", ["dsl", "compiler"])
def test_no_block_of_the_library_is_known_by_name(room: str) -> None:
    blocks = set(standard_library())
    assert {"irb", "mbv3", "conv", "basic"} <= blocks
    for path, tree in sources(room):
        prose = docstrings(tree)
        allowed = ROLES.get(str(path.relative_to(ROOT / room)), set())
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                assert node.value not in blocks - allowed, f"{path}:{node.lineno} knows `{node.value}`"


def test_templates_know_no_block_either() -> None:
    words = "|".join(sorted(standard_library(), key=len, reverse=True))
    for path in (ROOT / "compiler" / "templates").glob("*.jinja"):
        assert not re.search(rf"[\"']({words})[\"']", path.read_text(encoding="utf-8")), path
