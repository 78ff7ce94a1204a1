"""What a comparison found: its networks, and by method and seed their best, their hypervolume and what they took."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nasc.runtime.compare_numbers import CONFIDENCE, Interval, hypervolume, interval
from nasc.runtime.compare_plan import Asked, Refusal
from nasc.runtime.costs import UNITS
from nasc.runtime.progress import amount
from nasc.runtime.sweep_table import Amount, Count, Finite, Share, pareto_front

MARGIN = 1.1
"""Where no reference is stated, its cost is that of the dearest network found times this."""


class Found(BaseModel):
    """A search, and the network that it found once it is done.

    `strength` is the value of the method's strength; `cost` is in the comparison's unit. Accuracies are shares of 1:
    `accuracy` of the trained network on test images where the data has some (`tested`), else on validation images as
    `val_accuracy`; `found_accuracy` with the weights that the search left, on validation images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field(max_length=200)
    seed: int = Field(ge=0)
    point: int = Field(ge=0)
    strength: Finite
    folder: str
    state: Literal["done", "failed", "waiting"] = "waiting"
    why: str = ""
    cost: Amount | None = None
    params: Count | None = None
    macs: Count | None = None
    accuracy: Share | None = None
    tested: bool = False
    val_accuracy: Share | None = None
    found_accuracy: Share | None = None
    search_steps: Count = 0
    search_seconds: Amount | None = None
    training_steps: Count | None = None
    training_seconds: Amount | None = None

    @property
    def place(self) -> tuple[float, float] | None:
        """Cost and accuracy of what was found."""
        return None if self.cost is None or self.accuracy is None else (self.cost, self.accuracy)


class Line(BaseModel):
    """What a method found with one seed: accuracy and sizes of its best network, steps and seconds of its searches."""

    model_config = ConfigDict(frozen=True)

    method: str
    seed: int
    networks: int
    accuracy: float | None
    cost: float | None
    params: int | None
    macs: int | None
    hypervolume: float
    steps: int
    seconds: float


class Comparison(BaseModel):
    """All that is known of a comparison. `reference` is the hypervolume's: a cost and an accuracy."""

    model_config = ConfigDict(frozen=True)

    space: str
    asked: Asked
    reference: tuple[float, float]
    found: tuple[Found, ...]
    refused: tuple[Refusal, ...]

    @classmethod
    def of(
        cls, *, space: str, classes: int, asked: Asked, found: tuple[Found, ...], refused: tuple[Refusal, ...]
    ) -> Comparison:
        """With the stated reference, or the dearest network found a little further on, and the accuracy of chance."""
        dearest = max((one.cost for one in found if one.cost is not None), default=0.0)
        reference = asked.reference or (MARGIN * dearest, 1 / max(1, classes))
        return cls(space=space, asked=asked, reference=reference, found=found, refused=refused)

    @property
    def methods(self) -> tuple[str, ...]:
        """Those that take part, in the order in which they were named."""
        there = {one.method for one in self.found}
        return tuple(name for name in self.asked.methods if name in there)

    @property
    def unit(self) -> str:
        return UNITS[self.asked.cost]

    def of_method(self, method: str) -> list[Found]:
        """The networks that a method has found, by seed and point."""
        return [one for one in self.found if one.method == method and one.place is not None]

    def lines(self) -> Iterator[Line]:
        """By method and seed, of what is done."""
        for method in self.methods:
            for seed in self.asked.seeds:
                found = [one for one in self.of_method(method) if one.seed == seed]
                if found:
                    yield self._line(method, seed, found)

    def _line(self, method: str, seed: int, found: Sequence[Found]) -> Line:
        best = max(found, key=lambda one: (one.accuracy or 0.0, -(one.cost or 0.0)))
        return Line(
            method=method,
            seed=seed,
            networks=len(found),
            accuracy=best.accuracy,
            cost=best.cost,
            params=best.params,
            macs=best.macs,
            hypervolume=hypervolume(places(found), self.reference),
            steps=sum(one.search_steps for one in found),
            seconds=sum(one.search_seconds or 0.0 for one in found),
        )

    def front(self) -> list[Found]:
        """The networks that no other of any method beats, by rising cost."""
        done = [one for one in self.found if one.place is not None]
        return [done[at] for at in pareto_front(places(done))]

    def summary(self) -> dict[str, Any]:
        """All of it as plain data, but for the networks one by one."""
        cost, accuracy = self.reference
        return {
            "kind": "comparison",
            "version": 1,
            "space": self.space,
            "unit": self.unit,
            "asked": {**self.asked.model_dump(mode="json"), "budget": str(self.asked.budget)},
            "reference": {"cost": cost, "accuracy": accuracy},
            "interval": f"Student's t over seeds, {CONFIDENCE:.0%}",
            "methods": [self._of_method(method) for method in self.methods],
            "refused": [{"method": one.method, "why": one.why} for one in self.refused],
            "runs": [line.model_dump() for line in self.lines()],
            "front": [one.folder for one in self.front()],
        }

    def _of_method(self, method: str) -> dict[str, Any]:
        lines = [line for line in self.lines() if line.method == method]
        states = [one.state for one in self.found if one.method == method]
        return {
            "method": method,
            **{state: states.count(state) for state in ("done", "failed", "waiting")},
            "hypervolume": _plain(interval([line.hypervolume for line in lines])),
            "accuracy": _plain(interval([line.accuracy for line in lines if line.accuracy is not None])),
            "steps": sum(line.steps for line in lines),
            "seconds": round(sum(line.seconds for line in lines), 3),
        }

    def jsonl(self) -> str:
        """A line for each search."""
        return "".join(json.dumps(one.model_dump()) + "\n" for one in self.found)


def places(found: Sequence[Found]) -> list[tuple[float, float]]:
    """Cost and accuracy of the networks among them."""
    return [place for one in found if (place := one.place) is not None]


def _plain(found: Interval | None) -> dict[str, float | None] | None:
    return None if found is None else dict(zip(("mean", "low", "high"), found, strict=True))


# ------------------------------------------------------------------------------------------------ tables


def line_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table by method and seed; sizes are those of the best network."""
    latency = [f"latency, {comparison.unit}"] if comparison.asked.cost == "latency" else []
    head = ["method", "seed", "networks", "best accuracy", *latency, "params", "MACs"]
    rows = [
        [
            line.method,
            str(line.seed),
            str(line.networks),
            f"{line.accuracy or 0.0:.2%}",
            *([amount(line.cost or 0.0)] if latency else []),
            f"{line.params:,}",
            f"{line.macs:,}",
            f"{line.hypervolume:.4f}",
            f"{line.steps:,}",
            f"{line.seconds:.1f}",
        ]
        for line in comparison.lines()
    ]
    return [*head, "hypervolume", "search steps", "search seconds"], rows


def method_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table by method, with intervals over the seeds; a refused method's row says why."""
    rows = []
    for method in comparison.methods:
        lines = [line for line in comparison.lines() if line.method == method]
        done = sum(line.networks for line in lines)
        wanted = sum(one.method == method for one in comparison.found)
        volume = _said(interval([line.hypervolume for line in lines]), "{:.4f}")
        accuracy = _said(interval([line.accuracy or 0.0 for line in lines]), "{:.2%}")
        rows.append([method, f"{done} of {wanted}", volume, accuracy])
    rows += [[one.method, "refused", one.why, ""] for one in comparison.refused]
    return ["method", "networks", "hypervolume, mean over seeds", "best accuracy, mean over seeds"], rows


def _said(found: Interval | None, form: str) -> str:
    if found is None:
        return ""
    if found.low is None or found.high is None:
        return form.format(found.mean)
    return f"{form.format(found.mean)} ({form.format(found.low)} .. {form.format(found.high)})"


def conditions(comparison: Comparison) -> list[tuple[str, str]]:
    """What was equal for all, as names and values."""
    asked, (cost, accuracy) = comparison.asked, comparison.reference
    tested = any(one.tested for one in comparison.found)
    start = "random weights" if asked.start == "scratch" else "the weights that the search left"
    return [
        ("space", comparison.space),
        ("data", asked.data),
        ("budget of each search", str(asked.budget)),
        ("searches of each method", f"{asked.points} x {len(asked.seeds)} seeds"),
        ("training of each network", f"{asked.retrain:,} steps from {start}"),
        ("accuracy", "on test images" if tested else "on validation images"),
        ("cost", f"latency, {comparison.unit}" if asked.cost == "latency" else comparison.unit),
        ("reference of hypervolumes", f"{amount(cost)} {comparison.unit}, accuracy {accuracy:.2%}"),
        ("intervals", f"Student's t over seeds, {CONFIDENCE:.0%}"),
    ]
