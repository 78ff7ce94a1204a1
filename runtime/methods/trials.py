"""Members of a space tried one by one and compared: what the methods share that propose whole members.

Each is trained from scratch, or looked at with weights that it shares with others: a method may say how.

RUN/checkpoint.pt    after each member, what was found so far
RUN/metrics.jsonl    a line per member
RUN/members/000/     and so on: training runs

Members are compared on training images that none of them was trained on, by eq. 2 of PruNet or by accuracy. Which ones
they are follows from the seed and from how those before did, so a run that goes on proposes the same ones again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Subset

from nasc.compiler.fullest_member import fullest_member
from nasc.compiler.ir import Network
from nasc.compiler.member import Member, member_text
from nasc.compiler.member_cost import MemberCost
from nasc.compiler.methods.member_options import MemberOptions
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.dsl.diagnostics import NascError
from nasc.runtime import checkpoint
from nasc.runtime.costs import UNITS, digest_of, missing_table
from nasc.runtime.data_splits import DataSplits, Images, size, split_at_random
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.member_model import module_of
from nasc.runtime.methods.loss import total_loss
from nasc.runtime.metrics import append_metrics, rewind_metrics
from nasc.runtime.progress import SilentProgress, amount
from nasc.runtime.run_identity import require_same_run, run_of
from nasc.runtime.search_context import Context, Outcome
from nasc.runtime.search_run import CHECKPOINT, KIND, METRICS, VERSION
from nasc.runtime.seeds import derive_seed
from nasc.runtime.table import LatencyTable
from nasc.runtime.targets import AtTargets, MemberPrices, latencies_found
from nasc.runtime.tensorboard_log import TensorboardLog
from nasc.runtime.train import WEIGHTS, train
from nasc.runtime.train_options import TrainOptions

MEMBERS = "members"
_TRIAL_MEMBERS = 2

Price = Callable[[Member], tuple[float, AtTargets]]
"""What a member costs in the unit of its kind, and what there is to say of its latencies at each target."""


@dataclass(frozen=True)
class Trained:
    """How a member did: cross-entropy (nats) and accuracy on the images that tell members apart, the loss of eq. 2."""

    cost: float
    cross_entropy: float
    accuracy: float
    loss: float
    seconds: float

    def fitness(self, options: MemberOptions) -> tuple[float, float]:
        """The larger the better; of equal accuracies the lower cross-entropy. What is no number is worst."""
        found = (self.accuracy, -self.cross_entropy) if options.by_accuracy else (-self.loss, 0.0)
        return found if all(map(math.isfinite, found)) else (-math.inf, -math.inf)


@dataclass(frozen=True)
class Proposal:
    """A member to train next, and what the log says of it."""

    member: Member
    notes: Mapping[str, Any] = field(default_factory=dict)


Propose = Callable[[int, Sequence[Trained]], Proposal]
"""The member of a number, from how all before it did."""


@dataclass(frozen=True)
class Score:
    """Cross-entropy (nats) and accuracy of a member, and the seconds that finding them took."""

    cross_entropy: float
    accuracy: float
    seconds: float


class Judge(Protocol):
    """Finds out how well members do."""

    def score(self, number: int, member: Member) -> Score:
        """How the member of a number does."""
        ...

    def state(self, number: int, member: Member, network: Network) -> dict[str, Tensor]:
        """The weights that it did so with: the state dict of its `model.py`."""
        ...


@contextmanager
def prices(context: Context) -> Iterator[Price]:
    """What members cost, by the option `cost`. Raises `NascError` for a latency that is not there."""
    network, kind = context.source.network, context.options.cost
    if kind != "latency":
        formula = MemberCost(network)
        yield lambda member: (float(formula(member, kind)), [])
        return
    if context.settings.table is None:
        raise missing_table(context.job.folder)
    with LatencyTable(context.settings.table, readonly=True) as table:
        manifest, slowest = load_manifest(context.job.folder), fullest_member(context.source.space)
        yield MemberPrices(network, manifest, table, context.options.targets, slowest)


def affordable(context: Context, price: Price) -> Callable[[Member], bool] | None:
    """Does a member meet the option `target`? None where there is none."""
    target = context.options.target
    return None if target is None else lambda member: price(member)[0] <= target


def count_of(context: Context, wanted: int) -> int:
    """How many members are trained; for a trial, as few as show something."""
    return wanted if context.settings.steps is None else min(wanted, _TRIAL_MEMBERS)


def compare(
    context: Context,
    price: Price,
    known: Sequence[Member],
    count: int,
    propose: Propose,
    judge: Judge | None = None,
) -> Outcome:
    """Try `count` members as they are proposed, and take the best. Without a `judge`, each is trained from scratch.

    `known` are those that will be proposed whatever comes out: what they cost is a part of the run's identity, and a
    latency that they miss shows before anything is trained. Raises `NascError` likewise, and where the folder holds a
    run that was not asked to go on, or another one.
    """
    costs = digest_of([price(member)[0] for member in known])
    context = replace(context, identity={**context.identity, "costs": costs})
    run = _Run(context, price, count, propose, judge or _FromScratch(context))
    run.go_on()
    return run.outcome()


class _Run:
    """A comparison between two members."""

    def __init__(self, context: Context, price: Price, count: int, propose: Propose, judge: Judge) -> None:
        self.context, self.price, self.count, self.propose, self.judge = context, price, count, propose, judge
        self.options: MemberOptions = context.options
        self.trained = self._begun()
        self.proposals = [propose(number, self.trained[:number]) for number in range(len(self.trained))]
        self._require_same_costs()

    def go_on(self) -> None:
        context = self.context
        rewind_metrics(context.out / METRICS, len(self.trained))
        context.progress.start("search", self.count, len(self.trained))
        with TensorboardLog(context.out, context.settings.tensorboard, len(self.trained)) as board:
            try:
                while len(self.trained) < self.count:
                    record = self._next()
                    append_metrics(context.out / METRICS, record)
                    board.write(record)
                    self._save()
                    context.progress.advance(self._best_so_far())
            finally:
                context.progress.stop()

    def _next(self) -> dict[str, Any]:
        """Train one more member; its line of the log."""
        number = len(self.trained)
        proposal = self.propose(number, tuple(self.trained))
        trained = self._tried(number, proposal.member)
        self.proposals.append(proposal)
        self.trained.append(trained)
        unit = {"unit": UNITS[self.options.cost]}
        return {"epoch": number, "member": number, **asdict(trained), **unit, **proposal.notes}

    @property
    def best(self) -> int:
        """The number of the best member, the first of equal ones."""
        return max(range(len(self.trained)), key=lambda number: self.trained[number].fitness(self.options))

    def _best_so_far(self) -> str:
        best, unit = self.trained[self.best], UNITS[self.options.cost]
        score = f"accuracy {best.accuracy:.1%}" if self.options.by_accuracy else f"least loss {best.loss:.3f}"
        return f"{score} at {amount(best.cost)} {unit}"

    # ------------------------------------------------------------------------------------------ going on

    def _identity(self) -> dict[str, Any]:
        context = self.context
        return run_of(context.identity, context.data.name, context.settings, context.options)

    def _begun(self) -> list[Trained]:
        """Those of the members that an earlier session trained.

        Raises `NascError` for another run, and for one not asked to go on.
        """
        context = self.context
        path = context.out / CHECKPOINT
        if not path.exists():
            self._write([])
            return []
        if not context.settings.resume:
            raise NascError(
                f"{context.out} already holds a search", "continue it with --resume, or name another folder"
            )
        state = checkpoint.load(path, KIND, VERSION)
        require_same_run(path, state, self._identity())
        try:
            found = [Trained(**{name: float(value) for name, value in record.items()}) for record in state["members"]]
            if len(found) > self.count:
                raise ValueError(f"{len(found)} members instead of {self.count}")
            return found
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
            raise NascError(f"the checkpoint {path} is not one of this search: {error}") from error

    def _require_same_costs(self) -> None:
        for number, (trained, proposal) in enumerate(zip(self.trained, self.proposals, strict=True)):
            cost = self.price(proposal.member)[0]
            if cost != trained.cost:
                raise NascError(
                    f"member {number} costs {amount(cost)} {UNITS[self.options.cost]}, and cost {amount(trained.cost)} "
                    f"when the run in {self.context.out} was started",
                    help="resume it with the table it was started with, or name another folder",
                )

    def _save(self) -> None:
        self._write(self.trained)

    def _write(self, trained: Sequence[Trained]) -> None:
        state = {"run": self._identity(), "members": [asdict(one) for one in trained]}
        checkpoint.save(self.context.out / CHECKPOINT, state, KIND, VERSION)

    def _tried(self, number: int, member: Member) -> Trained:
        options, cost = self.options, self.price(member)[0]
        score = self.judge.score(number, member)
        loss = total_loss(score.cross_entropy, cost, options.alpha[0], options.beta)
        return Trained(cost, score.cross_entropy, score.accuracy, loss, score.seconds)

    # ------------------------------------------------------------------------------------------ the end

    def outcome(self) -> Outcome:
        """The best member, with the weights that it was judged with."""
        number, options = self.best, self.options
        best, proposal = self.trained[number], self.proposals[number]
        return Outcome(
            member=proposal.member,
            cost=best.cost,
            unit=UNITS[options.cost],
            loss=best.loss,
            cross_entropy=best.cross_entropy,
            epochs=options.epochs,
            seconds=sum(one.seconds for one in self.trained),
            details={
                "alpha": options.alpha[0],
                "samples": len(self.trained),
                "number": number,
                **proposal.notes,
                "pareto": self._pareto(),
                **latencies_found(self.price(proposal.member)[1]),
            },
            state=lambda network: self.judge.state(number, proposal.member, network),
        )

    def _pareto(self) -> list[int]:
        """The numbers of the members that no other beats in cost and accuracy, from the cheapest on."""
        front: list[int] = []
        by_cost = sorted(range(len(self.trained)), key=lambda i: (self.trained[i].cost, -self.trained[i].accuracy))
        for number in by_cost:
            if not front or self.trained[number].accuracy > self.trained[front[-1]].accuracy:
                front.append(number)
        return front


class _FromScratch:
    """Trains each member by itself, as `nasc train` does."""

    def __init__(self, context: Context) -> None:
        self.context, self.data = context, training_data(context)

    def score(self, number: int, member: Member) -> Score:
        source = self.context.source
        network = network_of(space_of(open_file("<member>", member_text(source.space, member, source.module))))
        seed = derive_seed(self.context.options.seed, "member", number)
        torch.manual_seed(seed)
        module, folder = module_of(network), self._folder(number)
        try:
            result = train(
                module, self.data, training_options(self.context, seed), folder, SilentProgress(), resume=True
            )
        except NascError as error:
            raise NascError(f"member {number}: {error.message}", error.help) from error
        return Score(result.loss, result.top1, result.seconds)

    def state(self, number: int, member: Member, network: Network) -> dict[str, Tensor]:
        return checkpoint.load_weights(self._folder(number) / WEIGHTS)

    def _folder(self, number: int) -> Path:
        return self.context.out / MEMBERS / f"{number:03}"


def training_data(context: Context) -> DataSplits:
    """Networks are trained on one part of the training images and compared on the other; no others are looked at."""
    options, settings = context.options, context.settings
    fractions = (options.split, 1 - options.split)
    parts: list[Images] = [*split_at_random(context.data.train, fractions, settings.split_seed(options))]
    if settings.steps is not None:
        parts = [Subset(part, range(min(size(part), settings.steps * options.batch))) for part in parts]
    return replace(context.data, train=parts[0], val=parts[1], test=None)


def training_options(context: Context, seed: int) -> TrainOptions:
    """How the options of a method's section train a network."""
    options, settings, weights = context.options, context.settings, context.options.weights
    return TrainOptions(
        epochs=options.epochs,
        batch=options.batch,
        optimizer=weights.kind,
        rate=weights.rate,
        momentum=weights.momentum,
        weight_decay=weights.decay,
        warmup_epochs=0,
        ema=None,
        augment=options.augment,
        magnitude=options.magnitude,
        deviation=options.deviation,
        amp="off" if settings.amp == "off" else "auto",
        seed=seed,
        device=str(context.device),
        threads=settings.threads,
        workers=settings.workers,
    )
