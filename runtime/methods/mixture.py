"""What methods over a SuperNet of stochastic layers share: the architecture side of a search by gradient descent.

A method derives from `Mixture` and overrides what it does otherwise; `SearchRun` calls it. Sources are sections and
equations of "Tiered Pruning for Efficient Differentiable Inference-aware Neural Architecture Search".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasc.compiler.expr import Rational
from nasc.compiler.member import Choices
from nasc.compiler.methods.relax import RelaxedLayer
from nasc.compiler.methods.supernet import SupernetOptions
from nasc.compiler.reachable import Open, Reachable
from nasc.dsl.diagnostics import NascError
from nasc.runtime.costs import Costs, reach
from nasc.runtime.methods.loss import cost_term
from nasc.runtime.methods.searched import Searched
from nasc.runtime.methods.target import WINDOW, Multiplier, Option, best_within
from nasc.runtime.supernet import Price, Prunode, StochasticLayer, stochastic_layers

Key = tuple[str, int]
"""A candidate: its layer's address and its number."""


class Mixture(Searched):
    """Candidates mixed by Gumbel-Softmax, eq. 2 to 5. By itself it neither moves masks nor removes anything."""

    def __init__(
        self, supernet: nn.Module, layers: Sequence[RelaxedLayer], costs: Costs, options: SupernetOptions
    ) -> None:
        """Uses the first alpha of `options`. Raises `NascError` where SuperNet and layers do not match."""
        super().__init__(supernet, options.alpha[0], costs.unit)
        self.relaxed, self.costs, self.beta = tuple(layers), costs, options.beta
        self.multiplier = None if options.target is None else Multiplier(options.target, self.alpha)
        self._most = reach(costs, layers)[1]
        self.layers = stochastic_layers(supernet)
        self._require_match()
        for address, layer in self.layers.items():
            plain = [i for i in range(layer.count) if 0 in costs.blocks[address, i]]
            layer.costs = {i: self._price(address, i, 0) for i in (*plain, layer.count)}
        for (address, number), node in self.prunodes():
            node.costs = {width: self._price(address, number, width) for width in node.widths}

    def _price(self, address: str, number: int, width: int) -> Price:
        """A candidate's cost; where the largest of several counts, all of them."""
        prices = tuple(part.block(address, number, width) for part in self.costs.parts)
        return prices if len(prices) > 1 else prices[0]

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

    def recompute(self, wanted: bool) -> None:
        for layer in self.layers.values():
            layer.recompute = wanted

    def cost(self) -> Tensor:
        """Eq. 5: the expected cost with the coefficients of the last forward pass; of several, the largest."""
        blocks = torch.stack([layer.cost for layer in self.layers.values()]).sum(0)
        fixed = [part.fixed for part in self.costs.parts]
        return blocks + fixed[0] if len(fixed) == 1 else (blocks + blocks.new_tensor(fixed)).amax()

    def loss(self, cross_entropy: Tensor) -> Tensor:
        """Eq. 2, after a forward pass."""
        return cross_entropy + cost_term(self.cost(), self.alpha, self.beta)

    def adjust(self, done: float) -> None:
        """After a step that trained architecture weights, past the warm-up: `done` of the search (0 to 1) is done."""
        if self.multiplier is not None:
            self.alpha = self.multiplier.step(done, self.expected_cost())

    def settings(self) -> dict[str, Any]:
        """What of a sweep this run is: the values that a run's result states."""
        return {"alpha": self.alpha, **({} if self.multiplier is None else {"target": self.multiplier.target})}

    def may_go(self, layer: StochasticLayer, number: int) -> bool:
        """Can the target still be met without this candidate (or skip) of a layer? Without a target all may go."""
        if self.multiplier is None:
            return True
        least = most = self.costs.fixed
        for each in self.layers.values():
            costs = [self._cost(each, *way) for way in self._ways(each) if each is not layer or way[0] != number]
            dropped = self._droppable(each) and not (each is layer and number == layer.count)
            least += 0.0 if dropped else min(costs)
            most += max(costs)
        return least <= self.multiplier.target and most >= min(self._most, self.multiplier.target * (1 - WINDOW))

    # ------------------------------------------------------------------------------------------ what stands

    def candidates_left(self) -> int:
        return sum(len(layer.alive) for layer in self.layers.values())

    def expected_cost(self) -> float:
        """The cost expected without noise; of several, the largest."""
        return max(self._expected(self.costs.parts))

    def _expected(self, parts: Sequence[Costs]) -> list[float]:
        """The cost expected without noise by each of these."""
        totals = [part.fixed for part in parts]
        for address, layer in self.layers.items():
            for number, width, probability in _likely(layer):
                for i, part in enumerate(parts):
                    totals[i] += probability * part.block(address, number, width)
        return totals

    def describe(self, epoch: int) -> dict[str, Any]:
        """How it stands at the end of epoch `epoch` (from 1), for the metrics log: probabilities of what is left."""
        targets = self.costs.targets
        expected = self._expected([target.costs for target in targets])
        return {
            "probabilities": {
                address: {"skip" if i == layer.count else str(i): round(p, 6) for i, p in layer.probabilities().items()}
                for address, layer in self.layers.items()
            },
            **({"targets": {t.name: us for t, us in zip(targets, expected, strict=True)}} if targets else {}),
        }

    def choices(self) -> Choices:
        """The most probable member; with a target, the most probable of those that meet it."""
        decided = self._decided()
        return {layer.address: self._choice(layer, decided) for layer in self.relaxed}

    def _choice(
        self, relaxed: RelaxedLayer, decided: Mapping[str, tuple[int, int | None]]
    ) -> tuple[int, dict[str, Rational]] | None:
        if relaxed.fixed:
            return relaxed.candidates[0].choice(None)
        number, width = decided[relaxed.address]
        return None if number == self.layers[relaxed.address].count else relaxed.candidates[number].choice(width)

    def chosen_cost(self) -> float:
        """The cost of the member that is chosen."""
        decided = self._decided()
        return max(part.of(decided) for part in self.costs.parts)

    def chosen_latencies(self) -> list[tuple[str, float, float | None]]:
        """Name, latency and limit (in microseconds) of the member that is chosen, at each target there is more to say
        of."""
        decided = self._decided()
        return [(target.name, target.costs.of(decided), target.limit) for target in self.costs.targets]

    def _cost(self, layer: StochasticLayer, number: int, width: int | None) -> float:
        return self.costs.block(layer.address, number, width)

    def _decided(self) -> dict[str, tuple[int, int | None]]:
        """For each stochastic layer the number of its candidate, or the skip's, and the width of a Prunode."""
        if self.multiplier is None:
            return {address: self._most_probable(layer) for address, layer in self.layers.items()}
        ways = [self._ways(layer) for layer in self.layers.values()]
        options = [
            [Option(self._cost(layer, *way), score) for way, score in of_layer.items()]
            for layer, of_layer in zip(self.layers.values(), ways, strict=True)
        ]
        found = best_within(options, self.costs.fixed, self.multiplier.target)
        if found is None:  # what was decided leaves nothing that meets the target: the cheapest of it
            found = [min(range(len(each)), key=lambda i: each[i].cost) for each in options]
        return {address: list(of_layer)[i] for address, of_layer, i in zip(self.layers, ways, found, strict=True)}

    def _most_probable(self, layer: StochasticLayer) -> tuple[int, int | None]:
        number = layer.chosen()
        node = layer.prunodes().get(number)
        return number, None if node is None else node.chosen()

    def _ways(self, layer: StochasticLayer) -> dict[tuple[int, int | None], float]:
        """Each way to decide a layer, with the log of its probability; a width that is not a mask's is less probable
        by a factor of e for each step of the grid away from the nearer mask."""
        found: dict[tuple[int, int | None], float] = {}
        nodes = layer.prunodes()
        for number, probability in layer.probabilities().items():
            score = math.log(max(probability, 1e-30))
            if number not in nodes:
                found[number, None] = score
                continue
            for width, further in _width_scores(nodes[number]).items():
                found[number, width] = score + further
        return found

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
            **({} if self.multiplier is None else {"multiplier": self.multiplier.state()}),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Bring a fresh SuperNet to a `state()`. Raises `KeyError` or `ValueError` for one of another space."""
        if set(state["alive"]) != set(self.layers):
            raise ValueError("other layers")
        if self.multiplier is not None and "multiplier" in state:  # another run's warm-up may have had no target
            self.multiplier.restore(state["multiplier"])
            self.alpha = self.multiplier.alpha
        for address, layer in self.layers.items():
            layer.restore([int(number) for number in state["alive"][address]], address in state["skip_gone"])


def _likely(layer: StochasticLayer) -> Iterator[tuple[int, int | None, float]]:
    """The candidates of a layer at each width that they may now have, with how probable each is."""
    nodes = layer.prunodes()
    for number, probability in layer.probabilities().items():
        if number not in nodes:
            yield number, None, probability
            continue
        node = nodes[number]
        large = torch.sigmoid(node.theta.detach()).item()
        yield number, node.small, probability * (1 - large)
        yield number, node.large, probability * large


def _width_scores(node: Prunode) -> dict[int, float]:
    """The log of how probable each width of a Prunode is."""
    large = torch.sigmoid(node.theta.detach()).item()
    masks = {node.small: math.log(max(1 - large, 1e-30)), node.large: math.log(max(large, 1e-30))}
    at = {width: i for i, width in enumerate(node.widths)}
    scores = {width: max(score - abs(at[width] - at[mask]) for mask, score in masks.items()) for width in node.widths}
    return {**scores, **masks}
