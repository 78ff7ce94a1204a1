"""Single Path One-Shot at run time: a SuperNet of all members, and evolution over what they do with its weights.

"SPOS" is Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling" (2020).

RUN/checkpoint.pt    the SuperNet as it is trained, as in any search over a SuperNet
RUN/evolution/       checkpoint.pt and metrics.jsonl of the members that are looked at
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean
from typing import Any

from torch import Tensor, nn

from nasc.compiler.elaborate import Space
from nasc.compiler.fullest import fullest
from nasc.compiler.ir import Network
from nasc.compiler.lower_masked import masked_paths
from nasc.compiler.masked_member import Kept, member_of, operators_left
from nasc.compiler.masked_weights import gathered, kept_channels
from nasc.compiler.masks import MaskedNetwork, masked
from nasc.compiler.member import Member
from nasc.compiler.member_masks import member_widths, stays_in_masks
from nasc.compiler.methods.spos import SposOptions
from nasc.compiler.mutate import Mutator
from nasc.compiler.sample import Sampler, sample_members
from nasc.dsl.diagnostics import NascError
from nasc.runtime.costs import UNITS
from nasc.runtime.data_splits import DataSplits
from nasc.runtime.evaluate import evaluate
from nasc.runtime.make_supernet import make_supernet
from nasc.runtime.masks import fix, masking_modules
from nasc.runtime.masks_state import gathered_state
from nasc.runtime.methods.evolution import Evolution
from nasc.runtime.methods.masked_cost import cost_of_widths, expected_cost
from nasc.runtime.methods.searched import Searched
from nasc.runtime.methods.trials import MEMBERS, Price, Score, affordable, compare, count_of, training_data
from nasc.runtime.metrics import EVOLUTION
from nasc.runtime.recalibrate import recalibrate
from nasc.runtime.search_context import Context, Outcome
from nasc.runtime.search_run import SearchRun, run_epochs
from nasc.runtime.seeds import derive_seed
from nasc.runtime.states import StateFiles
from nasc.runtime.supernet import drawn_number


def search(context: Context) -> Outcome:
    """Train the SuperNet, then evolve.

    Under torchrun all processes train, and the first evolves. Raises `NascError` where too few members meet the target
    or none can be mutated to another that does (before anything is trained), where SuperNet and space do not match, and
    for what `run_epochs` and `compare` raise.
    """
    options: SposOptions = context.options
    masks, space = masked(fullest(context.source.space)), context.source.space
    price, digest = _price(context, masks)
    context = replace(context, identity={**context.identity, "costs": digest})
    accept = _accepted(masks, affordable(context, price))
    seed, count = derive_seed(options.seed, MEMBERS), count_of(context, options.samples)
    first, mutator = sample_members(space, min(count, options.population), seed, accept=accept), Mutator(space)
    if count > options.population:
        mutator.mutated(first[0], seed, accept=accept)  # so that a target which leaves nothing to search shows now
    drawn = sample_members(space, len(first), seed, accept=_accepted(masks, None))  # as the SuperNet's are
    judge = SharedWeights(context, masks, fmean(price(member)[0] for member in drawn))
    if context.settings.until_warmup or not context.ranks.first:
        return judge.trained_only()
    propose = Evolution(options, mutator, first, accept)
    found = compare(replace(context, out=context.out / EVOLUTION), price, first, count, propose, judge)
    assert found.member is not None
    member = member_of(masks, kept_of(masks, found.member))
    return replace(found, member=member, seconds=found.seconds + judge.run.seconds)


def _price(context: Context, masks: MaskedNetwork) -> tuple[Price, str]:
    """What members cost, and a word that tells it from other costs."""
    kind = context.options.cost
    cost, digest = expected_cost(context, masks)
    return lambda member: (cost_of_widths(masks, cost, kind, member_widths(masks, member)), []), digest


def _accepted(masks: MaskedNetwork, also: Callable[[Member], bool] | None) -> Callable[[Member], bool]:
    """Is a member one that masks can make, and one that is accepted besides?"""
    return lambda member: stays_in_masks(masks, member) and (also is None or also(member))


class Paths:
    """Makes a SuperNet with masks a member: one drawn uniformly before each forward pass in training, else a given one.

    Members that masks cannot make (see `stays_in_masks`) are not drawn.
    """

    def __init__(self, supernet: nn.Module, masks: MaskedNetwork, space: Space) -> None:
        """Raises `NascError` where SuperNet and masks do not match."""
        self.supernet, self.masks = supernet, masks
        self.sampler = Sampler(space, random.Random(0))
        self.paths = {path: place for place, path in masked_paths(masks).items()}
        if not set(masking_modules(supernet)) <= set(self.paths):
            raise NascError("supernet.py and space.json are not of the same space", help="compile the space again")
        supernet.register_forward_pre_hook(lambda module, inputs: self._draw())

    def _draw(self) -> None:
        if self.supernet.training:
            self.sampler.random = random.Random(drawn_number())
            while not stays_in_masks(self.masks, member := self.sampler.draw()):
                pass
            self.take(member)

    def take(self, member: Member) -> None:
        """Make the SuperNet this member: of each tensor its first channels, as many as the member has."""
        channels = kept_channels(self.masks, kept_of(self.masks, member))
        fix(self.supernet, {path: channels.get(place, ()) for path, place in self.paths.items()})


class OneShot(Searched):
    """The SuperNet of all members while it trains. `cost` is that of a member as they are drawn, on the average."""

    def __init__(self, supernet: nn.Module, masks: MaskedNetwork, cost: float, unit: str) -> None:
        super().__init__(supernet, 0.0, unit)
        self.cost = cost
        self.operators = operators_left(masks, {name: each.widths[-1] for name, each in masks.opens.items()})

    def architecture(self) -> list[nn.Parameter]:
        return []

    def loss(self, cross_entropy: Tensor) -> Tensor:
        return cross_entropy

    def settings(self) -> dict[str, Any]:
        return {}

    def expected_cost(self) -> float:
        return self.cost

    def candidates_left(self) -> int:
        return self.operators


class SharedWeights:
    """Trains the SuperNet and judges members by its weights, their BatchNorm statistics taken anew."""

    def __init__(self, context: Context, masks: MaskedNetwork, cost: float) -> None:
        self.context, self.masks = context, masks
        self.options: SposOptions = context.options
        self.data: DataSplits = training_data(context)
        self.run = self._trained(cost)

    def _trained(self, cost: float) -> SearchRun:
        context, options = self.context, self.options
        supernet = make_supernet(context)
        self.paths = Paths(supernet, self.masks, context.source.space)
        method = OneShot(supernet, self.masks, cost, UNITS[options.cost])
        supernet.to(context.device)
        run = SearchRun(method, self.data, options, context.device, context.progress, context.settings, context.ranks)
        states = StateFiles(context.out, context.source, f"{context.method.about} on {context.data.name}")
        run_epochs(run, context.out, context.identity, states)
        return run

    def trained_only(self) -> Outcome:
        """The end of a run that was to train the SuperNet alone."""
        entropy = float(self.run.last.get("cross_entropy") or 0.0)
        method = self.run.method
        return Outcome(
            None, method.expected_cost(), method.unit, entropy, entropy, self.run.epoch, self.run.seconds, {}
        )

    # ------------------------------------------------------------------------------------------ judging

    def score(self, number: int, member: Member) -> Score:
        """What a member does on the images that no weights are trained on."""
        context, started = self.context, time.monotonic()
        self._become(member)
        scores = evaluate(
            self.run.supernet, self.data.val, self.options.batch, context.device, context.settings.workers
        )
        return Score(scores.loss, scores.top1, time.monotonic() - started)

    def state(self, number: int, member: Member, network: Network) -> dict[str, Tensor]:
        """The member's part of the SuperNet's weights, with statistics of its own."""
        self._become(member)
        return gathered_state(self.run.supernet, gathered(self.masks, kept_of(self.masks, member), network))

    def _become(self, member: Member) -> None:
        self.run.supernet.eval()
        self.paths.take(member)
        most = self.context.settings.steps or self.options.statistics
        recalibrate(self.run.supernet, self.run.phases.seen_images(), self.context.device, most)


def kept_of(masks: MaskedNetwork, member: Member) -> Kept:
    """A member as what masks keep: the first channels."""
    ranked = {name: tuple(range(each.widths[-1])) for name, each in masks.opens.items()}
    return Kept(member_widths(masks, member), ranked)
