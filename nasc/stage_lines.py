"""Layers that an importer found, as the lines of a stage in a `.nas` file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class Layer:
    """A block with the values of its parameters as text, and the width after `->` where it takes one."""

    block: str
    filters: int | None
    values: tuple[tuple[str, str], ...]


def stage_lines(name: str, run: Sequence[Layer]) -> str:
    """A stage of layers of one block and one width."""
    first = dict(run[0].values)
    # The stride is the first layer's alone, so it may stand with what all layers share.
    rest = [{key: value for key, value in layer.values if key != "stride"} for layer in run]
    shared = {
        key: value for key, value in first.items() if key == "stride" or all(each.get(key) == value for each in rest)
    }
    count = f" x {len(run)}" if len(run) > 1 else ""
    text = f"stage {name} {run[0].block}{count} {braces(shared)}{arrow(run[0])}"
    own = [{key: value for key, value in each.items() if key not in shared} for each in rest]
    rows, place = [], 1
    for values, same in groupby(own):
        last = place + len(list(same)) - 1
        span = f"{place}" if last == place else f"{place} .. {last}"
        rows += [f"layer {span} {braces(values)}"] if values else []
        place = last + 1
    return text + (" {\n" + "\n".join(rows) + "\n}" if rows else "")


def arrow(layer: Layer) -> str:
    return "" if layer.filters is None else f" -> {layer.filters}"


def braces(values: Mapping[str, str]) -> str:
    return f"{{ {' '.join(f'{key} {value}' for key, value in values.items())} }}" if values else ""
