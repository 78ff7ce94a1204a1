"""Training a network from scratch: one resumable run in one folder.

OUT/checkpoint.pt     after each epoch, all that the next one needs
OUT/metrics.jsonl     a line per epoch
OUT/weights.safetensors, OUT/result.json   at the end

Every random number is drawn from a seed derived from (seed, purpose, epoch, step), so on a CPU a run that was killed
and resumed ends bit for bit as one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from nasc.compiler.write_files import write_file
from nasc.dsl.diagnostics import NascError
from nasc.runtime import checkpoint
from nasc.runtime.data_loader import Batches, loader
from nasc.runtime.data_splits import DataSplits, size
from nasc.runtime.distill import Teacher, distillation_loss, load_teacher
from nasc.runtime.ema import average_of
from nasc.runtime.evaluate import EvalResult, evaluate, mean_cross_entropy, require_labels, right_answers
from nasc.runtime.metrics import append_metrics, rewind_metrics
from nasc.runtime.optimizers import make_optimizer, rate_at, restore_optimizer
from nasc.runtime.precision import precision_of
from nasc.runtime.progress import Progress, duration, standard_progress
from nasc.runtime.seeds import derive_seed, derived_generator
from nasc.runtime.surroundings import surroundings
from nasc.runtime.train_options import TrainOptions

Penalty = Callable[[int], Tensor]
"""What is added to the loss of a step, by the epoch that it is in: a function of the weights."""

KIND = "train"
VERSION = 2
CHECKPOINT, METRICS, WEIGHTS, RESULT = "checkpoint.pt", "metrics.jsonl", "weights.safetensors", "result.json"

# What a resumed run may not change: the moments, the averages, the data's split or the whole loss depend on it.
_FIXED = ("optimizer", "seed", "drop_path", "crop")
# Losses are looked at this often: each look makes the CPU wait for the GPU.
_LOOK_STEPS = 10


@dataclass(frozen=True)
class TrainResult:
    """Scores of the final weights (the averaged ones where there are any): fractions from 0 to 1, loss in nats.

    `test_top1` is None where the data has no test images. `seconds` counts all sessions of a resumed run.
    """

    top1: float
    top5: float | None
    loss: float
    test_top1: float | None
    epochs: int
    seconds: float
    seed: int
    data: str
    options: dict[str, Any]
    perplexity: float | None = None


def train(
    model: nn.Module,
    data: DataSplits,
    options: TrainOptions,
    out: Path,
    progress: Progress | None = None,
    resume: bool = False,
    penalty: Penalty | None = None,
) -> TrainResult:
    """Train `model` in place on `data.train`, and leave weights and result in `out`.

    `penalty` is added to the loss of each step. `resume` continues from the checkpoint in `out`, or starts where there
    is none. On return `model` holds the final weights. Raises NascError if `out` holds a run and `resume` is not asked
    for, if the checkpoint does not fit, if the loss becomes nan or infinite (the last epoch's checkpoint stays), or if
    an image cannot be read.
    """
    path = out / CHECKPOINT
    if path.exists() and not resume:
        raise NascError(f"{out} already holds a training run", help="continue it with --resume, or name another folder")
    progress = progress or standard_progress()
    with surroundings(options.device, options.threads, options.batch) as device:
        run = _Run(model.to(device), data, options, device, progress, penalty)
        if path.exists():
            run.restore(checkpoint.load(path, KIND, VERSION), path)
        rewind_metrics(out / METRICS, run.epoch)
        progress.start("training", options.epochs * run.steps, run.epoch * run.steps)
        try:
            while run.epoch < options.epochs:
                append_metrics(out / METRICS, run.run_epoch())
                checkpoint.save(path, run.state(), KIND, VERSION)
        finally:
            progress.stop()
        return _finish(run, out)


class _Run:
    """A training run between two epochs: `epoch` of them are done, in `seconds`."""

    def __init__(
        self,
        model: nn.Module,
        data: DataSplits,
        options: TrainOptions,
        device: torch.device,
        progress: Progress,
        penalty: Penalty | None,
    ) -> None:
        self.model, self.data, self.options, self.device, self.progress = model, data, options, device, progress
        self.penalty = penalty
        self.optimizer = make_optimizer(model, options)
        self.average: AveragedModel | None = average_of(model, options.ema) if options.ema else None
        self.precision = precision_of(options.amp, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision is torch.float16)
        self.steps = len(self.batches(0))
        if not self.steps:
            raise NascError(f"the data `{data.name}` has no training images")
        self.teacher = self._load_teacher()
        self.epoch, self.seconds = 0, 0.0

    @property
    def final(self) -> nn.Module:
        """The network whose weights count."""
        return self.average.module if self.average else self.model

    def _load_teacher(self) -> Teacher | None:
        options = self.options
        if options.teacher is None:
            return None
        if len(self.data.input_shape) != 3:
            raise NascError("a teacher looks at images, and the network reads text", help="leave --teacher out")
        channels, height, width = self.data.input_shape
        shape = (min(options.batch, size(self.data.train)), channels, height, width)
        return load_teacher(Path(options.teacher), shape, self.data.classes, self.device, torch.get_num_threads())

    def batches(self, epoch: int) -> Batches:
        options = self.options
        return loader(
            self.data.train, options.batch, True, options.seed, epoch, drop_last=True, workers=options.workers
        )

    def run_epoch(self) -> dict[str, Any]:
        """One pass over the training images and an evaluation; returns the epoch's line of the metrics log."""
        started = time.monotonic()
        loss, accuracy = self._train_epoch()
        scores = self.evaluate()
        # Else weights that the epoch's last step ruined would replace a good checkpoint.
        self._require_finite(scores.loss, "validation loss")
        self.seconds += time.monotonic() - started
        record = {
            "epoch": self.epoch,
            "loss": loss,
            "accuracy": accuracy,
            "val_loss": scores.loss,
            "val_top1": scores.top1,
            **({} if scores.perplexity is None else {"val_perplexity": scores.perplexity}),
            "rate": self.optimizer.param_groups[0]["lr"],
            "seconds": round(self.seconds, 3),
        }
        self.epoch += 1
        self.progress.line(_epoch_line(record, self.epoch, self.options.epochs))
        return record

    def evaluate(self) -> EvalResult:
        return evaluate(self.final, self.data.val, self.options.batch, self.device, self.options.workers)

    def state(self) -> dict[str, Any]:
        """All that the next epoch needs."""
        return {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "options": self.options.model_dump(),
            "data": self.data.name,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "scaler": self.scaler.state_dict(),
            "teacher": self.teacher.network.digest if self.teacher else None,
        }

    def restore(self, state: dict[str, Any], path: Path) -> None:
        """Go back to where `state` was taken. Raises NascError if it is of another run."""
        try:
            self._require_same_run(state, path)
            checkpoint.restore_weights(self.model, state["model"], str(path))
            restore_optimizer(self.optimizer, state["optimizer"])
            if self.average:
                self.average.load_state_dict(state["average"])
            self.scaler.load_state_dict(state["scaler"])
            self.epoch, self.seconds = int(state["epoch"]), float(state["seconds"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise NascError(f"the checkpoint {path} is not one of this training run: {error}") from error

    def _require_same_run(self, state: dict[str, Any], path: Path) -> None:
        before, now = state["options"], self.options.model_dump()
        changed = [name for name in _FIXED if before[name] != now[name]]
        changed += ["ema"] if (before["ema"] is None) != (now["ema"] is None) else []
        changed += ["data"] if state["data"] != self.data.name else []
        # By content: the file may have been moved.
        changed += ["teacher"] if state["teacher"] != (self.teacher.network.digest if self.teacher else None) else []
        if changed:
            was = {**before, "data": state["data"]}
            raise NascError(
                f"the run in {path.parent} was started with other settings: "
                + ", ".join(f"{name} {was[name]}" for name in changed),
                help="resume it with the settings it was started with, or name another folder",
            )

    def _train_epoch(self) -> tuple[float, float]:
        """Mean loss and accuracy over the epoch's steps."""
        self.model.train()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        seen, text = 0, ""
        for step, (images, labels) in enumerate(self.batches(self.epoch)):
            sums += self._step(step, images, labels)
            seen += len(labels)
            if (step + 1) % _LOOK_STEPS == 0 or step + 1 == self.steps:
                loss, accuracy = (sums / seen).tolist()
                self._require_finite(loss, "loss")
                text = f"loss {loss:.3f}  accuracy {accuracy:.1%}"
            self.progress.advance(text)
        return loss, accuracy

    def _step(self, step: int, images: Tensor, labels: Tensor) -> Tensor:
        """One update of the weights; the batch's summed loss and number of correct answers."""
        options = self.options
        # For dropout and whatever else in the network draws from the global generators.
        torch.manual_seed(derive_seed(options.seed, "step", self.epoch, step))
        self._set_rate(self.epoch * self.steps + step)
        images = images.to(self.device, non_blocking=True)
        if options.augment != "none" and self.data.augment:
            images = self.data.augment(images, derived_generator(options.seed, "augment", self.epoch, step))
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
            logits = self.model(images)
            require_labels(logits, labels)
            labels = labels.to(self.device, non_blocking=True)
            loss = self._loss(images, logits, labels)
        if self.penalty is not None:
            loss = loss + self.penalty(self.epoch)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if options.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), options.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update_parameters(self.model)
        return torch.stack([loss.detach() * len(labels), right_answers(logits, labels)]).double()

    def _loss(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy with the labels, and with a teacher (1 - w) of it + w of the distillation's loss."""
        options = self.options
        loss = mean_cross_entropy(logits, labels, options.label_smoothing)
        if self.teacher is None:
            return loss
        taught = distillation_loss(logits, self.teacher(images), options.temperature)
        return (1 - options.distillation_weight) * loss + options.distillation_weight * taught

    def _set_rate(self, step: int) -> None:
        rate = rate_at(step, self.steps, self.options)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _require_finite(self, loss: float, what: str) -> None:
        if math.isfinite(loss):
            return
        kept = f"; the checkpoint of epoch {self.epoch} is kept" if self.epoch else ""
        amp = ", or set amp off" if self.precision else ""
        raise NascError(
            f"the {what} became {loss} in epoch {self.epoch + 1}{kept}",
            help=f"lower the rate (now {self.options.rate:g}) or lengthen the warm-up{amp}, then --resume",
        )


def _finish(run: _Run, out: Path) -> TrainResult:
    scores, options, test = run.evaluate(), run.options, run.data.test
    checkpoint.save_weights(out / WEIGHTS, run.final.state_dict())
    run.model.load_state_dict(run.final.state_dict())
    result = TrainResult(
        top1=scores.top1,
        top5=scores.top5,
        loss=scores.loss,
        test_top1=evaluate(run.final, test, options.batch, run.device, options.workers).top1 if test else None,
        epochs=run.epoch,
        seconds=round(run.seconds, 3),
        seed=options.seed,
        data=run.data.name,
        options=options.model_dump(),
        perplexity=scores.perplexity,
    )
    text = json.dumps({"kind": KIND, "version": VERSION, **asdict(result)}, indent=2)
    write_file(out / RESULT, text.encode() + b"\n")
    return result


def _epoch_line(record: dict[str, Any], done: int, epochs: int) -> str:
    return (
        f"epoch {done}/{epochs}  loss {record['loss']:.3f}  accuracy {record['accuracy']:.1%}  "
        f"validation {record['val_top1']:.1%}{_perplexity(record)}  {duration(record['seconds'])}"
    )


def _perplexity(record: dict[str, Any]) -> str:
    return f"  perplexity {record['val_perplexity']:.2f}" if "val_perplexity" in record else ""
