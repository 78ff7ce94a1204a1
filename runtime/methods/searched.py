"""What a search by gradient descent trains, and what it decides: the interface between a method and `SearchRun`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from nasc.compiler.reachable import Reachable


@dataclass
class Decided:
    """What a method decided at the end of an epoch: in words, the modules that it removed, and the architecture weights
    whose optimiser is to start anew."""

    events: list[str] = field(default_factory=list)
    removed: list[nn.Module] = field(default_factory=list)
    renewed: list[nn.Parameter] = field(default_factory=list)


class Searched:
    """A SuperNet and its architecture weights. `alpha` weighs the cost, which is in `unit`."""

    progress_from_start = False
    """Does the progress that `after_step` is told begin with the warm-up?"""
    together = False
    """Are weights and architecture weights trained at the same steps, on all training images?"""

    def __init__(self, supernet: nn.Module, alpha: float, unit: str) -> None:
        self.supernet, self.alpha, self.unit = supernet, alpha, unit

    # ------------------------------------------------------------------------------------------ training

    def architecture(self) -> list[nn.Parameter]:
        """The architecture weights of what is left."""
        raise NotImplementedError

    def weights(self) -> list[nn.Parameter]:
        """The weights of what is left."""
        architecture = {id(parameter) for parameter in self.architecture()}
        return [parameter for parameter in self.supernet.parameters() if id(parameter) not in architecture]

    def loss(self, cross_entropy: Tensor) -> Tensor:
        """What is minimised, after a forward pass."""
        raise NotImplementedError

    def recompute(self, wanted: bool) -> None:
        """Whether the backward pass computes blocks again."""

    # ------------------------------------------------------------------------------------------ what a method does

    def begin(self) -> None:
        """Warm-up is over."""

    def start_epoch(self, epoch: int) -> None:
        """Epoch `epoch` (from 0) begins, warm-up or not."""

    def counts(self, architecture: bool) -> bool:
        """Do steps that train this kind of weights count towards the progress that `after_step` is told?"""
        return True

    def adjust(self, done: float) -> None:
        """After a step that trained architecture weights, past the warm-up: `done` of the search (0 to 1) is done."""

    def after_step(self, progress: float) -> list[nn.Parameter]:
        """After each counted step past the warm-up, progress from 0 to 1; returns architecture weights whose moments
        are to be cleared."""
        return []

    def end_epoch(self, epoch: int) -> Decided:
        """What is decided after epoch `epoch` (from 1), past the warm-up."""
        return Decided()

    # ------------------------------------------------------------------------------------------ what stands

    def settings(self) -> dict[str, Any]:
        """What of a sweep this run is: the values that a run's result states."""
        raise NotImplementedError

    def expected_cost(self) -> float:
        """The cost expected without noise."""
        raise NotImplementedError

    def candidates_left(self) -> int:
        """How many operators are left."""
        raise NotImplementedError

    def describe(self, epoch: int) -> dict[str, Any]:
        """How it stands at the end of epoch `epoch` (from 1), for the metrics log."""
        return {}

    def reachable(self) -> Reachable | None:
        """Every member that the search can still end in; None where that says nothing."""
        return None

    # ------------------------------------------------------------------------------------------ state

    def state(self) -> dict[str, Any]:
        """All that is decided so far, as plain data; the weights are the SuperNet's."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Bring a fresh SuperNet to a `state()`. Raises `KeyError` or `ValueError` for one of another space."""
