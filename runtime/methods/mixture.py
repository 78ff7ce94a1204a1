"""What methods over a SuperNet of stochastic layers share: the architecture side of a search by gradient descent.

A method derives from `Mixture` and overrides what it does otherwise; `SearchRun` calls it. Sources are sections and
equations of "Tiered Pruning for Efficient Differentiable Inference-aware Neural Architecture Search".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nasc.compiler.expr import Rational
from nasc.compiler.member import Choices
from nasc.compiler.methods.relax import RelaxedLayer
from nasc.compiler.methods.supernet import SupernetOptions
from nasc.compiler.reachable import Open, Reachable
from nasc.dsl.diagnostics import NascError
from nasc.runtime.costs import Costs
from nasc.runtime.methods.loss import cost_term
from nasc.runtime.supernet import Prunode, StochasticLayer, stochastic_layers

Key = tuple[str, int]
"""A candidate: its layer's address and its number."""


@dataclass
class Decided:
    """What a method decided at the end of an epoch: in words, the modules that it removed, and the architecture weights
    whose optimiser is to start anew."""

    events: list[str] = field(default_factory=list)
    removed: list[nn.Module] = field(default_factory=list)
    renewed: list[nn.Parameter] = field(default_factory=list)


class Mixture:
    """Candidates mixed by Gumbel-Softmax, eq. 2 to 5. By itself it neither moves masks nor removes anything."""

    progress_from_start = False
    """Does the progress that `after_step` is told begin with the warm-up?"""

    def __init__(
        self, supernet: nn.Module, layers: Sequence[RelaxedLayer], costs: Costs, options: SupernetOptions
    ) -> None:
        """Uses the first alpha of `options`. Raises `NascError` where SuperNet and layers do not match."""
        self.supernet, self.relaxed, self.costs = supernet, tuple(layers), costs
        self.alpha, self.beta = options.alpha[0], options.beta
        self.layers = stochastic_layers(supernet)
        self._require_match()
        for address, layer in self.layers.items():
            layer.costs = {i: costs.blocks[address, i].get(0, 0.0) for i in range(layer.count)}
        for key, node in self.prunodes():
            node.costs = dict(costs.blocks[key])

    def _require_match(self) -> None:
        wanted = {layer.address: len(layer.candidates) for layer in self.relaxed if not layer.fixed}
        found = {address: layer.count for address, layer in self.layers.items()}
        if wanted != found:
            raise NascError("supernet.py and space.json are not of the same space", help="compile the space again")

    def prunodes(self) -> Iterator[tuple[Key, Prunode]]:
        """The Prunodes of the candidates that are left."""
        for address, layer in self.layers.items():
            for number, node in layer.prunodes().items():
                yield (address, number), node

    # ------------------------------------------------------------------------------------------ training

    def architecture(self) -> list[nn.Parameter]:
        """The architecture weights of what is left."""
        return [layer.theta for layer in self.layers.values()] + [node.theta for _, node in self.prunodes()]

    def weights(self) -> list[nn.Parameter]:
        """The weights of what is left."""
        architecture = {id(parameter) for parameter in self.architecture()}
        return [parameter for parameter in self.supernet.parameters() if id(parameter) not in architecture]

    def cost(self) -> Tensor:
        """Eq. 5: the expected cost with the coefficients of the last forward pass."""
        return torch.stack([layer.cost for layer in self.layers.values()]).sum() + self.costs.fixed

    def loss(self, cross_entropy: Tensor) -> Tensor:
        """Eq. 2, after a forward pass."""
        return cross_entropy + cost_term(self.cost(), self.alpha, self.beta)

    # ------------------------------------------------------------------------------------------ what a method does

    def begin(self) -> None:
        """Warm-up is over."""

    def start_epoch(self, epoch: int) -> None:
        """Epoch `epoch` (from 0) begins, warm-up or not."""

    def counts(self, architecture: bool) -> bool:
        """Do steps that train this kind of weights count towards the progress that `after_step` is told?"""
        return True

    def after_step(self, progress: float) -> list[nn.Parameter]:
        """After each counted step past the warm-up, progress from 0 to 1; returns architecture weights whose moments
        are to be cleared."""
        return []

    def end_epoch(self, epoch: int) -> Decided:
        """What is decided after epoch `epoch` (from 1), past the warm-up."""
        return Decided()

    def settings(self) -> dict[str, Any]:
        """What of a sweep this run is: the values that a run's result states."""
        return {"alpha": self.alpha}

    # ------------------------------------------------------------------------------------------ what stands

    def candidates_left(self) -> int:
        return sum(len(layer.alive) for layer in self.layers.values())

    def expected_cost(self) -> float:
        """The cost expected without noise."""
        return self.costs.fixed + sum(self._expected(layer) for layer in self.layers.values())

    def _expected(self, layer: StochasticLayer) -> float:
        total, nodes = 0.0, layer.prunodes()
        for number, probability in layer.probabilities().items():
            if number in nodes:
                node = nodes[number]
                large = torch.sigmoid(node.theta.detach()).item()
                total += probability * ((1 - large) * node.costs[node.small] + large * node.costs[node.large])
            elif number != layer.count:
                total += probability * layer.costs[number]
        return total

    def describe(self, epoch: int) -> dict[str, Any]:
        """How it stands at the end of epoch `epoch` (from 1), for the metrics log: probabilities of what is left."""
        return {
            "probabilities": {
                address: {"skip" if i == layer.count else str(i): round(p, 6) for i, p in layer.probabilities().items()}
                for address, layer in self.layers.items()
            }
        }

    def choices(self) -> Choices:
        """The most probable member."""
        return {layer.address: self._choice(layer) for layer in self.relaxed}

    def _choice(self, relaxed: RelaxedLayer) -> tuple[int, dict[str, Rational]] | None:
        if relaxed.fixed:
            return relaxed.candidates[0].choice(None)
        layer = self.layers[relaxed.address]
        number = layer.chosen()
        if number == layer.count:
            return None
        node = layer.prunodes().get(number)
        return relaxed.candidates[number].choice(node.chosen() if node is not None else None)

    def chosen_cost(self) -> float:
        """The cost of the most probable member."""
        total = self.costs.fixed
        for layer in self.layers.values():
            number = layer.chosen()
            if number != layer.count:
                node = layer.prunodes().get(number)
                total += layer.costs[number] if node is None else node.costs[node.chosen()]
        return total

    def reachable(self) -> Reachable:
        """Every member that the search can still end in."""
        layers = {relaxed.address: self._open(relaxed) for relaxed in self.relaxed}
        droppable = {address for address in layers if address in self.layers and self._droppable(self.layers[address])}
        return Reachable(layers, frozenset(droppable))

    def _open(self, relaxed: RelaxedLayer) -> tuple[Open, ...]:
        if relaxed.fixed:
            return (Open(*relaxed.candidates[0].choice(None)),)
        layer = self.layers[relaxed.address]
        return tuple(self.open_candidate(relaxed, number) for number in layer.alive if number != layer.count)

    def open_candidate(self, relaxed: RelaxedLayer, number: int) -> Open:
        """A candidate that is left, with what is decided in it."""
        return Open(*relaxed.candidates[number].choice(None))

    def _droppable(self, layer: StochasticLayer) -> bool:
        """May the layer still be dropped: is its skip there, or may it come in?"""
        return layer.skip or (layer.skippable and not layer.skip_gone)

    # ------------------------------------------------------------------------------------------ state

    def state(self) -> dict[str, Any]:
        """All that is decided so far, as plain data; the weights are the SuperNet's."""
        return {
            "alive": {address: layer.alive for address, layer in self.layers.items()},
            "skip_gone": [address for address, layer in self.layers.items() if layer.skip_gone],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Bring a fresh SuperNet to a `state()`. Raises `KeyError` or `ValueError` for one of another space."""
        if set(state["alive"]) != set(self.layers):
            raise ValueError("other layers")
        for address, layer in self.layers.items():
            layer.restore([int(number) for number in state["alive"][address]], address in state["skip_gone"])
