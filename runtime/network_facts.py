"""What a picture says of each layer of a network, read from its graph alone: no block's name means anything here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nasc.compiler.graph_tools import live_nodes
from nasc.compiler.ir import Graph, Layer, Network, Node, Tensor
from nasc.dsl.diagnostics import NascError

WEIGHTED = ("conv2d", "linear")


@dataclass(frozen=True)
class LayerFacts:
    """A layer of a network: widths in channels.

    `kernel` is its largest kernel, height and width (None: no convolution), `hidden` the most channels between its
    first and its last weights (None: nothing in between), `stride` what its sides are divided by (1 where they grow).
    `empty`: its output is its input.
    """

    address: str
    block: str
    input: int
    output: int
    hidden: int | None
    kernel: tuple[int, int] | None
    stride: int
    squeeze_excite: bool
    empty: bool

    @property
    def stage(self) -> str:
        return self.address.rsplit(".", 1)[0]

    @property
    def ratio(self) -> float:
        """The expansion ratio: hidden width to input width; 1 where nothing is hidden."""
        return self.hidden / self.input if self.hidden is not None and self.input else 1.0


def layer_facts(network: Network) -> tuple[LayerFacts, ...]:
    """The layers in order, the head last. Raises `NascError` where a decision is open."""
    layers = [layer for stage in network.stages for layer in stage.layers]
    if any(stage.depth is not None for stage in network.stages):
        raise _open(network.name)
    return tuple(_facts(layer) for layer in (*layers, *([network.head] if network.head is not None else [])))


def _facts(layer: Layer) -> LayerFacts:
    if len(layer.variants) != 1 or layer.skippable:
        raise _open(layer.address)
    variant = layer.variants[0]
    graph = variant.graph
    if any(node.branches for node in graph.nodes):
        raise _open(layer.address)
    gates = _gate_nodes(graph)
    weighted = [node for node in graph.nodes if node.op in WEIGHTED and node.name not in gates]
    kernels = [node.attributes["kernel"] for node in weighted if node.op == "conv2d"]
    source = graph.inputs.get("in", layer.input)
    return LayerFacts(
        address=layer.address,
        block=variant.block,
        input=_width(source, layer.address),
        output=_width(graph.result, layer.address),
        hidden=max((_width(node.output, layer.address) for node in _inner(graph, weighted)), default=None),
        kernel=max(kernels, key=lambda kernel: (kernel[0] * kernel[1], kernel), default=None),
        stride=_stride(source, graph.result),
        squeeze_excite=bool(gates),
        empty=graph.output == "in",
    )


def _gate_nodes(graph: Graph) -> set[str]:
    """The nodes that only make a gate: those above one factor of a product, pooled over all places, that are not also
    above the factor that it scales."""
    gates: set[str] = set()
    for node in graph.nodes:
        if node.op != "mul":
            continue
        above = [_above(graph, name) for name in node.inputs]
        for gate in above:
            for scaled in above:
                own = {name: op for name, op in gate.items() if name not in scaled}
                if "global_pool" in own.values():
                    gates.update(own)
    return gates


def _above(graph: Graph, name: str) -> dict[str, str]:
    """The operators of the node of that name and of all that it is computed from, by their names."""
    return {node.name: node.op for node in live_nodes(graph.nodes, name)}


def _inner(graph: Graph, weighted: list[Node]) -> Iterator[Node]:
    """The weights whose result other weights take in."""
    for node in weighted:
        others = (other for other in weighted if other is not node)
        if any(node.name in _above(graph, other.name) for other in others):
            yield node


def _width(tensor: Tensor, address: str) -> int:
    if not isinstance(tensor.channels, int):
        raise _open(address)
    return tensor.channels


def _stride(source: Tensor, result: Tensor) -> int:
    before, after = source.height, result.height
    return max(1, round(before / after)) if before and after else 1


def _open(place: str) -> NascError:
    return NascError(f"`{place}` is still open: only a network without decisions has one picture")
