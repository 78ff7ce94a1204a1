"""What a search over a SuperNet takes, before it starts: bytes of weights, optimisers and activations, and its work.

All of it follows from the network; nothing is run, and torch is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from nasc.compiler.build_manifest import manifest_of
from nasc.compiler.cost import node_cost
from nasc.compiler.ir import Network
from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.relax import Candidate, RelaxedLayer
from nasc.compiler.methods.supernet import SupernetOptions
from nasc.compiler.methods.values import Optimizer
from nasc.compiler.plan_supernet import Trace, Widths, trace
from nasc.compiler.plan_tape import Trained
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.forms import StateTensor
from nasc.compiler.supernet_paths import is_nothing

_WORD = 4
_BUFFERS = {"adam": 2, "adamw": 2}


@dataclass(frozen=True)
class Stored:
    """Learned numbers of a SuperNet and the tensors they are in, weights and architecture weights apart; and the bytes
    of its running statistics."""

    weights: int
    weight_tensors: int
    architecture: int
    architecture_tensors: int
    statistics: int

    @property
    def parameters(self) -> int:
        """Bytes of all that is learned, which its gradients take once more."""
        return _WORD * (self.weights + self.architecture)


@dataclass(frozen=True)
class Plan:
    """What a search takes at a batch size; see `plan_of`. Sizes are bytes."""

    network: Network
    layers: tuple[RelaxedLayer, ...]
    options: SupernetOptions
    batch: int
    element: int
    heap: bool
    widths: Widths
    stored: Stored
    recompute: bool = False

    @cached_property
    def weights_step(self) -> Trace:
        """A step that trains the weights, as all do in warm-up, with every candidate there."""
        return self.trace(self.layers, self.trained(weights=True), self.widths)

    @cached_property
    def architecture_step(self) -> Trace:
        """A step that trains the architecture weights, with every candidate there."""
        return self.trace(self.layers, self.trained(weights=False), self.widths)

    def trained(self, *, weights: bool) -> Trained:
        """What a step that trains the weights, or the architecture weights, computes."""
        return Trained(weights, not weights, self.element, self.recompute)

    def trace(self, layers: Sequence[RelaxedLayer], trained: Trained, widths: Widths) -> Trace:
        """A step over some of the candidates."""
        return trace(self.network, layers, trained, widths)

    @property
    def optimizer_state(self) -> int:
        """What the two optimisers remember of every parameter."""
        stored, options = self.stored, self.options
        return state_bytes(options.weights, stored.weights, stored.weight_tensors) + state_bytes(
            options.architecture, stored.architecture, stored.architecture_tensors
        )

    @property
    def resting(self) -> int:
        """What is there between two steps: parameters, their gradients, statistics and the optimisers' state."""
        return 2 * self.stored.parameters + self.stored.statistics + self.optimizer_state

    def kept(self, batch: int | None = None) -> int:
        """The activations that the larger kind of step keeps for its backward pass."""
        return max(each.kept.at(batch or self.batch) for each in (self.weights_step, self.architecture_step))

    def peak(self, batch: int | None = None) -> int:
        """The most memory that a step takes at any time; on a CPU with what the C library cannot use again."""
        steps, batch = (self.weights_step, self.architecture_step), batch or self.batch
        return self.resting + max(each.heap(batch) if self.heap else each.peak(batch) for each in steps)

    def largest_batch(self, limit: int) -> int:
        """The largest batch whose peak is at most `limit`; 0 where not even one image fits."""
        low, high = 0, 1
        while self.peak(high) <= limit and high < 1 << 30:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.peak(middle) <= limit else (low, middle)
        return low

    @property
    def candidates(self) -> int:
        """How many there are in layers that have something to decide."""
        return sum(len(layer.candidates) for layer in self.layers if not layer.fixed)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass of one image."""
        return sum(work.macs for work in self.weights_step.work)

    @property
    def points(self) -> int:
        """The latencies to be measured for one engine before the search can start; 0 where it needs none."""
        if self.options.cost != "latency":
            return 0
        return sum(entry.points for entry in manifest_of(self.network).entries)


def plan_of(
    network: Network,
    layers: Sequence[RelaxedLayer],
    options: SupernetOptions,
    widths: Widths,
    batch: int | None = None,
    element: int = 4,
    heap: bool = True,
    recompute: bool = False,
) -> Plan:
    """The plan of a search over `layers`, which the method relaxed the network to.

    `widths` says which widths a Prunode computes at first; `batch` is the method's unless given; `element` is the bytes
    of a number in the forward pass (2 in mixed precision), `heap`: tensors lie in a CPU's memory, `recompute`: the
    backward pass computes the candidates again.
    """
    there = tuple(layer for layer in layers if not is_nothing(layer))
    return Plan(network, there, options, batch or options.batch, element, heap, widths, _stored(there), recompute)


def state_bytes(optimizer: Optimizer, numbers: int, tensors: int) -> int:
    """What an optimiser remembers of parameters: moments, and for all but SGD a count of steps for each tensor."""
    momentum = 1 if optimizer.momentum else 0
    if optimizer.kind == "sgd":
        return _WORD * momentum * numbers
    return _WORD * (_BUFFERS.get(optimizer.kind, 1 + momentum) * numbers + tensors)


def reduced(layers: Sequence[RelaxedLayer], most: int, dearest: bool) -> tuple[RelaxedLayer, ...]:
    """The layers with `most` of their candidates left, those with the most or the fewest multiply-accumulates.

    Of the cheapest one, layers that may be skipped are gone.
    """
    kept = (layer for layer in layers if layer.fixed or dearest or not layer.skippable)
    return tuple(layer if layer.fixed else _reduced(layer, most, dearest) for layer in kept)


def _reduced(layer: RelaxedLayer, most: int, dearest: bool) -> RelaxedLayer:
    order = sorted(layer.candidates, key=_macs, reverse=dearest)
    return replace(layer, candidates=tuple(order[:most]))


def _macs(candidate: Candidate) -> int:
    graph = candidate.graph
    return sum(node_cost(node, [graph.tensor(name) for name in node.inputs], "macs") for node in graph.nodes)


def most_alive(options: SupernetOptions, epoch: int) -> int | None:
    """How many candidates of a layer PruNet's threshold lets live on after epoch `epoch` (from 1), at most.

    As many as can have that probability each (eq. 6); None for any number.
    """
    if not isinstance(options, PrunetOptions) or options.prune_by != "probability" or epoch <= options.warmup:
        return None
    fraction = (epoch - options.warmup) / (options.epochs - options.warmup)
    threshold = options.threshold.at(fraction)
    return max(1, math.floor(1 / threshold + 1e-9)) if threshold > 0 else None


def _stored(layers: Sequence[RelaxedLayer]) -> Stored:
    tensors = [each for layer in layers for candidate in layer.candidates for each in _state(candidate)]
    learned = [each.size for each in tensors if each.learned]
    statistics = sum(each.size * (8 if each.dtype == "int64" else _WORD) for each in tensors if not each.learned)
    mixed = [len(layer.candidates) + 1 for layer in layers if not layer.fixed]
    prunodes = sum(bool(candidate.width) for layer in layers for candidate in layer.candidates)
    return Stored(sum(learned), len(learned), sum(mixed) + prunodes, len(mixed) + prunodes, statistics)


def _state(candidate: Candidate) -> list[StateTensor]:
    graph = candidate.graph
    return [
        each
        for node in graph.nodes
        for each in PRIMITIVES[node.op].state(node, [graph.tensor(name) for name in node.inputs])
    ]
