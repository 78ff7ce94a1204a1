"""FBNet at run time: a mixture whose temperature falls; nothing is masked or pruned.

The baseline of PruNet's Table 3. "FBNet" is Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via
Differentiable Neural Architecture Search" (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasc.compiler.methods.fbnet import FbnetOptions
from nasc.compiler.methods.relax import RelaxedLayer
from nasc.runtime.costs import Costs
from nasc.runtime.methods.loss import cost_term
from nasc.runtime.methods.mixture import Mixture
from nasc.runtime.search_context import Context, Outcome
from nasc.runtime.supernet_search import search_supernet


def search(context: Context) -> Outcome:
    """Run FBNet's search."""
    return search_supernet(context, Fbnet)


class Fbnet(Mixture):
    """The architecture side of one search: the skip is a candidate like the others, from the start."""

    def __init__(
        self, supernet: nn.Module, layers: Sequence[RelaxedLayer], costs: Costs, options: FbnetOptions
    ) -> None:
        """Uses the first alpha of `options`. Raises `NascError` where SuperNet and layers do not match."""
        super().__init__(supernet, layers, costs, options)
        self.options = options
        for layer in self.layers.values():
            if layer.skippable:
                layer.skip = True
                with torch.no_grad():
                    layer.theta.fill_(1 / (layer.count + 1))

    def loss(self, cross_entropy: Tensor) -> Tensor:
        """Eq. 2 of PruNet or, where the two are multiplied, of FBNet."""
        term = cost_term(self.cost(), self.alpha, self.beta)
        return cross_entropy * term if self.options.combine == "multiply" else cross_entropy + term

    def start_epoch(self, epoch: int) -> None:
        for layer in self.layers.values():
            layer.tau = self.temperature(epoch)

    def temperature(self, epoch: int) -> float:
        """tau in epoch `epoch` (from 0): falls by the same factor each epoch after warm-up."""
        schedule, options = self.options.temperature, self.options
        part = max(0, epoch - options.warmup) / max(1, options.epochs - 1 - options.warmup)
        return schedule.first * (schedule.last / schedule.first) ** part

    def describe(self, epoch: int) -> dict[str, Any]:
        return {**super().describe(epoch), "temperature": self.temperature(epoch - 1)}
