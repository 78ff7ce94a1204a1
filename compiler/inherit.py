"""Where the weights of one member lie in its SuperNet: each tensor of the one is a slice of one of the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nasc.compiler.concrete import INPUT, ConcreteLayer, concrete
from nasc.compiler.expr import Rational
from nasc.compiler.ir import Graph, Network
from nasc.compiler.member import Choices
from nasc.compiler.methods.relax import RelaxedLayer
from nasc.compiler.parts import by_layer, in_series
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.specialise import specialise, without_idle_slices
from nasc.compiler.structure import used_inputs
from nasc.compiler.supernet_paths import candidate_paths
from nasc.compiler.weights import joined
from nasc.dsl.diagnostics import NascError


@dataclass(frozen=True)
class Inherited:
    """The tensor `target` of a member's `model.py`: the first entries, `shape` of them, of the SuperNet's `source`."""

    target: str
    source: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Chosen:
    """A layer's candidate, by its number, and the width of one whose width is searched."""

    layer: RelaxedLayer
    number: int
    width: int | None

    def graph(self) -> Graph:
        """The candidate at its width; nodes are called as in the candidate's graph."""
        number, values = self.layer.candidates[self.number].choice(self.width)
        variant = self.layer.layer.variants[number]
        shared = {address: domain.first for address, domain in variant.shared.items()}
        return without_idle_slices(specialise(variant.graph, {**shared, **values}))


def inherited(
    network: Network, layers: Sequence[RelaxedLayer], choices: Choices, member: Network
) -> tuple[Inherited, ...]:
    """Where each tensor of the member's `model.py` lies in the SuperNet of the space `network`, in the member's order.

    `layers` are the space's, relaxed. Raises `NascError` where choices, space and member do not belong together.
    """
    paths = candidate_paths(network, layers)
    built = list(_built(chosen_candidates(layers, choices), paths))
    targets = tuple(concrete(member).layers())
    if len(built) != len(targets):
        raise _foreign(f"{len(built)} layers were chosen, and `{member.name}` has {len(targets)}")
    return tuple(
        tensor
        for (graph, places), target in zip(built, targets, strict=True)
        for tensor in _tensors(graph, places, target)
    )


def _built(
    chosen: Mapping[str, Chosen | None], paths: Mapping[tuple[str, int], Mapping[str, str]]
) -> Iterator[tuple[Graph, Mapping[str, str]]]:
    """The graph of each layer that is not dropped, and where its nodes' tensors lie in the SuperNet."""
    for _, parts in by_layer(chosen):
        there = [(each, each.graph()) for each in parts if each is not None]
        there = [(each, graph) for each, graph in there if graph.output not in graph.inputs]
        if not there:
            continue
        whole, names = in_series([graph for _, graph in there])
        places: dict[str, str] = {}
        for (each, _), named in zip(there, names, strict=True):
            inside = paths[each.layer.address, each.number]
            places |= {named[node]: path for node, path in inside.items() if node in named}
        yield whole, places


def chosen_candidates(layers: Sequence[RelaxedLayer], choices: Choices) -> dict[str, Chosen | None]:
    """What was chosen for each layer, by its address; None where it is dropped.

    Raises `NascError` for choices that leave a layer out, name one that is not there, or are none of its candidates.
    """
    addresses = {layer.address for layer in layers}
    if addresses != set(choices):
        raise _foreign(f"the choices differ from the space in the layer `{min(addresses ^ set(choices))}`")
    return {layer.address: _chosen(layer, choices[layer.address]) for layer in layers}


def _chosen(layer: RelaxedLayer, choice: tuple[int, Mapping[str, Rational]] | None) -> Chosen | None:
    if choice is None:
        if layer.skippable:
            return None
        raise _foreign(f"`{layer.address}` cannot be dropped")
    wanted = (choice[0], dict(choice[1]))
    for number, candidate in enumerate(layer.candidates):
        for width in candidate.widths or (None,):
            if candidate.choice(width) == wanted:
                return Chosen(layer, number, width)
    raise _foreign(f"`{layer.address}` has no candidate that is variant {choice[0]} with {wanted[1] or 'no decisions'}")


def _foreign(why: str) -> NascError:
    return NascError(f"the network is not of this search: {why}", help="use the space and the choices of one search")


def _tensors(graph: Graph, paths: Mapping[str, str], target: ConcreteLayer) -> Iterator[Inherited]:
    """The tensors of a layer. Its nodes are the candidate's, one by one."""
    if _form(graph) != _form(target.graph):
        raise _foreign(f"`{target.address}` of the network is not the block that was chosen for it")
    places = target.parameters()
    for source, node in zip(graph.nodes, target.graph.nodes, strict=True):
        for tensor in PRIMITIVES[node.op].state(node, [target.graph.tensor(name) for name in node.inputs]):
            names = joined(places[node.name], tensor.name), joined(paths[source.name], tensor.name)
            yield Inherited(*names, tensor.shape)


def _form(graph: Graph) -> object:
    """What a graph computes, whatever its nodes are called."""
    numbers = {name: i for i, name in enumerate(used_inputs(graph))}
    rows: list[object] = [graph.tensor(INPUT)]
    for node in graph.nodes:
        rows.append((node.op, tuple(numbers[name] for name in node.inputs), node.attributes, node.output))
        numbers[node.name] = len(numbers)
    return rows, numbers[graph.output]
