"""Random search at run time: members drawn uniformly, each trained from scratch; the one of least loss is taken.

RUN/members/000/ and so on are training runs; the loss is eq. 2 of PruNet on images that none of them was trained on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from nasc.compiler.build_manifest import manifest_of
from nasc.compiler.member import Member, member_text
from nasc.compiler.member_cost import MemberCost
from nasc.compiler.methods.random_members import RandomOptions
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.sample import sample_members
from nasc.dsl.diagnostics import NascError
from nasc.runtime.checkpoint import load_weights
from nasc.runtime.costs import UNITS, missing_table
from nasc.runtime.data import DataSplits, split_at_random
from nasc.runtime.member_latency import MemberLatency, table_environment
from nasc.runtime.member_model import module_of
from nasc.runtime.methods.loss import total_loss
from nasc.runtime.metrics import append_metrics, rewind_metrics
from nasc.runtime.progress import SilentProgress, amount
from nasc.runtime.search_context import Context, Outcome
from nasc.runtime.seeds import derive_seed
from nasc.runtime.table import LatencyTable
from nasc.runtime.train import WEIGHTS, train
from nasc.runtime.train_options import TrainOptions

MEMBERS, METRICS = "members", "metrics.jsonl"


@dataclass(frozen=True)
class _Trained:
    """A member with its loss."""

    number: int
    member: Member
    cost: float
    cross_entropy: float
    loss: float


def search(context: Context) -> Outcome:
    """Draw, train and compare. Raises `NascError` where a member's latency is not in the table."""
    began, options = time.monotonic(), context.options
    members = sample_members(context.source.space, options.samples, derive_seed(options.seed, "members"))
    price = _prices(context)
    costs = [price(member) for member in members]  # a missing latency shows before anything is trained
    data = _data(context, options)
    _require_fresh(context)
    rewind_metrics(context.out / METRICS, 0)
    context.progress.start("search", len(members))
    trained = []
    try:
        for number, (member, cost) in enumerate(zip(members, costs, strict=True)):
            trained.append(_train(context, data, number, member, cost))
            best = min(trained, key=lambda t: t.loss)
            context.progress.advance(f"least loss {best.loss:.3f} at {amount(best.cost)} {UNITS[options.cost]}")
    finally:
        context.progress.stop()
    return _outcome(context, min(trained, key=lambda t: t.loss), time.monotonic() - began)


def _require_fresh(context: Context) -> None:
    if (context.out / MEMBERS).exists() and not context.settings.resume:
        raise NascError(
            f"{context.out} already holds a search", help="continue it with --resume, or name another folder"
        )  # fmt: skip


def _prices(context: Context) -> Callable[[Member], float]:
    network, kind = context.source.network, context.options.cost
    if kind != "latency":
        formula = MemberCost(network)
        return lambda member: float(formula(member, kind))
    if context.settings.table is None:
        raise missing_table(context.job.folder)
    table = LatencyTable(context.settings.table, readonly=True)
    predicted = MemberLatency(network, manifest_of(network), table, table_environment(table))
    return lambda member: predicted(member).us


def _data(context: Context, options: RandomOptions) -> DataSplits:
    """Members are trained on one part of the training images and compared on the other."""
    parts = split_at_random(context.data.train, (options.split, 1 - options.split), options.seed)
    return replace(context.data, train=parts[0], val=parts[1], test=None)


def _train(context: Context, data: DataSplits, number: int, member: Member, cost: float) -> _Trained:
    options, source = context.options, context.source
    network = network_of(space_of(open_file("<member>", member_text(source.space, member, source.module))))
    seed = derive_seed(options.seed, "member", number)
    torch.manual_seed(seed)
    folder = context.out / MEMBERS / f"{number:03}"
    result = train(module_of(network), data, _training(context, seed), folder, SilentProgress(), resume=True)
    loss = total_loss(result.loss, cost, options.alpha[0], options.beta)
    record = {"epoch": number, "loss": loss, "cross_entropy": result.loss, "accuracy": result.top1, "cost": cost}
    append_metrics(context.out / METRICS, {**record, "unit": UNITS[options.cost]})
    return _Trained(number, member, cost, result.loss, loss)


def _training(context: Context, seed: int) -> TrainOptions:
    options, settings, weights = context.options, context.settings, context.options.weights
    if weights.kind == "adam":
        raise NascError("members are not trained by adam", help="write `weights adamw { … }`, `rmsprop` or `sgd`")
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
        amp="off" if settings.amp == "off" else "auto",
        seed=seed,
        device=str(context.device),
        threads=settings.threads,
        workers=settings.workers,
    )


def _outcome(context: Context, best: _Trained, seconds: float) -> Outcome:
    path = context.out / MEMBERS / f"{best.number:03}" / WEIGHTS
    details: dict[str, Any] = {"alpha": context.options.alpha[0], "samples": context.options.samples}
    return Outcome(
        member=best.member,
        cost=best.cost,
        unit=UNITS[context.options.cost],
        loss=best.loss,
        cross_entropy=best.cross_entropy,
        epochs=context.options.epochs,
        seconds=seconds,
        details={**details, "number": best.number},
        state=lambda network: load_weights(path),
    )
