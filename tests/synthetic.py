"""Searches whose best network is known: a SuperNet that computes a table of losses instead of images' classes.

The signal is one number for each image. It starts at what the network without any layer under search would lose; a
candidate adds to it what it gains at its width (below 0), a skip adds nothing, and the head makes of the sum L two
logits whose cross-entropy with the label 0 is L. So mixtures of candidates lose the mixture of their losses, and the
best member is found by trying all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.relax import RelaxedLayer, relax
from nasc.compiler.network import network_of
from nasc.runtime.costs import Costs
from nasc.runtime.data_splits import DataSplits
from nasc.runtime.methods.prunet import Prunet
from nasc.runtime.progress import SilentProgress
from nasc.runtime.search_context import Settings
from nasc.runtime.search_run import SearchRun
from nasc.runtime.supernet import Prunode, StochasticLayer
from tests.spaces import space_of

Key = tuple[str, int]
Table = dict[Key, dict[int, float]]
"""A number for each candidate at each width (0 where no width is searched)."""

Found = dict[str, tuple[int | None, int]]
"""For each layer the candidate, None for the skip, and its width."""


@dataclass(frozen=True)
class Problem:
    """Layers with what each candidate adds to the loss, and what it costs; `base` is the loss without any of them."""

    layers: tuple[RelaxedLayer, ...]
    base: float
    adds: Table
    costs: Costs
    alpha: float
    beta: float = 0.6

    @property
    def searched(self) -> tuple[RelaxedLayer, ...]:
        return tuple(layer for layer in self.layers if not layer.fixed)

    def alternatives(self, layer: RelaxedLayer) -> list[tuple[int | None, int]]:
        """All that a layer can be: candidates at their widths, and the skip."""
        blocks = [(i, width) for i in range(len(layer.candidates)) for width in self.adds[layer.address, i]]
        return [*blocks, *([(None, 0)] if layer.skippable else [])]

    def losses(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The total loss of every member, an axis for each layer: eq. 2 with the cross-entropy known."""
        entropy, cost = np.array(self.base), np.array(self.costs.fixed)
        for layer in self.searched:
            known = [(layer.address, i) for i in range(len(layer.candidates))]
            assert all(key in self.adds and key in self.costs.blocks for key in known)
            own = self.alternatives(layer)
            entropy = np.add.outer(entropy, [0.0 if i is None else self.adds[layer.address, i][w] for i, w in own])
            cost = np.add.outer(cost, [0.0 if i is None else self.costs.blocks[layer.address, i][w] for i, w in own])
        assert entropy.min() > 0 and cost.min() > np.e
        return np.asarray(entropy + self.alpha * np.log(cost) ** self.beta)

    def best(self) -> Found:
        """The member with the least total loss, of all."""
        losses = self.losses()
        place = np.unravel_index(losses.argmin(), losses.shape)
        return {la.address: self.alternatives(la)[i] for la, i in zip(self.searched, place, strict=True)}

    def loss_of(self, found: Found) -> float:
        place = tuple(self.alternatives(layer).index(found[layer.address]) for layer in self.searched)
        return float(self.losses()[place])


class Adds(nn.Module):
    """A candidate: adds a known number to the signal, in a Prunode one for each width."""

    def __init__(self, numbers: Mapping[int, float]) -> None:
        super().__init__()
        self.numbers = numbers

    def forward(self, x: Tensor, widths: Sequence[int] | None = None) -> Any:
        return x + self.numbers[0] if widths is None else [x + self.numbers[width] for width in widths]


class TableNet(nn.Module):
    """The SuperNet of a problem, from images N×1×1×1 of zeros to N×2 logits. Its one weight changes nothing."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.base = problem.base
        self.weight = nn.Parameter(torch.zeros(()))
        self.layers = nn.Sequential(*(self._layer(problem, layer) for layer in problem.searched))

    @staticmethod
    def _layer(problem: Problem, layer: RelaxedLayer) -> StochasticLayer:
        blocks = [Adds(problem.adds[layer.address, i]) for i in range(len(layer.candidates))]
        candidates = [Prunode(b, c.widths) if c.widths else b for b, c in zip(blocks, layer.candidates, strict=True)]
        return StochasticLayer(layer.address, candidates, skippable=layer.skippable)

    def forward(self, images: Tensor) -> Tensor:
        signal = self.layers(images.flatten() + self.base + 0 * self.weight)
        logit = -torch.log(torch.expm1(signal))
        return torch.stack([logit, torch.zeros_like(logit)], 1)


@cache
def relaxed(text: str) -> tuple[RelaxedLayer, ...]:
    """The layers of a space, relaxed as PruNet does it."""
    return relax(network_of(space_of(text)))


def run_search(problem: Problem, options: PrunetOptions, images: int = 10) -> Found:
    """The search itself over the problem's SuperNet, from start to end; what it ends in."""
    run = search_run(problem, options, images)
    while not run.ended:
        run.run_epoch()
    assert isinstance(run.method, Prunet)
    return found_by(run.method)


def search_run(problem: Problem, options: PrunetOptions, images: int = 10) -> SearchRun:
    """A search that has not begun."""
    options = options.model_copy(update={"alpha": (problem.alpha,), "beta": problem.beta})
    method = Prunet(TableNet(problem), problem.layers, problem.costs, options)
    zeros = TensorDataset(torch.zeros(images, 1, 1, 1), torch.zeros(images, dtype=torch.int64))
    data = DataSplits("zeros", 2, (1, 1, 1), (0.0,), (1.0,), zeros, zeros)
    return SearchRun(method, data, options, torch.device("cpu"), SilentProgress(), Settings(data="zeros"))


def found_by(method: Prunet) -> Found:
    """What a search ends in, as the problem words it."""
    found: Found = {}
    for address, layer in method.layers.items():
        number = layer.chosen()
        node = layer.prunodes().get(number)
        found[address] = (None if number == layer.count else number, 0 if node is None else node.chosen())
    return found
