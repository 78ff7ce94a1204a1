"""How long the steps of a planned search take, by what was measured of a device (`nasc plan --calibrate`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.relax import Candidate
from nasc.compiler.methods.values import Optimizer
from nasc.compiler.plan import Plan, most_alive, reduced
from nasc.compiler.plan_supernet import Trace, Widths
from nasc.compiler.plan_tape import Kind, Work
from nasc.dsl.diagnostics import NascError
from nasc.runtime.user_cache import cache_folder

SCHEMA: Literal["nasc.ceilings/1"] = "nasc.ceilings/1"
SIZES = (1 << 19, 1 << 24)
"""An operator that moves more numbers than this goes slower: they leave the caches, then each tensor gets fresh memory
from the system."""

FORWARD_PART = 1 / 3
"""What a forward pass is of forward and backward pass together, about: the latter computes two gradients."""

Coefficients = tuple[float, float, float, float, float]


class Ceilings(BaseModel):
    """What was measured of a device.

    `kinds`: for each kind of operator, forward and backward pass together, the seconds of a call, of a
    multiply-accumulate, of a number moved, and of a number more where an operator moves many (`SIZES`); `full` with
    gradients of weights, `frozen` without. `optimizers`: seconds for each tensor and each number. `memory`: bytes of
    the device; `process`: bytes of a process before any network is there; `point`: seconds to measure one latency.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_: Literal["nasc.ceilings/1"] = Field(default=SCHEMA, alias="schema")
    device: str
    model: str
    threads: int = Field(ge=1)
    torch: str
    memory: int = Field(ge=0)
    process: int = Field(ge=0)
    point: float = Field(ge=0)
    full: dict[Kind, Coefficients]
    frozen: dict[Kind, Coefficients]
    optimizers: dict[str, tuple[float, float]]


def ceilings_path(device: str) -> Path:
    """Where the ceilings of a device (`cpu`, `cuda`, …) are kept: in the user's cache folder."""
    return cache_folder() / f"ceilings-{device.replace(':', '-')}.json"


def load_ceilings(device: str) -> Ceilings | None:
    """What was measured of a device; None where nothing was. Raises `NascError` for a file of something else."""
    path = ceilings_path(device)
    try:
        return Ceilings.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, UnicodeDecodeError):
        raise NascError(
            f"{path} is not what this nasc measures of a device", help=f"nasc plan --calibrate --device {device}"
        ) from None


def store_ceilings(ceilings: Ceilings) -> Path:
    """Keep what was measured; where. Raises `NascError` where nothing can be written."""
    path = ceilings_path(ceilings.device)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(ceilings.model_dump(mode="json", by_alias=True), indent=1) + "\n"
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise NascError(f"{path} cannot be written: {error.strerror}") from error
    return path


# ------------------------------------------------------------------------------------------------- steps


def features(work: Work, batch: int) -> Coefficients:
    """What the coefficients of an operator's kind are multiplied by."""
    moved = work.moved.at(batch)
    small, large = SIZES
    return 1.0, float(work.macs * batch), float(moved), float(moved * (moved > small)), float(moved * (moved > large))


def trace_seconds(trace: Trace, batch: int, ceilings: Ceilings) -> float:
    """Forward and backward pass of a step, and what of the forward pass is computed once more."""
    passes = sum(_work_seconds(work, batch, ceilings) for work in trace.work)
    return passes + FORWARD_PART * sum(_work_seconds(work, batch, ceilings) for work in trace.again)


def _work_seconds(work: Work, batch: int, ceilings: Ceilings) -> float:
    coefficients = (ceilings.full if work.weights else ceilings.frozen)[work.kind]
    return sum(a * b for a, b in zip(coefficients, features(work, batch), strict=True))


def update_seconds(optimizer: Optimizer, tensors: int, numbers: int, ceilings: Ceilings) -> float:
    """An optimiser's step."""
    each, number = ceilings.optimizers[optimizer.kind]
    return each * tensors + number * numbers


@dataclass(frozen=True)
class Steps:
    """Seconds of a step that trains the weights, and of one that trains the architecture weights."""

    weights: float
    architecture: float


def full_steps(plan: Plan, ceilings: Ceilings) -> Steps:
    """Steps with every candidate there, as in warm-up."""
    return _steps(plan, ceilings, plan.weights_step, plan.architecture_step, 1.0)


def _steps(plan: Plan, ceilings: Ceilings, weights: Trace, architecture: Trace, share: float) -> Steps:
    """`share`: the part of the weights that is left."""
    stored, options = plan.stored, plan.options
    first = update_seconds(
        options.weights, round(stored.weight_tensors * share), round(stored.weights * share), ceilings
    )
    second = update_seconds(options.architecture, stored.architecture_tensors, stored.architecture, ceilings)
    return Steps(
        trace_seconds(weights, plan.batch, ceilings) + first,
        trace_seconds(architecture, plan.batch, ceilings) + second,
    )


# ------------------------------------------------------------------------------------------------- whole searches


@dataclass(frozen=True)
class SearchTime:
    """Seconds of a whole search: its warm-up, what comes after at least and at most, and `unpruned`: the same if
    every candidate stayed with the masks it started with."""

    warmup: float
    least: float
    most: float
    unpruned: float


def search_time(plan: Plan, ceilings: Ceilings, images: int) -> SearchTime:
    """How long a search over so many training images takes. Raises `NascError` for too few of them.

    At most: in each epoch the dearest candidates stay, as many as the threshold lets live, at their two largest widths.
    At least: after the first epoch past warm-up the cheapest candidate is alone, at its smallest width, or the skip.
    """
    counts = _steps_per_epoch(plan, images)
    full = full_steps(plan, ceilings)
    epochs = plan.options.epochs - plan.options.warmup
    unpruned = epochs * counts.after(full)
    if not isinstance(plan.options, PrunetOptions):
        return SearchTime(plan.options.warmup * counts.warmup * full.weights, unpruned, unpruned, unpruned)
    begun = _variant(plan, ceilings, None, dearest=True, widths=_two_smallest)
    least = counts.after(begun)
    if epochs > 1:
        least += (epochs - 1) * counts.after(_variant(plan, ceilings, 1, dearest=False, widths=_smallest))
    most = 0.0
    for alive, same in groupby(_alive(plan)):
        most += len(list(same)) * counts.after(_variant(plan, ceilings, alive, dearest=True, widths=_two_largest))
    warmup = plan.options.warmup * counts.warmup * full.weights
    return SearchTime(warmup, min(least, unpruned), max(most, least), unpruned)


def _alive(plan: Plan) -> Iterator[int | None]:
    """How many candidates of a layer may be there in each epoch past warm-up; None for all."""
    return (most_alive(plan.options, epoch) for epoch in range(plan.options.warmup, plan.options.epochs))


def _two_smallest(candidate: Candidate) -> tuple[int, ...]:
    return candidate.widths[:2]


def _smallest(candidate: Candidate) -> tuple[int, ...]:
    return candidate.widths[:1]


def _two_largest(candidate: Candidate) -> tuple[int, ...]:
    return candidate.widths[-2:]


def _variant(plan: Plan, ceilings: Ceilings, alive: int | None, dearest: bool, widths: Widths) -> Steps:
    most = max(len(layer.candidates) for layer in plan.layers) if alive is None else alive
    layers = reduced(plan.layers, most, dearest)
    weights, architecture = (plan.trace(layers, plan.trained(weights=kind), widths) for kind in (True, False))
    share = sum(len(layer.candidates) for layer in layers) / sum(len(layer.candidates) for layer in plan.layers)
    return _steps(plan, ceilings, weights, architecture, share)


@dataclass(frozen=True)
class _Counts:
    """Steps of an epoch: in warm-up, and after it those for weights and for architecture weights."""

    warmup: int
    weights: int
    architecture: int

    def after(self, steps: Steps) -> float:
        """Seconds of an epoch after warm-up."""
        return self.weights * steps.weights + self.architecture * steps.architecture


def _steps_per_epoch(plan: Plan, images: int) -> _Counts:
    options = plan.options
    weights = round(options.split * images)
    parts: Mapping[str, int] = {"weights": weights, "architecture": images - weights, "all": images}
    if min(parts.values()) < 1:
        raise NascError(f"{images} images are too few to search on", help="weights and architecture weights need some")
    steps = {name: count // min(plan.batch, count) for name, count in parts.items()}
    return _Counts(steps[options.warmup_images], steps["weights"], steps["architecture"])
