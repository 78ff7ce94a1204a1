"""What is the same for every layer of a file, and small words about its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nasc.compiler.expr import Rational
from nasc.compiler.paths import Path
from nasc.compiler.values import Bound, Mistake
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span

MAX_LAYER_STEPS = 20_000
MAX_STEPS = 1_000_000
"""Steps of one way to build a layer, and of a whole space; the largest shipped ones take 400 and 100,000."""


@dataclass
class World:
    """What is the same for every layer of a file."""

    blocks: Mapping[str, syntax.Block]
    granularity: Rational | None
    classes: int | None
    defaults: Mapping[str | None, Mapping[str, Bound]] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    nested: dict[object, Any] = field(default_factory=dict)
    """Nested choices explored so far."""
    steps: int = 0
    """Values evaluated so far."""
    layers: dict[str, int] = field(default_factory=dict)
    """The largest number of layers of each stage so far."""

    def step(self, path: Path, span: Span) -> None:
        """Count a step of the elaboration. Raises `Mistake` where a layer or the space takes absurdly many."""
        self.steps += 1
        path.steps += 1
        if path.steps > MAX_LAYER_STEPS or self.steps > MAX_STEPS:
            raise Mistake(
                "E0319",
                "building this takes too many steps",
                span,
                "blocks that use blocks several times, many levels deep, grow beyond bounds",
            )


def dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def source_text(node: syntax.Node) -> str:
    """The words of a node as they stand in its file, on one line."""
    return " ".join(node.span.source.text[node.span.start : node.span.end].split())


def clip(text: str, length: int = 40) -> str:
    """A text short enough for a message."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
