"""What a step of a SuperNet computes and keeps: the tape of its layers as their generated code runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from nasc.compiler.concrete import INPUT, ConcreteLayer
from nasc.compiler.elastic_cut import Cut
from nasc.compiler.expr import Expr, evaluate
from nasc.compiler.ir import Graph, Network, Node
from nasc.compiler.methods.elastic import Elastic
from nasc.compiler.methods.relax import Candidate, RelaxedLayer
from nasc.compiler.plan_tape import Amount, Tape, Trained, Value, Work
from nasc.compiler.primitives.forms import elements_of
from nasc.compiler.structure import Step, steps
from nasc.compiler.supernet_paths import is_nothing
from nasc.compiler.torch_classes import group
from nasc.compiler.torch_elastic import generate_elastic

Widths = Callable[[Candidate], tuple[int, ...]]
"""The hidden widths that a Prunode computes: its small and its large one, or the one that is left."""

HEAP_BYTES = 1 << 25
"""From this size on glibc asks the system for fresh memory and gives it back (`M_MMAP_THRESHOLD`'s upper limit)."""

Form = Literal["sums", "finish", "whole"]
"""How a generated Prunode computes its widths: up to the consumer once and the consumer's sums shared, up to the
consumer once, or everything for each width."""


def first_and_last(candidate: Candidate) -> tuple[int, ...]:
    """The smallest and the largest width: those that a Prunode starts with until a method sets its masks."""
    return candidate.widths[0], candidate.widths[-1]


@dataclass(frozen=True)
class LayerTrace:
    """A layer's part in a step: the bytes it keeps, and the most that is there while it is computed, `peak`.

    The latter has what the layers before it keep, and what lives only as long as this one is computed.
    """

    address: str
    kept: Amount
    peak: Amount


@dataclass(frozen=True)
class Trace:
    """A step: its operators, the bytes kept for the backward pass, and its layers in order.

    `passing` are the bytes for an image of each tensor of the forward pass that is not kept; `again` the operators that
    the backward pass runs forward once more.
    """

    work: tuple[Work, ...]
    kept: Amount
    layers: tuple[LayerTrace, ...]
    passing: tuple[int, ...]
    again: tuple[Work, ...] = ()

    def peak(self, batch: int) -> int:
        """The most bytes at any time for a batch, weights and their gradients not counted."""
        return max(each.peak.at(batch) for each in self.layers)

    def heap(self, batch: int) -> int:
        """What a process takes for that on a CPU: the C library finds no use for memory freed between kept tensors.

        glibc keeps what is smaller than `HEAP_BYTES` in one heap, and aligned blocks do not fit into the holes of
        others of their size.
        """
        passing = sum(size * batch for size in self.passing if size * batch < HEAP_BYTES)
        return max(self.peak(batch), self.kept.at(batch) + passing)


def trace(network: Network, layers: Sequence[RelaxedLayer], trained: Trained, widths: Widths = first_and_last) -> Trace:
    """A step over a SuperNet's layers, as `relax` gives them, with the cross-entropy of its output."""
    runner = _Runner(Tape(trained), widths)
    x = runner.tape.new(elements_of(network.input))
    for layer in layers:
        if not is_nothing(layer):
            x = runner.layer(layer, x)
    runner.tape.loss(x)
    tape = runner.tape
    return Trace(tuple(tape.work), tape.kept, tuple(runner.layers), tape.passing, tuple(tape.again))


class _Runner:
    def __init__(self, tape: Tape, widths: Widths) -> None:
        self.tape = tape
        self.widths = widths
        self.layers: list[LayerTrace] = []
        self.forms: dict[object, Form] = {}

    def layer(self, layer: RelaxedLayer, x: Value) -> Value:
        first, before = len(self.tape.work), self.tape.kept
        self.tape.passing_again = Amount()
        recompute = self.tape.trained.recompute and not layer.fixed
        outputs = [self.candidate(candidate, x, recompute) for candidate in layer.candidates]
        output = outputs[0]
        if not layer.fixed:
            self.tape.work += [Work("layer")] * len(outputs)
        if len(outputs) > 1:
            output = self.tape.mix(outputs)
        passing = self._passing(len(outputs), output.elements, self.tape.work[first:])
        kept = self.tape.kept
        own = Amount(kept.image - before.image, kept.fixed - before.fixed)
        peak = kept + Amount(passing * self.tape.trained.element) + self.tape.passing_again
        self.layers.append(LayerTrace(layer.address, own, peak))
        return output

    def _passing(self, count: int, output: int, done: Sequence[Work]) -> int:
        """Numbers that live only while the layer is computed: its terms, their stack and sum; or an operator's own."""
        results = 0 if self.tape.trained.architecture else count
        mixing = (results + (2 * count if count > 2 else count) + 1) * output if count > 1 else 0
        return max([mixing, *(count * output * (count > 1) + work.moved.image for work in done)])

    def candidate(self, candidate: Candidate, x: Value, recompute: bool = False) -> Value:
        with self.tape.recomputing(x) if recompute else nullcontext():
            if candidate.elastic is None:
                return self._graph(candidate.graph, x)
            outputs = self._elastic(candidate, self.widths(candidate), x)
        if len(outputs) == 1:
            return outputs[0]
        self.tape.work.append(Work("prunode"))
        return self.tape.mix(outputs)

    def _graph(self, graph: Graph, x: Value) -> Value:
        known = dict.fromkeys(graph.inputs, x)
        self._nodes(graph, graph.nodes, known, frozenset())
        return known[graph.output]

    def _nodes(self, graph: Graph, nodes: Iterable[Node], known: dict[str, Value], cut: Iterable[str]) -> None:
        """Apply nodes of a graph; those that touch a tensor of `cut` have their weights sliced."""
        for node in nodes:
            shapes = [graph.tensor(name) for name in node.inputs]
            sliced = not {node.name, *node.inputs}.isdisjoint(cut)
            known[node.name] = self.tape.run(node, shapes, [known[name] for name in node.inputs], sliced)

    # ------------------------------------------------------------------------------------------ Prunodes

    def _elastic(self, candidate: Candidate, widths: Sequence[int], x: Value) -> list[Value]:
        elastic = candidate.elastic
        assert elastic is not None
        form = self._form(candidate)
        graphs = [at_width(elastic, width) for width in widths]
        known: dict[str, Value] = dict.fromkeys(elastic.graph.inputs, x)
        if form == "whole":
            return [self._rest(graph, graph.nodes, known, elastic) for graph in graphs]
        cut = Cut(steps(elastic.graph), elastic)
        shared = {name for step in cut.shared for name in _nodes_of(step)}
        self._nodes(graphs[-1], [n for n in graphs[-1].nodes if n.name in shared], known, elastic.channels)
        if form == "sums":
            return self._sums(elastic, graphs, shared, known, cut.hidden[0])
        return [self._rest(graph, [n for n in graph.nodes if n.name not in shared], known, elastic) for graph in graphs]

    def _form(self, candidate: Candidate) -> Form:
        key = _likeness(candidate)
        if key not in self.forms:
            self.forms[key] = prunode_form(candidate)
        return self.forms[key]

    def _rest(self, graph: Graph, nodes: Iterable[Node], known: Mapping[str, Value], elastic: Elastic) -> Value:
        found = dict(known)
        self._nodes(graph, nodes, found, elastic.channels)
        return found[graph.output]

    def _sums(
        self,
        elastic: Elastic,
        graphs: Sequence[Graph],
        shared: set[str],
        known: Mapping[str, Value],
        hidden: str,
    ) -> list[Value]:
        """The consumer's sums over the hidden channels, each the one before with a convolution of those in between."""
        outputs: list[Value] = []
        total: Value | None = None
        before = 0
        for graph in graphs:
            rest = [node for node in graph.nodes if node.name not in shared]
            reader = next(node for node in rest if hidden in node.inputs)
            channels = graph.tensor(hidden).channels
            assert isinstance(channels, int)
            part = graph.tensor(hidden).with_channels(channels - before)
            if len(graphs) > 1:  # its channels are copied out of the others', and their gradients put back
                self.tape.work.append(Work("elementwise", moved=Amount(2 * elements_of(part))))
            found = self.tape.run(reader, [part], [known[hidden]], sliced=True)
            if total is not None:
                found = self.tape.new(found.elements, found.gradient)
                self.tape.add(2, found.elements)
            total, before = found, channels
            after = [node for node in rest if node is not reader]
            outputs.append(self._rest(graph, after, {**known, reader.name: total}, elastic))
        return outputs


def at_width(elastic: Elastic, width: int) -> Graph:
    """The block cut to a hidden width, with every operator that it has at any width."""
    values = {"width": width}

    def sized(value: Any) -> Any:
        return evaluate(value, values) if isinstance(value, Expr) else value

    nodes = tuple(
        Node.model_construct(
            name=node.name,
            op=node.op,
            inputs=node.inputs,
            attributes={k: sized(elastic.attributes.get((node.name, k), v)) for k, v in node.attributes.items()},
            output=node.output.with_channels(sized(elastic.channels.get(node.name, node.output.channels))),
            branches=(),
        )
        for node in elastic.graph.nodes
    )
    return Graph(inputs=elastic.graph.inputs, nodes=nodes, output=elastic.graph.output)


def _nodes_of(step: Step) -> tuple[str, ...]:
    return (step.value,) if step.expression is not None else tuple(owner for owner in step.owners if owner)


def prunode_form(candidate: Candidate) -> Form:
    """How the generated code of a candidate with a searched width computes its widths."""
    (alone,) = group([ConcreteLayer("layer", "block", candidate.graph, "layer", {INPUT: INPUT})])
    cut, _ = generate_elastic(alone, "Block", candidate)
    text = "\n".join(cut.made.forward)
    return "sums" if ".each(" in text else "finish" if "self.finish(" in text else "whole"


def _likeness(candidate: Candidate) -> object:
    """Equal for candidates whose code differs in numbers only."""
    assert candidate.elastic is not None
    graph = candidate.graph
    return candidate.elastic.key, graph.output, tuple((node.op, node.name, node.inputs) for node in graph.nodes)
