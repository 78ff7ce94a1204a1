"""The primitive operators, one class each. A new one is a class here and nothing anywhere else."""

from __future__ import annotations

from nasc.compiler.primitives import convolution, joining, masking, pointwise, scaling, sequence
from nasc.compiler.primitives.base import Primitive


def _concrete(kind: type[Primitive]) -> list[type[Primitive]]:
    found = [kind] if hasattr(kind, "name") else []
    for child in kind.__subclasses__():
        found.extend(_concrete(child))
    return found


PRIMITIVES: dict[str, Primitive] = {kind.name: kind() for kind in _concrete(Primitive)}
"""Every primitive operator by name."""

FORMS = frozenset({"identity", "nothing", "residual", "residual_prefix", "take", "channels"})
"""Words that the elaborator turns into other primitives, or into nothing."""

OPERATORS = tuple(name for name, primitive in PRIMITIVES.items() if not primitive.internal)
"""The primitive operators that a file can name."""

NAMES = frozenset(OPERATORS) | FORMS

__all__ = [
    "FORMS",
    "NAMES",
    "OPERATORS",
    "PRIMITIVES",
    "Primitive",
    "convolution",
    "joining",
    "masking",
    "pointwise",
    "scaling",
    "sequence",
]
