"""The parts of a search's epochs: which images train what, in how many steps, and how far on a step is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nasc.compiler.methods.supernet import SupernetOptions, WeightsOptions
from nasc.dsl.diagnostics import NascError
from nasc.runtime.data_loader import Batches, loader
from nasc.runtime.data_splits import DataSplits, Images, size, split_at_random
from nasc.runtime.methods.searched import Searched
from nasc.runtime.ranks import Ranks
from nasc.runtime.search_context import Settings
from nasc.runtime.seeds import derive_seed


@dataclass(frozen=True)
class Phase:
    """A part of an epoch: which images, what they train, in how many steps, of how many images each (of all ranks).

    `trains` has False for weights and True for architecture weights.
    """

    name: str
    batches: Batches
    trains: tuple[bool, ...]
    steps: int
    size: int


class Phases:
    """The phases of all epochs of one search (PruNet, A.2.1)."""

    def __init__(
        self, method: Searched, data: DataSplits, options: WeightsOptions, settings: Settings, ranks: Ranks
    ) -> None:
        """Raises `NascError` where a batch cannot be divided among the ranks."""
        self.ranks = ranks
        self.method, self.options, self.settings, self.train = method, options, settings, data.train
        self.weights: Images = data.train
        self.architecture: Images = data.train
        if isinstance(options, SupernetOptions):
            shares = (options.split, 1 - options.split)
            self.weights, self.architecture = split_at_random(data.train, shares, settings.split_seed(options))

    def of(self, epoch: int) -> list[Phase]:
        """The parts of epoch `epoch` (from 0): the weights alone in warm-up, then 80 % and 20 %, or all together."""
        if epoch < self.options.warmup:
            part = isinstance(self.options, SupernetOptions) and self.options.warmup_images != "all"
            return [self._phase("warm-up", self.weights if part else self.train, epoch, False)]
        if self.method.together:
            return [self._phase("search", self.train, epoch, False, True)]
        return [
            self._phase("weights", self.weights, epoch, False),
            self._phase("architecture", self.architecture, epoch, True),
        ]

    def _phase(self, name: str, images: Images, epoch: int, *trains: bool) -> Phase:
        batches = self._batches(images, derive_seed(self.options.seed, name), epoch)
        limit = self.settings.steps
        steps = len(batches) if limit is None else min(limit, len(batches))
        return Phase(name, batches, trains, steps, batches.batch)

    def _batches(self, images: Images, seed: int, epoch: int) -> Batches:
        batch = min(self.options.batch, size(images))
        whole = loader(images, batch, True, seed, epoch, drop_last=True, workers=self.settings.workers)
        each = self.settings.accumulate
        parts, first = self.ranks.world * each, self.ranks.rank * each
        if parts > batch:
            raise NascError(f"a batch of {batch} images cannot be divided into {parts} parts", help="raise the batch")
        return replace(whole, parts=parts, mine=tuple(range(first, first + each)))

    def seen_images(self) -> Batches:
        """The images that train the weights, in an order of their own."""
        batches = self._batches(self.weights, derive_seed(self.options.seed, "seen"), self.options.epochs)
        return replace(batches, parts=1, mine=(0,))

    # ------------------------------------------------------------------------------------------ counting

    def steps_between(self, first: int, last: int) -> int:
        """The steps of epochs `first` to `last` - 1."""
        return self._sum(first, last, counted=False)

    def progress(self, epoch: int, phase: Phase, step: int) -> float:
        """How much of the search is done at a step, among those that the method counts: 0 at its first, 1 at its last.

        Where it begins with the warm-up, that counts as done.
        """
        first = 0 if self.method.progress_from_start else self.options.warmup
        names = [other.name for other in self.of(epoch)]
        before = sum(map(self._counted, self.of(epoch)[: names.index(phase.name)]))
        done = self._sum(first, epoch, counted=True) + before + step
        return done / max(1, self._sum(first, self.options.epochs, counted=True) - 1)

    def _sum(self, first: int, last: int, counted: bool) -> int:
        """All steps, or those that count, of epochs `first` to `last` - 1: alike before and after the warm-up's end."""
        warmup = max(0, min(last, self.options.warmup) - first)
        lengths = [(warmup, 0), (last - first - warmup, self.options.epochs - 1)]
        take = self._counted if counted else lambda phase: phase.steps
        return sum(number * sum(map(take, self.of(epoch))) for number, epoch in lengths if number)

    def _counted(self, phase: Phase) -> int:
        return phase.steps if self.method.counts(True in phase.trains) else 0
