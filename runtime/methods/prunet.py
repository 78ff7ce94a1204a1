"""PruNet at run time: what its three tiers of pruning decide, and when.

Sources are sections, equations and the algorithm of "Tiered Pruning for Efficient Differentiable Inference-aware
Neural Architecture Search". What the paper leaves open is an option (`nasc.compiler.methods.prunet`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from nasc.compiler.domain import Domain
from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.relax import RelaxedLayer
from nasc.compiler.reachable import Open
from nasc.runtime.costs import Costs
from nasc.runtime.methods.loss import threshold_at
from nasc.runtime.methods.masks import Masks, MaskSettings
from nasc.runtime.methods.mixture import Key, Mixture
from nasc.runtime.methods.searched import Decided
from nasc.runtime.search_context import Context, Outcome
from nasc.runtime.supernet import Prunode, StochasticLayer
from nasc.runtime.supernet_search import search_supernet


def search(context: Context) -> Outcome:
    """Run PruNet's search."""
    return search_supernet(context, Prunet)


class Prunet(Mixture):
    """The architecture side of one PruNet search over a SuperNet."""

    def __init__(
        self, supernet: nn.Module, layers: Sequence[RelaxedLayer], costs: Costs, options: PrunetOptions
    ) -> None:
        """Uses the first alpha and lambda of `options`. Raises `NascError` where SuperNet and layers do not match."""
        super().__init__(supernet, layers, costs, options)
        self.options, self.lambda_ = options, options.lambda_[0]
        self.progress_from_start = options.progress_from == "start"
        settings = MaskSettings(options.small, options.large, options.c, options.max_distance, options.momentum)
        self.masks = {key: Masks(node.widths, settings) for key, node in self.prunodes()}
        for layer in self.layers.values():
            layer.phi, layer.lambda_, layer.tau = options.phi, self.lambda_, options.tau
        for key, node in self.prunodes():
            self._show_masks(key, node)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "lambda": self.lambda_}

    # ------------------------------------------------------------------------------------------ tier 1

    def counts(self, architecture: bool) -> bool:
        return architecture or self.options.mask_steps == "every"

    def after_step(self, progress: float) -> list[nn.Parameter]:
        """Algorithm 1 for every Prunode; returns the weights whose moments are to be cleared."""
        reset = self.step_masks(progress)
        return reset if self.options.reset_moments else []

    def step_masks(self, progress: float) -> list[nn.Parameter]:
        """Move the masks, progress from 0 to 1; returns the architecture weights that this reset."""
        nodes = list(self.prunodes())
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
        """A layer with a single candidate that may be dropped is given its skip (chosen)."""
        for layer in self.layers.values():
            if layer.skippable and layer.count == 1 and not layer.skip:
                layer.replace_by_skip(weight=self._skip_weight(layer))

    def _skip_weight(self, layer: StochasticLayer) -> float | None:
        return 1 / layer.count if self.options.skip_weight == "initial" else None

    def threshold(self, epoch: int) -> float:
        """Eq. 6 at the end of epoch `epoch`, counted from 1."""
        schedule, options = self.options.threshold, self.options
        return threshold_at(schedule.first, schedule.last, epoch, options.warmup, options.epochs)

    def end_epoch(self, epoch: int) -> Decided:
        """Remove what is below the threshold of epoch `epoch` (from 1)."""
        decided = Decided()
        for layer in self.layers.values():
            self._prune(layer, self.threshold(epoch), decided)
        return decided

    def _prune(self, layer: StochasticLayer, threshold: float, decided: Decided) -> None:
        """One after another, the weakest first; the skip that comes in is judged from the next epoch on."""
        standing = self._standing(layer)
        while len(layer.alive) > 1:
            # Where two are even the later goes, so a block outlives the skip.
            weakest = min(standing, key=lambda number: (standing[number], -number))
            if standing[weakest] >= threshold or not self.may_go(layer, weakest):
                return
            last_but_one = layer.skippable and not layer.skip and len(layer.alive) == 2
            gone = layer.replace_by_skip(weakest, self._skip_weight(layer)) if last_but_one else layer.remove(weakest)
            decided.removed += [gone] if gone is not None else []
            decided.events.append(_event(layer, weakest, last_but_one))
            if last_but_one:
                decided.renewed += [layer.theta] if self.options.skip_moments == "fresh" else []
                return
            del standing[weakest]
            if self.options.removal == "weakest":
                standing = self._standing(layer)  # those left are more probable now

    def _standing(self, layer: StochasticLayer) -> dict[int, float]:
        """What the threshold is compared with, for each of those alive."""
        if self.options.prune_by == "probability":
            return layer.probabilities()
        return {number: layer.theta[number].item() for number in layer.alive}

    # ------------------------------------------------------------------------------------------ what stands

    def describe(self, epoch: int) -> dict[str, Any]:
        """Beside the probabilities: the threshold, and each Prunode's masks as widths."""
        searching = epoch > self.options.warmup
        return {
            **super().describe(epoch),
            "threshold": self.threshold(epoch) if searching else None,
            "masks": {f"{address}#{i}": [node.small, node.large] for (address, i), node in self.prunodes()},
        }

    def open_candidate(self, relaxed: RelaxedLayer, number: int) -> Open:
        """A Prunode that still moves may end anywhere in its range; one at rest ends in one of its two widths."""
        candidate, key = relaxed.candidates[number], (relaxed.address, number)
        masks = self.masks.get(key)
        if masks is None or masks.moving:
            return Open(candidate.variant, candidate.values)
        narrowed = Domain.of((masks.small, masks.large))
        return Open(candidate.variant, {**candidate.values, candidate.width: narrowed})

    # ------------------------------------------------------------------------------------------ state

    def state(self) -> dict[str, Any]:
        masks = {f"{address}#{i}": self.masks[address, i].state() for (address, i), _ in self.prunodes()}
        return {**super().state(), "masks": masks}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        for (address, number), node in self.prunodes():
            self.masks[address, number].restore(state["masks"][f"{address}#{number}"])
            self._show_masks((address, number), node)


def _event(layer: StochasticLayer, number: int, replaced: bool) -> str:
    if replaced:
        return f"{layer.address}: the skip replaces candidate {number}"
    return f"{layer.address}: {'the skip' if number == layer.count else f'candidate {number}'} is gone"
