"""A sweep: its runs as `sweep.json` lists them, their table, and which of them no other beats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nasc.compiler.methods.values import first_problem
from nasc.dsl.diagnostics import NascError
from nasc.runtime.report_page import plain, read_json

SWEEP = "sweep.json"

Finite = Annotated[float, Field(ge=-1e18, le=1e18)]
Amount = Annotated[float, Field(ge=0, le=1e18)]
Count = Annotated[int, Field(ge=0, le=10**18)]
Share = Annotated[float, Field(ge=0, le=1)]


class SweepRun(BaseModel):
    """A run: one alpha, lambda (None for a method without one) and seed. `folder` is relative to the sweep's; `cost` is
    in the sweep's unit; `layers` are the searched layers left; accuracies are shares of 1, on validation and test data,
    of the retrained network.

    `winner`: of its alpha's runs, the lambda and seed with the lowest final loss (4.1.1).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    folder: str = Field(max_length=500)
    alpha: Finite
    lambda_: Finite | None = Field(alias="lambda")
    seed: int = Field(ge=0, le=2**63)
    state: Literal["done", "failed", "waiting"]
    loss: Finite | None = None
    cross_entropy: Amount | None = None
    cost: Amount | None = None
    params: Count | None = None
    macs: Count | None = None
    layers: Count | None = None
    seconds: Amount | None = None
    winner: bool = False
    accuracy: Share | None = None
    test_accuracy: Share | None = None

    @field_validator("folder")
    @classmethod
    def _inside(cls, folder: str) -> str:
        path = PurePosixPath(folder)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in folder or "\0" in folder:
            raise ValueError("a run's folder is a relative path inside the sweep's")
        return folder


class Sweep(BaseModel):
    """A sweep over alpha, lambda and seed (4.2, Table 6). `unit` is the cost's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sweep"] = "sweep"
    version: Literal[1] = 1
    space: str = Field(max_length=200)
    method: str = Field(max_length=200)
    data: str = Field(max_length=500)
    cost: Literal["latency", "macs", "params"]
    unit: str = Field(max_length=40)
    runs: tuple[SweepRun, ...] = Field(max_length=10_000)

    def ordered(self) -> list[SweepRun]:
        """The runs by alpha, lambda and seed."""
        return sorted(self.runs, key=lambda run: (run.alpha, run.lambda_ or 0.0, run.seed))

    def points(self, name: str) -> list[tuple[SweepRun, tuple[float, float]]]:
        """The runs that have a cost and the value of that name (`accuracy`, `cross_entropy`), with both, ordered."""
        values = [(run, run.cost, getattr(run, name)) for run in self.ordered()]
        return [(run, (cost, float(value))) for run, cost, value in values if cost is not None and value is not None]

    def front(self) -> set[str]:
        """The folders of the runs on the front: of the retrained by accuracy; where none is, by cross-entropy."""
        name, higher = ("accuracy", True) if self.points("accuracy") else ("cross_entropy", False)
        found = self.points(name)
        return {found[at][0].folder for at in pareto_front([point for _, point in found], higher=higher)}


def read_sweep(path: Path) -> Sweep:
    """Read a `sweep.json`. Raises `NascError` where it is missing or malformed."""
    try:
        return Sweep.model_validate(read_json(path))
    except ValidationError as error:
        raise NascError(f"{path} is not a sweep: {first_problem(error)}") from None


def pareto_front(points: Sequence[tuple[float, float]], *, higher: bool = True) -> list[int]:
    """The places of the points that no other dominates, by rising cost.

    A point is (cost, accuracy), or (cost, loss) with `higher` False. One dominates another that is nowhere better and
    somewhere worse; of equal points all stay. Points with a nan are left out.
    """
    sign = -1.0 if higher else 1.0
    known = [(cost, sign * value, at) for at, (cost, value) in enumerate(points) if cost == cost and value == value]
    front: list[tuple[float, float, int]] = []
    for point in sorted(known):
        if not front or point[1] < front[-1][1] or point[:2] == front[-1][:2]:
            front.append(point)
    return [at for _, _, at in front]


def sweep_columns(sweep: Sweep) -> dict[str, Callable[[SweepRun], str]]:
    """The columns of a sweep's table by their heads, as far as any run has a value for them.

    The last tells a winner with `*` and a place on the front with `front`.
    """
    front = sweep.front()
    columns: dict[str, Callable[[SweepRun], str]] = {
        "alpha": lambda run: f"{run.alpha:g}",
        "lambda": lambda run: _number(run.lambda_, "g"),
        "seed": lambda run: f"{run.seed}",
        "state": lambda run: run.state,
        "loss": lambda run: _number(run.loss, ".4f"),
        "cross-entropy": lambda run: _number(run.cross_entropy, ".4f"),
        f"cost, {plain(sweep.unit)}": lambda run: _number(run.cost, ",.0f" if (run.cost or 0) >= 10_000 else ".5g"),
        "params": lambda run: _number(run.params, ","),
        "MACs": lambda run: _number(run.macs, ","),
        "layers": lambda run: _number(run.layers, "d"),
        "seconds": lambda run: _number(run.seconds, ".0f"),
        "accuracy": lambda run: _number(run.accuracy, ".2%"),
        "test": lambda run: _number(run.test_accuracy, ".2%"),
        "best": lambda run: " ".join(["*"] * run.winner + ["front"] * (run.folder in front)),
    }
    return {head: tell for head, tell in columns.items() if any(tell(run) for run in sweep.runs)}


def sweep_table(sweep: Sweep) -> str:
    """The table as plain text: a line per run, `*` for the winner of each alpha, `front` for what nothing beats."""
    columns = sweep_columns(sweep)
    lines = [list(columns), *([tell(run) for tell in columns.values()] for run in sweep.ordered())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    words = {"state", "best"}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if head in words else cell.rjust(width)
            for head, cell, width in zip(columns, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
