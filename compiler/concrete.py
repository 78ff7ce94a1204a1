"""A network with one member, flattened for the lowerings: the layers that are built, and where each gets its input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nasc.compiler.expr import Expr
from nasc.compiler.identifiers import attribute_name, checked
from nasc.compiler.ir import Graph, Layer, Network, Stage, Tensor
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.structure import parameter_paths, used_inputs
from nasc.dsl.diagnostics import NascError

INPUT = "in"
"""The value that the network takes in."""

_OPEN = "code can be written for one member only"


class NotLoweredError(NascError):
    """Something that has no code yet; `address` is the layer's place in the `.nas` file."""

    def __init__(self, address: str, message: str) -> None:
        super().__init__(
            f"{address}: {message}",
            help="stage-wise networks can be compiled; `check`, `count`, `cost` and `show` work for all",
        )
        self.address = address


@dataclass(frozen=True)
class ConcreteLayer:
    """A layer that is built: its module's path (`irb2.0`), and the values its graph's inputs stand for.

    `sequential`: a chain of modules is written out in place instead of becoming a class (the head).
    """

    address: str
    block: str
    graph: Graph
    path: str
    values: dict[str, str]
    sequential: bool = False

    def parameters(self) -> dict[str, str]:
        """The path of each node's stored tensors from the network."""
        paths = parameter_paths(self.graph, self.sequential)
        return {node: f"{self.path}.{path}" if path else self.path for node, path in paths.items()}


@dataclass(frozen=True)
class ConcreteStage:
    """A stage of which a layer is built (the head is the last). `name` is a Python identifier and names its value."""

    name: str
    layers: tuple[ConcreteLayer, ...]

    @property
    def source(self) -> str:
        """The value that its first layer takes in."""
        return self.layers[0].values[INPUT]

    @property
    def sides(self) -> bool:
        """Does a layer read more than the layer before it?"""
        return any(used_inputs(layer.graph) != (INPUT,) for layer in self.layers)


@dataclass(frozen=True)
class ConcreteNetwork:
    """A network without decisions. `results` are the values that come out: one, or one for each of its features."""

    name: str
    input: Tensor
    output: tuple[str, tuple[str, ...]]
    stages: tuple[ConcreteStage, ...]
    results: tuple[str, ...]

    def layers(self) -> Iterator[ConcreteLayer]:
        for stage in self.stages:
            yield from stage.layers

    def shape(self, value: str) -> Tensor:
        """The shape of a stage's value or of the input."""
        found = {stage.name: stage.layers[-1].graph.result for stage in self.stages}
        return found.get(value, self.input)


def concrete(network: Network) -> ConcreteNetwork:
    """Flatten a network. Raises `NascError` for an open decision and `NotLoweredError` for what has no code yet."""
    checked(network.name, "network")
    return _Flattener(network).flat()


class _Flattener:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.values = {INPUT: INPUT}
        self.taken: set[str] = {"head"} if network.head is not None else set()
        self.stages: list[ConcreteStage] = []
        self.current = INPUT

    def flat(self) -> ConcreteNetwork:
        for stage in self.network.stages:
            self._stage(stage)
        head = self.network.head
        if head is not None:
            self._append("head", (head,), sequential=True)
        kind, names = self.network.output
        results = tuple(self.values[name] for name in names) if kind == "features" else (self.current,)
        return ConcreteNetwork(self.network.name, self.network.input, self.network.output, tuple(self.stages), results)

    def _stage(self, stage: Stage) -> None:
        if stage.source is not None:
            self.current = self.values[stage.source]
        name = attribute_name(stage.name, self.taken)
        self.taken.add(name)
        self._append(name, stage.layers[: _depth(stage)])
        self.values[stage.name] = self.current

    def _append(self, name: str, layers: tuple[Layer, ...], sequential: bool = False) -> None:
        """Add a stage of the layers that are built; without any, its value is what came in."""
        built: list[ConcreteLayer] = []
        for layer in layers:
            graph = concrete_graph(layer)
            if graph.output == INPUT or not graph.output:  # passed on as it is; or nothing, which nothing reads
                continue
            if graph.output in graph.inputs:
                raise NotLoweredError(layer.address, "a layer that only passes on another stage has no code yet")
            values = {**self.values, INPUT: f"{name}.{len(built) - 1}" if built else self.current}
            path = name if sequential else f"{name}.{len(built)}"
            block = checked(layer.variants[0].block, "block")
            built.append(ConcreteLayer(layer.address, block, graph, path, values, sequential))
        if built:
            self.stages.append(ConcreteStage(name, tuple(built)))
            self.current = name


def _depth(stage: Stage) -> int:
    """How many of a stage's layers there are."""
    if stage.depth is None:
        return len(stage.layers)
    if stage.depth.domain.size != 1:
        raise NascError(f"the depth of `{stage.name}` is still open: {_OPEN}")
    return int(stage.depth.domain.first)


def concrete_graph(layer: Layer) -> Graph:
    """The one graph of a layer. Raises `NascError` where a choice is open or an operator has no code yet."""
    if len(layer.variants) != 1 or layer.skippable:
        raise NascError(f"`{layer.address}` is still open: {_OPEN}")
    graph = layer.variants[0].graph
    check_concrete(graph, layer.address)
    return graph


def check_concrete(graph: Graph, address: str) -> None:
    """Raise `NotLoweredError` for an operator without code, `NascError` for a size that is not decided."""
    for node in graph.nodes:
        if node.branches or node.op not in PRIMITIVES:
            raise NotLoweredError(address, f"`{node.op}` cannot be compiled yet")
        for key, value in node.attributes.items():
            if any(isinstance(size, Expr) for size in (value if isinstance(value, tuple) else (value,))):
                raise NascError(f"{address}: the {key} of `{node.op}` is still open: {_OPEN}")
    for tensor in graph.shapes.values():
        if not isinstance(tensor.channels, int):
            raise NascError(f"{address} has {tensor.channels} channels: {_OPEN}")
