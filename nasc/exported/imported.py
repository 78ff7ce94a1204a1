"""From a file of `torch.export.save` to the text of a `.nas` file and the weights of its `model.py`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nasc.compiler.concrete import concrete
from nasc.compiler.ir import Network, Tensor
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.weights import Array, fitted, joined, network_state
from nasc.dsl.diagnostics import NascError
from nasc.dsl.format import format_text
from nasc.exported.layering import Layered, layered
from nasc.exported.same_graph import matched, whole_graph
from nasc.exported.traced import traced
from nasc.exported.tracer import Traced, printable
from nasc.runtime.read_exported import read_exported, run_exported
from nasc.stage_lines import Layer, arrow, braces, stage_lines

TOLERANCE = 1e-4
"""How far outputs may be apart, as a part of the largest one: what other orders of summation amount to."""

_MOST = 100_000_000
"""Larger inputs are not tried: the sizes are a stranger's."""

_BLOCK_DEFAULTS = {
    "convnext": {"act": "gelu", "norm": "layer_norm { eps 1e-6 }"},
    "downsample": {"norm": "layer_norm { eps 1e-6 }"},
}
_USUAL = {"act": "relu", "norm": "bn"}


@dataclass(frozen=True)
class Imported:
    """The text, the state dict of the `model.py` that it compiles to, and how far apart outputs were on noise."""

    text: str
    weights: dict[str, Array]
    difference: float


def imported_program(path: Path, name: str) -> Imported:
    """Import the program in `path` as the network `name`.

    The result is compared with the program: node by node, and in what both give for an image of noise. Raises NascError
    for a file that is not such a program, for an operator without counterpart (named with the module that it came
    from), and where the two are not the same.
    """
    program = read_exported(path)
    found = traced(program)
    text = format_text(_text(layered(found.graph), found, name, path.name))
    network = network_of(space_of(open_file("<imported>", text)))
    weights = _weights(network, found)
    shape = (program.input_shape[0] or 1, *found.graph.inputs["in"].layout)
    return Imported(text, weights, _difference(path, network, weights, tuple(int(str(size)) for size in shape)))


# ----------------------------------------------------------------------------------------------------------- text


def _text(parts: Layered, found: Traced, name: str, source: str) -> str:
    defaults = _defaults([*parts.body, *parts.head])
    body = [_without(layer, defaults) for layer in parts.body]
    lines = ["nas 1", f"// Imported from {printable(source)}."]
    lines += [*parts.blocks, f"network {name} {{"]
    lines += [f"input image {found.graph.inputs['in']}", f"output {_output(found.graph.result, parts.head[-1])}"]
    changed = {key: value for key, value in defaults.items() if value != _USUAL[key]}
    lines += [f"default {braces(changed)}"] if changed else []
    lines += ["", *_stages(body)]
    head = [_without(layer, defaults) for layer in parts.head]
    if head[-1].block == "linear":
        head[-1] = replace(head[-1], filters=None)  # the output says how many
    lines.append("head " + " | ".join(f"{each.block} {braces(dict(each.values))}{arrow(each)}" for each in head))
    return "\n".join([*lines, "}", ""])


def _output(result: Tensor, last: Layer) -> str:
    if last.block == "linear":
        return f"classes {result.channels}"
    if result.height is None or result.height * (result.width or 0) == 1:
        raise NascError(
            "the program ends in a vector that no linear layer makes",
            help="end it in a linear layer (`nn.Linear`), or export the part before the pooling",
        )
    return f"depth {result}"


def _defaults(layers: Sequence[Layer]) -> dict[str, str]:
    """The activation and the norm that most layers have."""
    found = {}
    for key, usual in _USUAL.items():
        counted = Counter(value for layer in layers for k, value in layer.values if k == key and value != "identity")
        found[key] = counted.most_common(1)[0][0] if counted else usual
    return found


def _without(layer: Layer, defaults: dict[str, str]) -> Layer:
    """Without the values that it has anyway."""
    anyway = {
        key: value if value != _USUAL[key] else _BLOCK_DEFAULTS.get(layer.block, {}).get(key, value)
        for key, value in defaults.items()
    }
    values = dict(layer.values)
    kept = {key: value for key, value in values.items() if anyway.get(key) != value}
    return replace(layer, values=tuple(kept.items()))


def _stages(layers: Sequence[Layer]) -> list[str]:
    """A stage for each run of one block and one width that a stride can begin; the first is the stem."""
    runs: list[list[Layer]] = []
    for layer in layers:
        last = runs[-1][-1] if runs else None
        joins = last is not None and (last.block, last.filters) == (layer.block, layer.filters)
        if joins and layer.block not in PRIMITIVES and "stride" not in dict(layer.values) and len(runs) > 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return [stage_lines("stem" if i == 0 else f"b{i}", run) for i, run in enumerate(runs)]


# -------------------------------------------------------------------------------------------------------- weights


def _weights(network: Network, found: Traced) -> dict[str, Array]:
    graph, paths = whole_graph(concrete(network))
    pairs = matched(graph, found.graph)
    if pairs is None:
        raise NascError("the network that was written is not the one that was read: please report this program")
    arrays = {
        joined(paths[ours], name): array
        for ours, theirs in pairs.items()
        for name, array in found.state.get(theirs, {}).items()
    }
    return fitted(network_state(network), arrays, "the program")


def _difference(path: Path, network: Network, weights: dict[str, Array], shape: tuple[int, ...]) -> float:
    """The largest difference between the outputs of the program and of the network for images of noise."""
    import torch

    from nasc.runtime.member_model import module_of

    if math.prod(shape) > _MOST:
        raise NascError(f"the program takes {math.prod(shape):,} numbers at once: too many to try it")
    module = module_of(network).eval()
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    wanted = run_exported(path, images)
    with torch.inference_mode():
        got = module(torch.from_numpy(images)).numpy()
    difference = float(np.abs(got - wanted).max()) if got.shape == wanted.shape else float("inf")
    if not difference <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
        raise NascError(f"what was imported gives other outputs than the program: they differ by {difference:.3g}")
    return difference
