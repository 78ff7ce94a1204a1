"""Random search at run time: members drawn uniformly, each trained from scratch; the one of least loss is taken.

RUN/checkpoint.pt    after each member, what was found so far
RUN/metrics.jsonl    a line per member
RUN/members/000/     and so on: training runs

The loss is eq. 2 of PruNet on training images that none of the members was trained on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset

from nasc.compiler.member import Member, member_text
from nasc.compiler.member_cost import MemberCost
from nasc.compiler.methods.random_members import RandomOptions
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.sample import sample_members
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
from nasc.runtime.targets import AtTargets, judged, latencies_found
from nasc.runtime.tensorboard_log import TensorboardLog
from nasc.runtime.train import WEIGHTS, train
from nasc.runtime.train_options import TrainOptions

MEMBERS = "members"
_TRIAL_MEMBERS = 2


@dataclass(frozen=True)
class _Trained:
    """How a member did: cross-entropy (nats) and accuracy on the images that tell members apart."""

    cost: float
    cross_entropy: float
    accuracy: float
    loss: float
    seconds: float


def search(context: Context) -> Outcome:
    """Draw, train and compare.

    Raises `NascError` where a member's latency is not in the table, and where the folder holds a run that was not
    asked to go on, or another one.
    """
    options: RandomOptions = context.options
    count = options.samples if context.settings.steps is None else min(options.samples, _TRIAL_MEMBERS)
    members = sample_members(context.source.space, count, derive_seed(options.seed, MEMBERS))
    costs, latencies = _costs(context, members)  # a missing latency shows before anything is trained
    context = replace(context, identity={**context.identity, "costs": digest_of(costs)})
    data, trained = _data(context), _begun(context, count)
    rewind_metrics(context.out / METRICS, len(trained))
    context.progress.start("search", count, len(trained))
    with TensorboardLog(context.out, context.settings.tensorboard, len(trained)) as board:
        try:
            for number in range(len(trained), count):
                trained.append(_train(context, data, number, members[number], costs[number]))
                record = {"epoch": number, "member": number, **asdict(trained[-1]), "unit": UNITS[options.cost]}
                append_metrics(context.out / METRICS, record)
                board.write(record)
                _save(context, trained)
                best = min(trained, key=_loss)
                context.progress.advance(f"least loss {best.loss:.3f} at {amount(best.cost)} {UNITS[options.cost]}")
        finally:
            context.progress.stop()
    return _outcome(context, members, trained, latencies)


def _loss(trained: _Trained) -> float:
    return trained.loss


# ------------------------------------------------------------------------------------------------ what it needs


def _costs(context: Context, members: list[Member]) -> tuple[list[float], list[AtTargets]]:
    """Each member's cost in the unit of its kind, and what there is to say of its latencies at each target.

    Raises `NascError` for a latency that is not there.
    """
    network, kind = context.source.network, context.options.cost
    if kind != "latency":
        formula = MemberCost(network)
        return [float(formula(member, kind)) for member in members], [[] for _ in members]
    if context.settings.table is None:
        raise missing_table(context.job.folder)
    with LatencyTable(context.settings.table, readonly=True) as table:
        return judged(members, network, load_manifest(context.job.folder), table, context.options.targets)


def _data(context: Context) -> DataSplits:
    """Members are trained on one part of the training images and compared on the other; no others are looked at."""
    options, settings = context.options, context.settings
    fractions = (options.split, 1 - options.split)
    parts: list[Images] = [*split_at_random(context.data.train, fractions, settings.split_seed(options))]
    if settings.steps is not None:
        parts = [Subset(part, range(min(size(part), settings.steps * options.batch))) for part in parts]
    return replace(context.data, train=parts[0], val=parts[1], test=None)


def _run(context: Context) -> dict[str, Any]:
    return run_of(context.identity, context.data.name, context.settings, context.options)


def _begun(context: Context, count: int) -> list[_Trained]:
    """Those of the `count` members that an earlier session trained.

    Raises `NascError` for another run, and for one not asked to go on.
    """
    path = context.out / CHECKPOINT
    if not path.exists():
        _save(context, [])
        return []
    if not context.settings.resume:
        raise NascError(f"{context.out} already holds a search", "continue it with --resume, or name another folder")
    state = checkpoint.load(path, KIND, VERSION)
    require_same_run(path, state, _run(context))
    try:
        found = [_Trained(**{name: float(value) for name, value in record.items()}) for record in state["members"]]
        if len(found) > count:
            raise ValueError(f"{len(found)} members instead of {count}")
        return found
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise NascError(f"the checkpoint {path} is not one of this search: {error}") from error


def _save(context: Context, trained: list[_Trained]) -> None:
    state = {"run": _run(context), "members": [asdict(one) for one in trained]}
    checkpoint.save(context.out / CHECKPOINT, state, KIND, VERSION)


# ------------------------------------------------------------------------------------------------ training


def _train(context: Context, data: DataSplits, number: int, member: Member, cost: float) -> _Trained:
    options, source = context.options, context.source
    network = network_of(space_of(open_file("<member>", member_text(source.space, member, source.module))))
    seed = derive_seed(options.seed, "member", number)
    torch.manual_seed(seed)
    module = module_of(network)
    try:
        result = train(module, data, _training(context, seed), _folder(context, number), SilentProgress(), resume=True)
    except NascError as error:
        raise NascError(f"member {number}: {error.message}", error.help) from error
    loss = total_loss(result.loss, cost, options.alpha[0], options.beta)
    return _Trained(cost, result.loss, result.top1, loss, result.seconds)


def _folder(context: Context, number: int) -> Path:
    return context.out / MEMBERS / f"{number:03}"


def _training(context: Context, seed: int) -> TrainOptions:
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


# ------------------------------------------------------------------------------------------------ the end


def _outcome(context: Context, members: list[Member], trained: list[_Trained], latencies: list[AtTargets]) -> Outcome:
    number = min(range(len(trained)), key=lambda i: trained[i].loss)
    best, options = trained[number], context.options
    path = _folder(context, number) / WEIGHTS
    return Outcome(
        member=members[number],
        cost=best.cost,
        unit=UNITS[options.cost],
        loss=best.loss,
        cross_entropy=best.cross_entropy,
        epochs=options.epochs,
        seconds=sum(one.seconds for one in trained),
        details={
            "alpha": options.alpha[0],
            "samples": len(trained),
            "number": number,
            **latencies_found(latencies[number]),
        },
        state=lambda network: checkpoint.load_weights(path),
    )
