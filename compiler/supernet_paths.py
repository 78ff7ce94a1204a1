"""How a generated SuperNet is laid out: the attributes of its stages, and where the tensors of each candidate lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from nasc.compiler.identifiers import attribute_name
from nasc.compiler.ir import Network
from nasc.compiler.methods.relax import Candidate, RelaxedLayer
from nasc.compiler.structure import Step, chain, parameter_paths


def candidate_paths(network: Network, layers: Sequence[RelaxedLayer]) -> dict[tuple[str, int], dict[str, str]]:
    """Where the tensors of each candidate's nodes lie in the SuperNet: `low.0.candidates.1.block.norm1`, ….

    Candidates are named by their layer's address and their number; a layer that is nothing at all has none.
    """
    head = head_address(network)
    found: dict[tuple[str, int], dict[str, str]] = {}
    for name, stage in named_stages(layers):
        for i, layer in enumerate(stage):
            place = name if is_fixed_head(stage, head) else f"{name}.{i}"
            for number, candidate in enumerate(layer.candidates):
                row = in_place(layer, candidate, head)
                inside = parameter_paths(candidate.graph, sequential=row is not None and len(row) > 1)
                path = place if layer.fixed else f"{place}.candidates.{number}"
                path += ".block" if candidate.width else ""
                found[layer.address, number] = {node: f"{path}.{inner}".rstrip(".") for node, inner in inside.items()}
    return found


def head_address(network: Network) -> str:
    """The head's address; empty where there is none."""
    return network.head.address if network.head is not None else ""


def named_stages(layers: Sequence[RelaxedLayer]) -> Iterator[tuple[str, list[RelaxedLayer]]]:
    """The layers of each attribute of a SuperNet, without those that are nothing at all."""
    names: list[str] = []
    there = [layer for layer in layers if not is_nothing(layer)]
    for stage, found in groupby(there, key=lambda layer: layer.address.rpartition(".")[0] or "head"):
        names.append(attribute_name(stage, names))
        yield names[-1], list(found)


def is_nothing(layer: RelaxedLayer) -> bool:
    """Is a layer the identity in every member?"""
    return layer.fixed and layer.candidates[0].graph.output in layer.candidates[0].graph.inputs


def in_place(layer: RelaxedLayer, candidate: Candidate, head: str) -> tuple[Step, ...] | None:
    """The modules of a candidate that is written out in place: nothing, a single one, or the head's in a row."""
    row = None if candidate.width else chain(candidate.graph)
    return row if row is not None and (len(row) <= 1 or layer.address == head) else None


def is_fixed_head(layers: Sequence[RelaxedLayer], head: str) -> bool:
    """Is a stage the head alone, without candidates?"""
    return len(layers) == 1 and layers[0].fixed and layers[0].address == head
