"""What a generated network gives back: a tensor, or a named tuple of several, with their shapes and strides."""

from __future__ import annotations

from dataclasses import dataclass

from nasc.compiler.concrete import ConcreteNetwork
from nasc.compiler.identifiers import attribute_name, class_name
from nasc.compiler.ir import Tensor

_TUPLE = frozenset({"count", "index"})
"""What a tuple's fields must not be called."""


@dataclass(frozen=True)
class Outputs:
    """A class of named outputs: its name, and each field with its comment."""

    name: str
    fields: tuple[tuple[str, str], ...]


def named_outputs(flat: ConcreteNetwork, network: str, taken: set[str]) -> Outputs | None:
    """The outputs of a network with several, called as their stages; None for a network with one."""
    if len(flat.results) == 1:
        return None
    names: list[str] = []
    for stage in flat.output[1]:
        names.append(attribute_name(stage, {*names, *_TUPLE}))
    comments = (_comment(flat.input, flat.shape(value)) for value in flat.results)
    return Outputs(class_name(f"{network}Features", taken), tuple(zip(names, comments, strict=True)))


def _comment(given: Tensor, made: Tensor) -> str:
    if given.height is None or made.height is None or given.height % made.height:
        return str(made)
    return f"{made}, stride {given.height // made.height}"
