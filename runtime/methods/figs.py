"""FiGS at run time: the fullest network, a mask drawn for each channel at each step, a penalty on the expected cost.

"FiGS" is "FiGS: Fine-Grained Stochastic Architecture Search" (2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nasc.compiler.fullest import fullest
from nasc.compiler.ir import Network
from nasc.compiler.lower_masked import masked_paths
from nasc.compiler.masked_member import Kept, kept_widths, member_of, operators_left
from nasc.compiler.masked_weights import gathered, kept_channels
from nasc.compiler.masks import MaskedNetwork, masked
from nasc.compiler.methods.figs import STRENGTHS, FigsOptions
from nasc.dsl.diagnostics import NascError
from nasc.runtime.costs import UNITS
from nasc.runtime.expected_cost import ExpectedCost
from nasc.runtime.make_supernet import make_supernet
from nasc.runtime.masks import MaskBank, fix, with_masks
from nasc.runtime.masks_state import gathered_state
from nasc.runtime.methods.masked_cost import cost_of_widths, expected_cost
from nasc.runtime.methods.searched import Searched
from nasc.runtime.methods.target import Multiplier
from nasc.runtime.recalibrate import BATCHES, recalibrate
from nasc.runtime.search_context import Context, Outcome
from nasc.runtime.search_run import SearchRun, run_epochs
from nasc.runtime.states import StateFiles


def search(context: Context) -> Outcome:
    """Run FiGS's search.

    Raises `NascError` where latencies are missing, where SuperNet and space do not match, and for what `SearchRun` and
    `run_epochs` raise.
    """
    options: FigsOptions = context.options
    masks = masked(fullest(context.source.space, options.merges))
    cost, digest = expected_cost(context, masks)
    supernet = make_supernet(context)
    figs = Figs(supernet, masks, cost, options)
    supernet.to(context.device)
    cost.to(context.device)
    run = SearchRun(figs, context.data, options, context.device, context.progress, context.settings, context.ranks)
    states = StateFiles(context.out, context.source, f"{context.method.about} on {context.data.name}")
    run_epochs(run, context.out, {**context.identity, "costs": digest}, states)
    return _outcome(context, run, figs)


_FURTHEST, _HALVINGS = 30.0, 24
"""How far logits are moved together to meet a target, and how finely that is found."""


class Figs(Searched):
    """The architecture side of one search."""

    together = True

    def __init__(self, supernet: nn.Module, masks: MaskedNetwork, cost: ExpectedCost, options: FigsOptions) -> None:
        """Uses the first lambda of `options`. Raises `NascError` where SuperNet and masks do not match."""
        super().__init__(supernet, options.alpha[0], UNITS[options.cost])
        self.masks, self.price, self.kind = masks, cost, options.cost
        self.bank = MaskBank(masks, options.logit, options.tau)
        self.bank.mode = "ones"
        self.searching = False
        self.multiplier: Multiplier | None = None
        if options.target is not None:
            if options.alpha == STRENGTHS[options.cost]:  # none was given: the cost weighs as much as an entropy of 1
                self.alpha = 1 / max(self.expected_cost(), 1e-9)
            self.multiplier = Multiplier(options.target, self.alpha)
        try:
            with_masks(supernet, self.bank)
        except KeyError:
            raise NascError(
                "supernet.py and space.json are not of the same space", help="compile the space again"
            ) from None

    def architecture(self) -> list[nn.Parameter]:
        return [self.bank.logits]

    def loss(self, cross_entropy: Tensor) -> Tensor:
        """Eq. 2, with the expected cost of eq. 6, each weight once."""
        return cross_entropy + self.alpha * self.price(self.bank.expected()).to(cross_entropy.dtype)

    def start_epoch(self, epoch: int) -> None:
        """Nothing is masked in warm-up."""
        self.bank.mode = "sample" if self.searching else "ones"

    def begin(self) -> None:
        self.searching = True

    def adjust(self, done: float) -> None:
        if self.multiplier is not None:
            self.alpha = self.multiplier.step(done, self.expected_cost())

    def settings(self) -> dict[str, Any]:
        return {"lambda": self.alpha, **({} if self.multiplier is None else {"target": self.multiplier.target})}

    def expected_cost(self) -> float:
        with torch.no_grad():
            return float(self.price(self.bank.expected()))

    def chosen_cost(self) -> float:
        """The cost of the network that is kept."""
        return cost_of_widths(self.masks, self.price, self.kind, self.kept_widths())

    def kept(self) -> Kept:
        """What would be kept now."""
        return Kept(self.kept_widths(), self.bank.ranked())

    def kept_widths(self) -> dict[str, int]:
        """The widths that would be kept now: with a target, the most that meet it if all logits are moved alike."""
        if self.multiplier is None:
            return self._widths(0.0)
        low, high = -_FURTHEST, _FURTHEST
        best = self._widths(low)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            found = self._widths(middle)
            if self.price.of(found) <= self.multiplier.target:
                best, low = found, middle
            else:
                high = middle
        return best

    def _widths(self, moved: float) -> dict[str, int]:
        with torch.no_grad():
            return kept_widths(self.masks, self.bank.widths(moved))

    def candidates_left(self) -> int:
        """How many operators would be left."""
        return operators_left(self.masks, self.kept_widths())

    def describe(self, epoch: int) -> dict[str, Any]:
        expected = dict(zip(self.bank.places, self.bank.expected().tolist(), strict=True))
        return {
            "widths": {name: round(width, 4) for name, width in expected.items()},
            "chosen_cost": self.chosen_cost(),
        }

    def state(self) -> dict[str, Any]:
        multiplier = None if self.multiplier is None else self.multiplier.state()
        return {"searching": self.searching, "multiplier": multiplier}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.searching = bool(state["searching"])
        if self.multiplier is not None and state["multiplier"] is not None:
            self.multiplier.restore(state["multiplier"])
            self.alpha = self.multiplier.alpha


def _outcome(context: Context, run: SearchRun, figs: Figs) -> Outcome:
    done = Outcome(
        member=None,
        cost=figs.expected_cost(),
        unit=figs.unit,
        loss=float(run.last.get("loss") or 0.0),
        cross_entropy=float(run.last.get("cross_entropy") or 0.0),
        epochs=run.epoch,
        seconds=run.seconds,
        details=figs.settings(),
    )
    if not run.ended:
        return done
    kept = figs.kept()

    def state(network: Network) -> dict[str, Tensor]:
        channels = kept_channels(figs.masks, kept)
        fix(figs.supernet, {path: channels.get(place, ()) for place, path in masked_paths(figs.masks).items()})
        recalibrate(figs.supernet, run.phases.seen_images(), context.device, context.settings.steps or BATCHES)
        return gathered_state(figs.supernet, gathered(figs.masks, kept, network))

    return replace(
        done,
        member=member_of(figs.masks, kept),
        cost=figs.chosen_cost(),
        details={
            **done.details,
            "operators": figs.candidates_left(),
            "widths": dict(kept.widths),
            "widest": {name: each.widths[-1] for name, each in figs.masks.opens.items()},
        },
        state=state,
    )
