"""PruNet at run time: what its three tiers of pruning decide, and when.

Sources are sections, equations and the algorithm of "Tiered Pruning for Efficient Differentiable Inference-aware
Neural Architecture Search". What the paper leaves open is an option (`nasc.compiler.methods.prunet`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasc.compiler.expr import Rational
from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.relax import RelaxedLayer
from nasc.dsl.diagnostics import NascError
from nasc.runtime.costs import Costs
from nasc.runtime.methods.loss import cost_term, threshold_at
from nasc.runtime.methods.masks import Masks, MaskSettings
from nasc.runtime.supernet import Prunode, StochasticLayer, stochastic_layers

Choices = dict[str, tuple[int, dict[str, Rational]] | None]
"""What a search chose: for each layer's address None (dropped), or a variant's number and its decisions."""

Key = tuple[str, int]
"""A candidate: its layer's address and its number."""


class Prunet:
    """The architecture side of one PruNet search over a SuperNet."""

    def __init__(
        self, supernet: nn.Module, layers: Sequence[RelaxedLayer], costs: Costs, options: PrunetOptions
    ) -> None:
        """Uses the first alpha and lambda of `options`. Raises `NascError` where SuperNet and layers do not match."""
        self.supernet, self.relaxed, self.costs, self.options = supernet, tuple(layers), costs, options
        self.alpha, self.lambda_ = options.alpha[0], options.lambda_[0]
        self.layers = stochastic_layers(supernet)
        self._require_match()
        settings = MaskSettings(options.small, options.large, options.c, options.max_distance, options.momentum)
        self.masks = {key: Masks(node.widths, settings) for key, node in self._all_prunodes()}
        for address, layer in self.layers.items():
            layer.phi, layer.lambda_, layer.tau = options.phi, self.lambda_, options.tau
            layer.costs = {i: costs.blocks[address, i].get(0, 0.0) for i in range(layer.count)}
        for key, node in self._all_prunodes():
            node.costs = dict(costs.blocks[key])
            self._show_masks(key, node)

    def _require_match(self) -> None:
        wanted = {layer.address: len(layer.candidates) for layer in self.relaxed if not layer.fixed}
        found = {address: layer.count for address, layer in self.layers.items()}
        if wanted != found:
            raise NascError("supernet.py and space.json are not of the same space", help="compile the space again")

    def _all_prunodes(self) -> Iterator[tuple[Key, Prunode]]:
        """The Prunodes of the candidates that are left."""
        for address, layer in self.layers.items():
            for number, node in layer.prunodes().items():
                yield (address, number), node

    # ------------------------------------------------------------------------------------------ training

    def architecture(self) -> list[nn.Parameter]:
        """The architecture weights of what is left."""
        return [layer.theta for layer in self.layers.values()] + [node.theta for _, node in self._all_prunodes()]

    def weights(self) -> list[nn.Parameter]:
        """The weights of what is left."""
        architecture = {id(parameter) for parameter in self.architecture()}
        return [parameter for parameter in self.supernet.parameters() if id(parameter) not in architecture]

    def cost(self) -> Tensor:
        """Eq. 5: the expected cost with the coefficients of the last forward pass."""
        return torch.stack([layer.cost for layer in self.layers.values()]).sum() + self.costs.fixed

    def loss(self, cross_entropy: Tensor) -> Tensor:
        """Eq. 2, after a forward pass."""
        return cross_entropy + cost_term(self.cost(), self.alpha, self.options.beta)

    # ------------------------------------------------------------------------------------------ tier 1

    def step_masks(self, progress: float) -> list[nn.Parameter]:
        """Algorithm 1 for every Prunode, after a training iteration; returns the weights that it reset."""
        nodes = list(self._all_prunodes())
        weights = torch.stack([node.theta.detach() for _, node in nodes]).tolist() if nodes else []
        reset = []
        for (key, node), weight in zip(nodes, weights, strict=True):
            masks = self.masks[key]
            if not masks.moving:
                continue
            after = masks.step(weight, progress)
            self._show_masks(key, node)
            if after != weight:
                with torch.no_grad():
                    node.theta.fill_(after)
                reset.append(node.theta)
        return reset

    def _show_masks(self, key: Key, node: Prunode) -> None:
        node.small, node.large = self.masks[key].small, self.masks[key].large

    # ------------------------------------------------------------------------------------------ tiers 2 and 3

    def begin(self) -> None:
        """Warm-up is over: a layer with a single candidate that may be dropped is given its skip (chosen)."""
        for layer in self.layers.values():
            if layer.skippable and layer.count == 1 and not layer.skip:
                layer.replace_by_skip()

    def threshold(self, epoch: int) -> float:
        """Eq. 6 at the end of epoch `epoch`, counted from 1."""
        schedule, options = self.options.threshold, self.options
        return threshold_at(schedule.first, schedule.last, epoch, options.warmup, options.epochs)

    def prune(self, epoch: int) -> tuple[list[str], list[nn.Module]]:
        """Remove what is below the threshold of epoch `epoch` (from 1): what happened, and the modules removed."""
        events: list[str] = []
        removed: list[nn.Module] = []
        for layer in self.layers.values():
            self._prune_layer(layer, self.threshold(epoch), events, removed)
        return events, removed

    def _prune_layer(
        self, layer: StochasticLayer, threshold: float, events: list[str], removed: list[nn.Module]
    ) -> None:
        """The weakest first, one after another: with each that goes, the others become more probable (chosen)."""
        while len(layer.alive) > 1:
            values = self._standing(layer)
            # Where two are even the later goes, so a block outlives the skip.
            weakest = min(values, key=lambda number: (values[number], -number))
            if values[weakest] >= threshold:
                return
            if layer.skippable and not layer.skip and len(values) == 2:
                module = layer.replace_by_skip(weakest)
                events.append(f"{layer.address}: the skip replaces candidate {weakest}")
                removed += [module] if module is not None else []
                return  # the skip is judged from the next epoch on
            module = layer.remove(weakest)
            removed += [module] if module is not None else []
            events.append(f"{layer.address}: {self._name(layer, weakest)} is gone")

    def _standing(self, layer: StochasticLayer) -> dict[int, float]:
        if self.options.prune_by == "probability":
            return layer.probabilities()
        return {number: layer.theta[number].item() for number in layer.alive}

    def _name(self, layer: StochasticLayer, number: int) -> str:
        return "the skip" if number == layer.count else f"candidate {number}"

    # ------------------------------------------------------------------------------------------ what stands

    def candidates_left(self) -> int:
        return sum(len(layer.alive) for layer in self.layers.values())

    def expected_cost(self) -> float:
        """The cost expected without noise."""
        return self.costs.fixed + sum(self._expected(layer) for layer in self.layers.values())

    def _expected(self, layer: StochasticLayer) -> float:
        total = 0.0
        for number, probability in layer.probabilities().items():
            if number == layer.count:
                continue
            node = layer.prunodes().get(number)
            if node is None:
                total += probability * layer.costs[number]
            else:
                large = torch.sigmoid(node.theta.detach()).item()
                total += probability * ((1 - large) * node.costs[node.small] + large * node.costs[node.large])
        return total

    def describe(self) -> dict[str, Any]:
        """Probabilities, and masks with the probability of the large one, for the metrics log."""
        return {
            "probabilities": {
                address: {"skip" if i == layer.count else str(i): round(p, 6) for i, p in layer.probabilities().items()}
                for address, layer in self.layers.items()
            },
            "masks": {f"{address}#{i}": [node.small, node.large] for (address, i), node in self._all_prunodes()},
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
            if number == layer.count:
                continue
            node = layer.prunodes().get(number)
            total += layer.costs[number] if node is None else node.costs[node.chosen()]
        return total

    # ------------------------------------------------------------------------------------------ state

    def state(self) -> dict[str, Any]:
        """All that is decided so far, as plain data; the weights are the SuperNet's."""
        return {
            "alive": {address: layer.alive for address, layer in self.layers.items()},
            "masks": {f"{address}#{i}": self.masks[address, i].state() for (address, i), _ in self._all_prunodes()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Bring a fresh SuperNet to a `state()`. Raises `KeyError` or `ValueError` for one of another space."""
        if set(state["alive"]) != set(self.layers):
            raise ValueError("other layers")
        for address, layer in self.layers.items():
            alive = [int(number) for number in state["alive"][address]]
            if not alive or not set(alive) <= set(range(layer.count + layer.skippable)):
                raise ValueError(f"`{address}` has no candidates {alive}")
            layer.skip = layer.count in alive
            for number in set(range(layer.count)) - set(alive):
                del layer.candidates[str(number)]
        for (address, number), node in self._all_prunodes():
            self.masks[address, number].restore(state["masks"][f"{address}#{number}"])
            self._show_masks((address, number), node)
