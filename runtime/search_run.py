"""One search, resumable: weights and architecture weights in turn, pruning at the end of each epoch.

RUN/checkpoint.pt    after each epoch, all that the next one needs
RUN/metrics.jsonl    a line per epoch
RUN/result.json, RUN/best.nas    at the end

Every random number is drawn from a seed derived from (seed, purpose, epoch, step), so on a CPU a run that was killed
and resumed ends bit for bit as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.compiler.methods.prunet import PrunetOptions
from nasc.dsl.diagnostics import NascError
from nasc.runtime import checkpoint
from nasc.runtime.data_loader import Batches, loader
from nasc.runtime.data_splits import DataSplits, Images, size, split_at_random
from nasc.runtime.evaluate import require_labels
from nasc.runtime.methods.prunet import Prunet
from nasc.runtime.metrics import append_metrics, rewind_metrics
from nasc.runtime.progress import Progress, duration
from nasc.runtime.search_optimizers import forget, make_optimizer
from nasc.runtime.seeds import derive_seed, derived_generator

KIND, VERSION = "search", 1
CHECKPOINT, METRICS, RESULT, BEST = "checkpoint.pt", "metrics.jsonl", "result.json", "best.nas"
_LOOK_STEPS = 10


@dataclass(frozen=True)
class Phase:
    """A part of an epoch: which images, and what they train."""

    name: str
    images: Images
    batches: Batches
    architecture: bool


class SearchRun:
    """A search between two epochs: `epoch` of them are done, in `seconds`."""

    def __init__(
        self,
        method: Prunet,
        data: DataSplits,
        options: PrunetOptions,
        device: torch.device,
        progress: Progress,
        steps: int | None = None,
    ) -> None:
        """`steps` cuts each part of an epoch short."""
        self.method, self.data, self.options, self.device = method, data, options, device
        self.progress, self.limit = progress, steps
        self.supernet: nn.Module = method.supernet
        parts = split_at_random(data.train, (options.split, 1 - options.split), options.seed)
        self.parts: tuple[Images, Images] = (parts[0], parts[1])
        self.epoch, self.seconds = 0, 0.0
        self.last: dict[str, Any] = {}
        self._make_optimizers()

    def _make_optimizers(self) -> None:
        self.optimizers = {
            False: make_optimizer(self.options.weights, self.method.weights()),
            True: make_optimizer(self.options.architecture, self.method.architecture()),
        }

    # ------------------------------------------------------------------------------------------ epochs

    def phases(self, epoch: int) -> list[Phase]:
        """The parts of epoch `epoch` (from 0): all images for the weights in warm-up, then 80 % and 20 % (A.2.1)."""
        if epoch < self.options.warmup:
            return [self._phase("warm-up", self.data.train, epoch, architecture=False)]
        return [
            self._phase("weights", self.parts[0], epoch, architecture=False),
            self._phase("architecture", self.parts[1], epoch, architecture=True),
        ]

    def _phase(self, name: str, images: Images, epoch: int, architecture: bool) -> Phase:
        seed = derive_seed(self.options.seed, name)
        batches = loader(images, min(self.options.batch, size(images)), True, seed, epoch, drop_last=True)
        return Phase(name, images, batches, architecture)

    def steps_of(self, phase: Phase) -> int:
        return len(phase.batches) if self.limit is None else min(self.limit, len(phase.batches))

    def steps_of_epoch(self, epoch: int) -> int:
        return sum(self.steps_of(phase) for phase in self.phases(epoch))

    def run_epoch(self) -> dict[str, Any]:
        """One epoch, its pruning, and its line of the metrics log."""
        started = time.monotonic()
        searching = self.epoch >= self.options.warmup
        if self.epoch == self.options.warmup:
            self.method.begin()
        sums = {phase.name: self._run_phase(phase) for phase in self.phases(self.epoch)}
        events = self._prune() if searching else []
        self.seconds += time.monotonic() - started
        record = self._record(sums, events)
        self.epoch += 1
        self.last = record
        self.progress.line(_epoch_line(record, self.epoch, self.options.epochs, self.method.costs.unit))
        return record

    def _prune(self) -> list[str]:
        events, removed = self.method.prune(self.epoch + 1)
        gone = {id(parameter) for module in removed for parameter in module.parameters()}
        for optimizer in self.optimizers.values():
            forget(optimizer, gone)
        return events

    def _record(self, sums: dict[str, tuple[float, float, float]], events: list[str]) -> dict[str, Any]:
        last = "architecture" if "architecture" in sums else next(iter(sums))
        loss, cross_entropy, accuracy = sums[last]
        searching = self.epoch >= self.options.warmup
        return {
            "epoch": self.epoch,
            "phase": "search" if searching else "warm-up",
            "loss": loss,
            "cross_entropy": cross_entropy,
            "accuracy": accuracy,
            "weights_cross_entropy": sums[next(iter(sums))][1],
            "cost": self.method.expected_cost(),
            "unit": self.method.costs.unit,
            "threshold": self.method.threshold(self.epoch + 1) if searching else None,
            "candidates": self.method.candidates_left(),
            "events": events,
            **self.method.describe(),
            "rate": self.optimizers[False].param_groups[0]["lr"],
            "seconds": round(self.seconds, 3),
        }

    # ------------------------------------------------------------------------------------------ steps

    def _run_phase(self, phase: Phase) -> tuple[float, float, float]:
        """Mean loss, cross-entropy and accuracy."""
        self.supernet.train()
        # Gradients of the other kind of weights would be computed in vain.
        for parameter in self.method.weights():
            parameter.requires_grad_(not phase.architecture)
        for parameter in self.method.architecture():
            parameter.requires_grad_(phase.architecture)
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        seen, steps, text = 0, self.steps_of(phase), ""
        for step, (images, labels) in zip(range(steps), phase.batches, strict=False):
            sums += self._step(phase, step, steps, images, labels)
            seen += len(labels)
            if (step + 1) % _LOOK_STEPS == 0 or step + 1 == steps:
                loss, entropy, accuracy = (sums / seen).tolist()
                self._require_finite(loss)
                text = f"loss {loss:.3f}  candidates {self.method.candidates_left()}"
            self.progress.advance(text)
        return loss, entropy, accuracy

    def _step(self, phase: Phase, step: int, steps: int, images: Tensor, labels: Tensor) -> Tensor:
        """One update; the batch's summed loss and cross-entropy, and its number of correct answers."""
        seed = self.options.seed
        torch.manual_seed(derive_seed(seed, "step", phase.name, self.epoch, step))
        optimizer = self._optimizer(phase, step / steps)
        images = images.to(self.device, non_blocking=True)
        if self.data.augment and not phase.architecture:
            images = self.data.augment(images, derived_generator(seed, "augment", phase.name, self.epoch, step))
        logits = self.supernet(images)
        require_labels(logits, labels)
        labels = labels.to(self.device, non_blocking=True)
        entropy = functional.cross_entropy(logits.float(), labels)
        loss = self.method.loss(entropy)
        optimizer.zero_grad()
        # The cost does not depend on the weights.
        (loss if phase.architecture else entropy).backward()
        optimizer.step()
        if self.epoch >= self.options.warmup:
            self._move_masks(phase, step, steps)
        correct = (logits.argmax(1) == labels).sum()
        return torch.stack([loss.detach() * len(labels), entropy.detach() * len(labels), correct]).double()

    def _optimizer(self, phase: Phase, within: float) -> torch.optim.Optimizer:
        """The phase's optimiser with its rate: a cosine over all epochs."""
        optimizer = self.optimizers[phase.architecture]
        settings = self.options.architecture if phase.architecture else self.options.weights
        assert settings.rate is not None
        rate = settings.rate * 0.5 * (1 + math.cos(math.pi * (self.epoch + within) / self.options.epochs))
        for group in optimizer.param_groups:
            group["lr"] = rate
        return optimizer

    def _move_masks(self, phase: Phase, step: int, steps: int) -> None:
        if self.options.mask_steps == "architecture" and not phase.architecture:
            return
        reset = self.method.step_masks(self._progress(phase, step, steps))
        if self.options.reset_moments:
            for parameter in reset:
                self.optimizers[True].state.pop(parameter, None)

    def _progress(self, phase: Phase, step: int, steps: int) -> float:
        """Algorithm 1's progress: 0 at the first iteration after warm-up, 1 at the last."""
        counted = [p for p in self.phases(self.epoch) if p.architecture or self.options.mask_steps == "every"]
        per_epoch = sum(map(self.steps_of, counted))
        before = steps_before = 0
        for other in counted:
            if other.name == phase.name:
                steps_before = before
            before += self.steps_of(other)
        done = (self.epoch - self.options.warmup) * per_epoch + steps_before + step
        return done / max(1, (self.options.epochs - self.options.warmup) * per_epoch - 1)

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            kept = f"; the checkpoint of epoch {self.epoch} is kept" if self.epoch else ""
            raise NascError(
                f"the loss became {loss} in epoch {self.epoch + 1}{kept}",
                help=f"lower the rate of the weights (now {self.options.weights.rate:g}), or lengthen the warm-up",
            )

    # ------------------------------------------------------------------------------------------ state

    def state(self, identity: dict[str, Any]) -> dict[str, Any]:
        """All that the next epoch needs; `identity` says which run this is."""
        return {
            "run": self._which(identity),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "method": self.method.state(),
            "supernet": self.supernet.state_dict(),
            "weights_optimizer": self.optimizers[False].state_dict(),
            "architecture_optimizer": self.optimizers[True].state_dict(),
            "last": {name: self.last.get(name) for name in ("loss", "cross_entropy", "accuracy")},
        }

    def _which(self, identity: dict[str, Any]) -> dict[str, Any]:
        """What a resumed run may not change."""
        return {**identity, "data": self.data.name, **self.options.model_dump(mode="json", by_alias=True)}

    def restore(self, state: dict[str, Any], identity: dict[str, Any], path: Path) -> None:
        """Go back to where `state` was taken. Raises `NascError` if it is of another run."""
        try:
            if changed := list(_differences(state["run"], self._which(identity))):
                raise NascError(
                    f"the run in {path.parent} was started with other settings: {', '.join(changed)}",
                    help="resume it with the settings it was started with, or name another folder",
                )
            self.method.restore(state["method"])
            checkpoint.restore_weights(self.supernet, state["supernet"], str(path))
            self._make_optimizers()
            self.optimizers[False].load_state_dict(state["weights_optimizer"])
            self.optimizers[True].load_state_dict(state["architecture_optimizer"])
            self.epoch, self.seconds = int(state["epoch"]), float(state["seconds"])
            self.last = dict(state["last"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise NascError(f"the checkpoint {path} is not one of this search: {error}") from error


def run_epochs(run: SearchRun, out: Path, identity: dict[str, Any], resume: bool) -> None:
    """Run to the last epoch, with a checkpoint after each. Raises `NascError` if `out` holds a run not asked for."""
    path = out / CHECKPOINT
    if path.exists():
        if not resume:
            raise NascError(f"{out} already holds a search", help="continue it with --resume, or name another folder")
        run.restore(checkpoint.load(path, KIND, VERSION), identity, path)
    rewind_metrics(out / METRICS, run.epoch)
    steps = [run.steps_of_epoch(epoch) for epoch in (0, run.options.epochs - 1)]
    epochs = (run.options.warmup, run.options.epochs - run.options.warmup)
    done = min(run.epoch, epochs[0]) * steps[0] + max(0, run.epoch - epochs[0]) * steps[1]
    run.progress.start("search", epochs[0] * steps[0] + epochs[1] * steps[1], done)
    try:
        while run.epoch < run.options.epochs:
            append_metrics(out / METRICS, run.run_epoch())
            checkpoint.save(path, run.state(identity), KIND, VERSION)
    finally:
        run.progress.stop()


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """What was other, with the value it had."""
    for name, value in now.items():
        old = before[name]
        if isinstance(value, dict):
            yield from (f"{name} {key} {old[key]}" for key in value if old[key] != value[key])
        elif old != value:
            yield f"{name} {old[0] if isinstance(old, list) and len(old) == 1 else old}"


def _epoch_line(record: dict[str, Any], done: int, epochs: int, unit: str) -> str:
    return (
        f"epoch {done}/{epochs} ({record['phase']})  loss {record['loss']:.3f}  "
        f"cross-entropy {record['cross_entropy']:.3f}  accuracy {record['accuracy']:.1%}  "
        f"expected {amount(record['cost'])} {unit}  candidates {record['candidates']}  {duration(record['seconds'])}"
    )


def amount(value: float) -> str:
    """A large number as people say it."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 10 * factor:
            return f"{value / factor:.4g}{letter}"
    return f"{value:.4g}"
