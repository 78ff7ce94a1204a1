"""Several searches of one space: every alpha with every lambda and every seed, from one warm-up.

SWEEP/sweep.json    what is searched and how each run stands, anew after each run
SWEEP/warmup/       the warm-up that all runs go on from
SWEEP/runs/…/       each search, a run like any other; trained/ in it where its network was trained from scratch
SWEEP/pareto.svg    cost against accuracy, or against cross-entropy

For each alpha the run with the least final loss wins, as the paper chooses lambda (PruNet, 4.1.1). A sweep that was
stopped goes on: what is done is not done again.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nasc.compiler.cost import cost_of
from nasc.compiler.methods.option_text import read_plain
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.write_files import write_file
from nasc.dsl.diagnostics import NascError
from nasc.runtime.costs import UNITS
from nasc.runtime.pareto import plot_pareto
from nasc.runtime.progress import Progress, standard_progress
from nasc.runtime.report_page import svg_of
from nasc.runtime.search_context import Job, Settings
from nasc.runtime.search_job import BEST, RESULT, search
from nasc.runtime.search_run import WARMUP
from nasc.runtime.sweep_table import SWEEP, Sweep, SweepRun, sweep_table
from nasc.runtime.train_file import train_file

WARMUP_RUN, RUNS, TRAINED, PICTURE = "warmup", "runs", "trained", "pareto.svg"


class Point(NamedTuple):
    """One run of a sweep; `lambda_` is None for a method without one."""

    alpha: float
    lambda_: float | None
    seed: int

    @property
    def name(self) -> str:
        middle = "" if self.lambda_ is None else f"_lambda-{self.lambda_:g}"
        return f"alpha-{self.alpha:g}{middle}_seed-{self.seed}"

    @property
    def words(self) -> str:
        middle = "" if self.lambda_ is None else f"lambda {self.lambda_:g}, "
        return f"alpha {self.alpha:g}, {middle}seed {self.seed}"


@dataclass(frozen=True)
class Retraining:
    """Train the winners from scratch, with options of `nasc train`."""

    options: dict[str, Any]

    @classmethod
    def of(cls, epochs: int | None, texts: Sequence[str]) -> Retraining | None:
        """From the command line. Raises `NascError` for options without epochs, and for what is not NAME=VALUE."""
        if epochs is None:
            if texts:
                raise NascError("--train goes with --retrain", help="say for how many epochs: --retrain 20")
            return None
        return cls({**dict(map(read_plain, texts)), "epochs": epochs})


def points_of(options: Any) -> list[Point]:
    """The runs that a method's options ask for: each alpha, then each lambda, then each seed."""
    lambdas: tuple[float | None, ...] = getattr(options, "lambda_", (None,))
    return [Point(*values) for values in itertools.product(options.alpha, lambdas, options.seeds)]


def at(options: Any, point: Point) -> Any:
    """The options of one run."""
    values: dict[str, Any] = {"alpha": (point.alpha,), "seeds": (point.seed,)}
    if point.lambda_ is not None:
        values["lambda_"] = (point.lambda_,)
    return options.model_copy(update=values)


def sweep(
    job: Job, options: Any, settings: Settings, retraining: Retraining | None, progress: Progress | None = None
) -> Sweep:
    """Run every search, then train the winners where that is asked for.

    A run that fails is noted and the others go on. Raises `NascError` where `settings.out` is missing, holds another
    sweep or one that was not asked to go on, and, at the end, where a run failed.
    """
    if settings.out is None:
        raise NascError("a sweep needs a folder for its runs", help="name one with --out")
    run = _SweepRun(job, options, settings, progress or standard_progress())
    run.start()
    for point in points_of(options):
        run.search(point)
    if retraining is not None:
        run.retrain(retraining)
    failed = [r.folder for r in run.sweep.runs if r.state == "failed"]
    if failed:
        run.progress.line(sweep_table(run.sweep))
        raise NascError(f"{len(failed)} of {len(run.sweep.runs)} runs failed: {', '.join(failed)}", help=run.problem)
    return run.sweep


class _SweepRun:
    """A sweep in its folder."""

    def __init__(self, job: Job, options: Any, settings: Settings, progress: Progress) -> None:
        assert settings.out is not None
        self.job, self.options, self.out, self.progress = job, options, settings.out, progress
        self.settings = settings.model_copy(update={"resume": True, "data_seed": options.seeds[0]})
        self.resume, self.problem = settings.resume, ""
        self.sweep = Sweep(
            space=job.space,
            method=job.method,
            data=settings.data,
            cost=options.cost,
            unit=UNITS[options.cost],
            runs=tuple(
                SweepRun(folder=f"{RUNS}/{p.name}", alpha=p.alpha, lambda_=p.lambda_, seed=p.seed, state="waiting")
                for p in points_of(options)
            ),
        )

    def start(self) -> None:
        """Take over what is there, and train the warm-up that the runs share."""
        path = self.out / SWEEP
        if (path.exists() or (self.out / "checkpoint.pt").exists()) and not self.resume:
            raise NascError(f"{self.out} already holds a search", help="continue it with --resume, or name another")
        self._take_over()
        if getattr(self.options, "warmup", 0) and self.settings.warmup_from is None:
            self._warm_up()

    def _warm_up(self) -> None:
        folder = self.out / WARMUP_RUN
        if not (folder / WARMUP).is_file():
            self.progress.line("warm-up, shared by all runs")
            first = at(self.options, points_of(self.options)[0])
            update = {"out": folder, "until_warmup": True}
            search(self.job, first, self.settings.model_copy(update=update), self.progress)
        self.settings = self.settings.model_copy(update={"warmup_from": folder / WARMUP})

    def search(self, point: Point) -> None:
        """One run, unless it is done; a failure is noted."""
        folder = self.out / RUNS / point.name
        if (folder / RESULT).is_file():
            return
        self.progress.line(f"run {point.words}")
        try:
            search(self.job, at(self.options, point), self.settings.model_copy(update={"out": folder}), self.progress)
        except NascError as error:
            self.problem = f"{point.words}: {error.message}"
            self.progress.line(f"run {point.words} failed: {error.message}")
            self._change(point, state="failed")
            return
        self._change(point)

    def retrain(self, retraining: Retraining) -> None:
        """Train the winners' networks from scratch."""
        for run in self.sweep.runs:
            if run.winner and run.accuracy is None:
                folder = self.out / run.folder
                self.progress.line(f"training the network of {run.folder}")
                options = {**self._training_defaults(), **retraining.options}
                train_file(
                    folder / BEST, self.settings.data, folder / TRAINED, options, resume=True, progress=self.progress
                )
                self._take_over()

    def _training_defaults(self) -> dict[str, Any]:
        """The same seed, so that what the search was tested on is not trained on."""
        settings = self.settings
        return {
            "seed": settings.data_seed,
            "batch": self.options.batch,
            "device": settings.device,
            "threads": settings.threads,
            "workers": settings.workers,
        }

    def _change(self, point: Point, **update: Any) -> None:
        runs = tuple(r.model_copy(update=update) if r.folder == f"{RUNS}/{point.name}" else r for r in self.sweep.runs)
        self.sweep = self.sweep.model_copy(update={"runs": runs})
        self._take_over()

    def _take_over(self) -> None:
        """Read how each run stands, find the winners, and write the sweep."""
        runs = tuple(map(self._standing, self.sweep.runs))
        self.sweep = self.sweep.model_copy(update={"runs": tuple(_with_winners(runs))})
        self._write()

    def _standing(self, run: SweepRun) -> SweepRun:
        """A run as its folder says that it stands."""
        folder = self.out / run.folder
        if not (folder / RESULT).is_file():
            return run
        result = self._result(folder / RESULT, run)
        cost = cost_of(space_of(open_file(folder / BEST)))
        trained = folder / TRAINED / "result.json"
        scores = json.loads(trained.read_text(encoding="utf-8")) if trained.is_file() else {}
        return run.model_copy(
            update={
                "state": "done",
                "loss": result["loss"],
                "cross_entropy": result["cross_entropy"],
                "cost": result["cost"]["found"],
                "params": cost.params.min,
                "macs": cost.macs.min,
                "layers": result.get("layers"),
                "seconds": result["seconds"],
                "accuracy": scores.get("top1"),
                "test_accuracy": scores.get("test_top1"),
            }
        )

    def _result(self, path: Path, run: SweepRun) -> dict[str, Any]:
        """A run's result. Raises `NascError` where it was searched with other settings."""
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        point = next(p for p in points_of(self.options) if run.folder == f"{RUNS}/{p.name}")
        wanted = at(self.options, point).model_dump(mode="json", by_alias=True)
        changed = [name for name, value in wanted.items() if result["options"].get(name) != value]
        if changed or result["space_hash"] != self.job.space_hash:
            raise NascError(
                f"the run in {path.parent} was made with other settings: {', '.join(changed) or 'another space'}",
                help="continue the sweep with the settings it was started with, or name another folder",
            )
        return result

    def _write(self) -> None:
        write_file(self.out / SWEEP, self.sweep.model_dump_json(indent=1, by_alias=True).encode() + b"\n")
        if any(run.state == "done" for run in self.sweep.runs):
            write_file(self.out / PICTURE, svg_of(plot_pareto(self.sweep)).encode())


def _with_winners(runs: Sequence[SweepRun]) -> Iterator[SweepRun]:
    """Mark the best run of each alpha: of those done, the one with the least final loss."""
    best: dict[float, SweepRun] = {}
    for run in runs:
        if run.state == "done" and run.loss is not None:
            loss = best[run.alpha].loss if run.alpha in best else None
            if loss is None or run.loss < loss:
                best[run.alpha] = run
    for run in runs:
        yield run.model_copy(update={"winner": best.get(run.alpha) is run})
