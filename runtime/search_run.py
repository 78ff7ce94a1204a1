"""One search over a SuperNet, resumable: weights and architecture weights in turn, and what the method then decides.

RUN/checkpoint.pt    after each epoch, all that the next one needs
RUN/warmup.pt        the same where warm-up ended, for other runs to go on from
RUN/metrics.jsonl    a line per epoch
RUN/states/          after each epoch, the networks still reachable

Every random number is drawn from a seed derived from (seed, purpose, epoch, step), so on a CPU a run that was killed
and resumed ends bit for bit as one that was not.
"""

from __future__ import annotations

import math
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasc.compiler.methods.supernet import GradientOptions, WeightsOptions
from nasc.dsl.diagnostics import NascError
from nasc.runtime import checkpoint
from nasc.runtime.data_loader import Batch
from nasc.runtime.data_splits import DataSplits
from nasc.runtime.evaluate import mean_cross_entropy, require_labels, right_answers
from nasc.runtime.methods.searched import Searched
from nasc.runtime.metrics import append_metrics, rewind_metrics
from nasc.runtime.precision import layout_of, precision_of
from nasc.runtime.progress import Progress, amount, duration
from nasc.runtime.ranks import Ranks
from nasc.runtime.run_identity import changed_settings, require_same_run, run_of
from nasc.runtime.search_context import Settings
from nasc.runtime.search_optimizers import forget, make_optimizer, restore_moments
from nasc.runtime.search_phases import Phase, Phases
from nasc.runtime.seeds import derive_seed, derived_generator
from nasc.runtime.states import StateFiles
from nasc.runtime.supernet import seed_noise
from nasc.runtime.tensorboard_log import TensorboardLog

KIND, VERSION = "search", 2
CHECKPOINT, WARMUP, METRICS = "checkpoint.pt", "warmup.pt", "metrics.jsonl"
_LOOK_STEPS = 10
_KINDS = {False: "weights_optimizer", True: "architecture_optimizer"}

# What the weights at the end of warm-up depend on; costs and what trains architecture weights are not among it.
_WARMUP_SETTINGS = (
    *("space", "space_hash", "method", "steps", "data", "data_seed"),
    *("epochs", "warmup", "batch", "warmup_images", "split", "class_fraction", "augment", "magnitude", "deviation"),
    *("weights", "tau", "temperature", "small", "large"),
)


class SearchRun:
    """A search between two epochs: `epoch` of them are done, in `seconds`."""

    def __init__(
        self,
        method: Searched,
        data: DataSplits,
        options: WeightsOptions,
        device: torch.device,
        progress: Progress,
        settings: Settings,
        ranks: Ranks | None = None,
    ) -> None:
        self.method, self.data, self.options, self.device = method, data, options, device
        self.progress, self.settings = progress, settings
        self.supernet: nn.Module = method.supernet
        self.ranks = ranks or Ranks()
        self.sections = {False: options.weights}
        if isinstance(options, GradientOptions):
            self.sections[True] = options.architecture
        self.phases = Phases(method, data, options, settings, self.ranks)
        self.precision = precision_of(settings.amp, device)
        self.layout = layout_of(settings.channels_last, device, self.precision)
        method.recompute(settings.checkpoint_activations)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision is torch.float16)
        self.epoch, self.seconds = 0, 0.0
        self.last: dict[str, Any] = {}
        self.text = ""
        self._make_optimizers()

    def _make_optimizers(self) -> None:
        trained = {False: self.method.weights(), True: self.method.architecture()}
        self.optimizers = {kind: make_optimizer(section, trained[kind]) for kind, section in self.sections.items()}

    @property
    def until(self) -> int:
        """The number of epochs to run to."""
        return self.options.warmup if self.settings.until_warmup else self.options.epochs

    @property
    def ended(self) -> bool:
        """Is the whole search done?"""
        return self.epoch >= self.options.epochs

    # ------------------------------------------------------------------------------------------ epochs

    def run_epoch(self) -> dict[str, Any]:
        """One epoch, what the method decides at its end, and its line of the metrics log."""
        started = time.monotonic()
        searching = self.epoch >= self.options.warmup
        if self.epoch == self.options.warmup:
            self.method.begin()
        self.method.start_epoch(self.epoch)
        sums = {phase.name: self._run_phase(phase) for phase in self.phases.of(self.epoch)}
        self.ranks.average_buffers(self.supernet)
        self._require_sound()
        events = self._decide() if searching else []
        self.seconds += time.monotonic() - started
        record = self._record(sums, events)
        self.epoch += 1
        self.last = record
        self.progress.line(_epoch_line(record, self.epoch, self.options.epochs, self.method.unit))
        return record

    def _decide(self) -> list[str]:
        decided = self.method.end_epoch(self.epoch + 1)
        gone = {id(parameter) for module in decided.removed for parameter in module.parameters()}
        for optimizer in self.optimizers.values():
            forget(optimizer, gone)
        self._renew(decided.renewed)
        return decided.events

    def _renew(self, parameters: list[nn.Parameter]) -> None:
        """Let the optimiser of architecture weights start anew with these."""
        for parameter in parameters:
            self.optimizers[True].state.pop(parameter, None)

    def _record(self, sums: dict[str, tuple[float, float, float]], events: list[str]) -> dict[str, Any]:
        last = list(sums)[-1]
        loss, cross_entropy, accuracy = sums[last]
        return {
            "epoch": self.epoch,
            "phase": "search" if self.epoch >= self.options.warmup else "warm-up",
            "loss": loss,
            "cross_entropy": cross_entropy,
            "accuracy": accuracy,
            "weights_cross_entropy": sums[next(iter(sums))][1],
            "cost": self.method.expected_cost(),
            "unit": self.method.unit,
            "alpha": self.method.alpha,
            "candidates": self.method.candidates_left(),
            "events": events,
            **self.method.describe(self.epoch + 1),
            "rate": self.optimizers[False].param_groups[0]["lr"],
            "seconds": round(self.seconds, 3),
        }

    # ------------------------------------------------------------------------------------------ steps

    def _run_phase(self, phase: Phase) -> tuple[float, float, float]:
        """Mean loss, cross-entropy and accuracy."""
        self.supernet.train()
        # Gradients of the other kind of weights would be computed in vain.
        for parameter in self.method.weights():
            parameter.requires_grad_(False in phase.trains)
        for parameter in self.method.architecture():
            parameter.requires_grad_(True in phase.trains)
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        batches, steps = iter(phase.batches), phase.steps
        for step in range(steps):
            sums += self._step(phase, step, list(islice(batches, self.settings.accumulate)))
            if (step + 1) % _LOOK_STEPS == 0 or step + 1 == steps:
                loss, entropy, accuracy = (self.ranks.add_up(sums.clone()) / ((step + 1) * phase.size)).tolist()
                self._require_finite(loss)
                self.text = self._how_it_stands(loss, entropy)
            self.progress.advance(self.text)
        return loss, entropy, accuracy

    def _how_it_stands(self, loss: float, entropy: float) -> str:
        cost = f"{amount(self.method.expected_cost())} {self.method.unit}"
        return f"loss {loss:.3f}  CE {entropy:.3f}  {cost}  candidates {self.method.candidates_left()}"

    def _step(self, phase: Phase, step: int, parts: list[Batch]) -> Tensor:
        """One update; summed loss and cross-entropy, and the number of correct answers, of this process's images."""
        optimizers = [self._optimizer(kind, step / phase.steps) for kind in phase.trains]
        for optimizer in optimizers:
            optimizer.zero_grad()
        first = self.ranks.rank * self.settings.accumulate
        sums = [self._part(phase, step, first + i, *part) for i, part in enumerate(parts)]
        stepped = [self._stepped(optimizer) for optimizer in optimizers]
        if any(stepped):
            self.scaler.update()
        if True in phase.trains:
            epochs = self.epoch - self.options.warmup + (step + 1) / phase.steps
            self.method.adjust(epochs / (self.options.epochs - self.options.warmup))
        if self.epoch >= self.options.warmup and self.method.counts(True in phase.trains):
            self._renew(self.method.after_step(self.phases.progress(self.epoch, phase, step)))
        return torch.stack(sums).sum(0)

    def _stepped(self, optimizer: torch.optim.Optimizer) -> bool:
        """Let an optimiser take its step where anything has a gradient."""
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.ranks.add_up_gradients(trained)
        if any(parameter.grad is not None for parameter in trained):
            self.scaler.step(optimizer)
            return True
        return False

    def _part(self, phase: Phase, step: int, part: int, images: Tensor, labels: Tensor) -> Tensor:
        """Gradients of one part of a batch, added to those that are there; the part's sums."""
        seed, position = self.options.seed, (phase.name, self.epoch, step)
        seed_noise(derive_seed(seed, "step", *position))  # the same for all parts of a batch
        own = (*position, part) if part else position
        torch.manual_seed(derive_seed(seed, "step", *own))
        images = images.to(self.device, non_blocking=True)
        if self.data.augment and False in phase.trains:
            images = self.data.augment(images, derived_generator(seed, "augment", *own))
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
            logits = self.supernet(images.to(memory_format=self.layout) if images.dim() == 4 else images)
        require_labels(logits, labels)
        labels = labels.to(self.device, non_blocking=True)
        entropy = mean_cross_entropy(logits, labels)
        loss = self.method.loss(entropy)
        # The cost does not depend on the weights; where all is decided, nothing depends on architecture weights.
        target = loss if True in phase.trains else entropy
        if target.requires_grad:
            self.scaler.scale(target * (len(labels) / phase.size)).backward()
        correct = right_answers(logits, labels)
        return torch.stack([loss.detach() * len(labels), entropy.detach() * len(labels), correct]).double()

    def _optimizer(self, architecture: bool, within: float) -> torch.optim.Optimizer:
        """The optimiser of a kind of weights with its rate: a cosine over all epochs."""
        optimizer = self.optimizers[architecture]
        full = self.sections[architecture].rate
        assert full is not None
        rate = full * 0.5 * (1 + math.cos(math.pi * (self.epoch + within) / self.options.epochs))
        for group in optimizer.param_groups:
            group["lr"] = rate
        return optimizer

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise self._diverged(f"the loss became {loss}")

    def _require_sound(self) -> None:
        """Else weights that the epoch's last step ruined would replace a good checkpoint."""
        sums = torch.stack([parameter.detach().sum() for parameter in self.supernet.parameters()])
        if not sums.isfinite().all():
            raise self._diverged("weights became infinite or nan")

    def _diverged(self, what: str) -> NascError:
        kept = f"; the checkpoint of epoch {self.epoch} is kept" if self.epoch else ""
        return NascError(
            f"{what} in epoch {self.epoch + 1}{kept}",
            help=f"lower the rate of the weights (now {self.options.weights.rate:g}) or lengthen the warm-up, "
            "and search in another folder",
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
            **{_KINDS[kind]: optimizer.state_dict() for kind, optimizer in self.optimizers.items()},
            "scaler": self.scaler.state_dict(),
            "last": {name: self.last.get(name) for name in ("loss", "cross_entropy", "accuracy")},
        }

    def _which(self, identity: dict[str, Any]) -> dict[str, Any]:
        """What a resumed run may not change."""
        return run_of(identity, self.data.name, self.settings, self.options)

    def restore(self, path: Path, identity: dict[str, Any]) -> None:
        """Go on from a checkpoint. Raises `NascError` if it is damaged or of another run."""
        state = checkpoint.load(path, KIND, VERSION)
        require_same_run(path, state, self._which(identity))
        self._take(path, state)

    def restore_warmup(self, path: Path, identity: dict[str, Any]) -> None:
        """Go on from where another run's warm-up ended. Raises `NascError` if this run's would have been another."""
        if not self.options.warmup:
            raise NascError("this search has no warm-up to take from another", help="leave --warmup-from out")
        state, which = checkpoint.load(path, KIND, VERSION), self._which(identity)
        changed = changed_settings(path, state, which, [name for name in _WARMUP_SETTINGS if name in which])
        if changed or state.get("epoch") != self.options.warmup:
            found = ", ".join(changed) or f"{state.get('epoch')} epochs"
            raise NascError(
                f"the warm-up {path} is another: {found}",
                help="search with the settings of its run, or without --warmup-from",
            )
        self._take(path, state)
        self.seconds = 0.0

    def _take(self, path: Path, state: dict[str, Any]) -> None:
        try:
            self.method.restore(state["method"])
            checkpoint.restore_weights(self.supernet, state["supernet"], str(path))
            if not all(parameter.isfinite().all() for parameter in self.method.architecture()):
                raise ValueError("its architecture weights are not finite")
            self._make_optimizers()
            for kind, section in self.sections.items():
                restore_moments(self.optimizers[kind], section, state[_KINDS[kind]])
            if self.scaler.is_enabled() and state["scaler"]:  # the checkpoint may be of another precision
                self.scaler.load_state_dict(state["scaler"])
            self.epoch, self.seconds = int(state["epoch"]), float(state["seconds"])
            self.last = {name: None if value is None else float(value) for name, value in state["last"].items()}
            if not (0 <= self.epoch <= self.options.epochs and 0 <= self.seconds < math.inf):
                raise ValueError(f"{self.epoch} epochs in {self.seconds} seconds")
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
            raise NascError(f"the checkpoint {path} is not one of this search: {error}") from error


def run_epochs(run: SearchRun, out: Path, identity: dict[str, Any], states: StateFiles) -> None:
    """Run to the last epoch, with a checkpoint after each. Raises `NascError` if `out` holds a run not asked for."""
    path, settings = out / CHECKPOINT, run.settings
    if path.exists():
        if not settings.resume:
            raise NascError(f"{out} already holds a search", help="continue it with --resume, or name another folder")
        run.restore(path, identity)
    elif settings.warmup_from is not None and settings.steps is None:
        run.restore_warmup(settings.warmup_from, identity)
    if run.ranks.first:
        rewind_metrics(out / METRICS, run.epoch)
    run.progress.start("search", run.phases.steps_between(0, run.until), run.phases.steps_between(0, run.epoch))
    with TensorboardLog(out, settings.tensorboard and run.ranks.first, run.epoch) as board:
        try:
            while run.epoch < run.until:
                record = run.run_epoch()
                if not run.ranks.first:
                    continue
                append_metrics(out / METRICS, record)
                board.write(record)
                if (reachable := run.method.reachable()) is not None:
                    states.write(reachable, run.epoch, run.options.epochs)
                if run.epoch == run.options.warmup:
                    checkpoint.save(out / WARMUP, run.state(identity), KIND, VERSION)
                checkpoint.save(path, run.state(identity), KIND, VERSION)
        finally:
            run.progress.stop()


def _epoch_line(record: dict[str, Any], done: int, epochs: int, unit: str) -> str:
    return (
        f"epoch {done}/{epochs} ({record['phase']})  loss {record['loss']:.3f}  "
        f"cross-entropy {record['cross_entropy']:.3f}  accuracy {record['accuracy']:.1%}  "
        f"expected {amount(record['cost'])} {unit}  candidates {record['candidates']}  {duration(record['seconds'])}"
    )
