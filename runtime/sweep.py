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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from nasc.compiler.cost import cost_of
from nasc.compiler.methods.option_text import read_plain
from nasc.compiler.methods.values import first_problem
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.write_files import write_file
from nasc.dsl.diagnostics import NascError
from nasc.runtime import checkpoint
from nasc.runtime.costs import UNITS
from nasc.runtime.pareto import plot_pareto
from nasc.runtime.progress import Progress, standard_progress
from nasc.runtime.ranks import world
from nasc.runtime.report_page import read_json, svg_of
from nasc.runtime.search_context import Job, Settings
from nasc.runtime.search_job import BEST, RESULT, data_of, search
from nasc.runtime.search_run import CHECKPOINT, KIND, VERSION, WARMUP
from nasc.runtime.sweep_table import SWEEP, Sweep, SweepRun, sweep_table
from nasc.runtime.train_file import train_file
from nasc.runtime.train_options import TrainOptions

WARMUP_RUN, RUNS, TRAINED, PICTURE = "warmup", "runs", "trained", "pareto.svg"


class Point(NamedTuple):
    """One run of a sweep; `lambda_` is None for a method without one."""

    alpha: float
    lambda_: float | None
    seed: int

    @property
    def name(self) -> str:
        middle = "" if self.lambda_ is None else f"_lambda-{_exact(self.lambda_)}"
        return f"alpha-{_exact(self.alpha)}{middle}_seed-{self.seed}"

    @property
    def words(self) -> str:
        middle = "" if self.lambda_ is None else f"lambda {_exact(self.lambda_)}, "
        return f"alpha {_exact(self.alpha)}, {middle}seed {self.seed}"


def _exact(value: float) -> str:
    """A number with all its digits, and no more: two values of a sweep never share a folder."""
    return repr(value).removesuffix(".0")


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
        options = {**dict(map(read_plain, texts)), "epochs": epochs}
        try:
            TrainOptions(**options)  # now, not after all the searches
        except ValidationError as error:
            raise NascError(f"--train {first_problem(error)}") from None
        return cls(options)


def points_of(options: Any) -> list[Point]:
    """The runs that a method's options ask for, each once: each alpha, then each lambda, then each seed."""
    lambdas: tuple[float | None, ...] = getattr(options, "lambda_", (None,))
    every = itertools.product(options.alpha, lambdas, options.seeds)
    return [Point(*values) for values in dict.fromkeys(every)]


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
    if world() > 1:
        raise NascError(
            "a sweep runs in one process",
            help="under torchrun, search one point at a time: --alpha A --lambda L --warmup-from FILE",
        )
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
        self.points = {f"{RUNS}/{point.name}": point for point in points_of(options)}
        try:
            self.sweep = Sweep(
                space=job.space,
                method=job.method,
                data=settings.data,
                cost=options.cost,
                unit=UNITS[options.cost],
                runs=tuple(
                    SweepRun(folder=folder, alpha=p.alpha, lambda_=p.lambda_, seed=p.seed, state="waiting")
                    for folder, p in self.points.items()
                ),
            )
        except ValidationError as error:
            raise NascError(f"this cannot be a sweep: {first_problem(error)}") from None

    def start(self) -> None:
        """Take over what is there, and train the warm-up that the runs share."""
        if (self.out / CHECKPOINT).exists():
            raise NascError(f"{self.out} holds a search, not a sweep", help="name another folder")
        if (self.out / SWEEP).exists() and not self.resume:
            raise NascError(f"{self.out} already holds a search", help="continue it with --resume, or name another")
        self._take_over()
        if getattr(self.options, "warmup", 0):
            self._warm_up()

    def _warm_up(self) -> None:
        """Train the warm-up, or keep a copy of the one that was named: a sweep that goes on must have the same."""
        folder = self.out / WARMUP_RUN
        given, path = self.settings.warmup_from, folder / WARMUP
        if given is not None:
            checkpoint.load(given, KIND, VERSION)
            if path.is_file() and path.read_bytes() != given.read_bytes():
                raise NascError(f"{self.out} was started from another warm-up than {given}", help="leave it out")
            write_file(path, given.read_bytes())
        elif not path.is_file():
            self.progress.line("warm-up, shared by all runs")
            first = at(self.options, points_of(self.options)[0])
            update = {"out": folder, "until_warmup": True}
            search(self.job, first, self.settings.model_copy(update=update), self.progress)
        self.settings = self.settings.model_copy(update={"warmup_from": path})

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
        """Train the winners' networks from scratch, unless they are trained so already."""
        options = {**self._training_defaults(), **retraining.options}
        wanted = TrainOptions(**options).model_dump()
        for run in self.sweep.runs:
            folder = self.out / run.folder
            if run.winner and _training(folder).get("options") != wanted:
                self.progress.line(f"training the network of {run.folder}")
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
        """A run as its folder says that it stands. Raises `NascError` for a result that is none of this sweep."""
        folder = self.out / run.folder
        if not (folder / RESULT).is_file():
            return run
        result, scores = self._result(folder / RESULT, run), _training(folder)
        cost = cost_of(space_of(open_file(folder / BEST)))
        try:
            return SweepRun.model_validate(
                {
                    **run.model_dump(),
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
        except (ValidationError, LookupError, TypeError) as error:
            why = first_problem(error) if isinstance(error, ValidationError) else error
            raise NascError(f"{folder / RESULT} is not a search's result: {why}") from None

    def _result(self, path: Path, run: SweepRun) -> dict[str, Any]:
        """A run's result. Raises `NascError` where it was searched with other settings."""
        result = _object(path)
        options = at(self.options, self.points[run.folder]).model_dump(mode="json", by_alias=True)
        wanted = {"space_hash": self.job.space_hash, "method": self.job.method, "data": self._data, **options}
        given = result.get("options")
        stated = {
            **(given if isinstance(given, dict) else {}),
            **{n: result.get(n) for n in wanted if n not in options},
        }
        changed = [name for name, value in wanted.items() if stated.get(name) != value]
        if changed:
            raise NascError(
                f"the run in {path.parent} was made with other settings: {', '.join(changed)}",
                help="continue the sweep with the settings it was started with, or name another folder",
            )
        return result

    @cached_property
    def _data(self) -> str:
        """The name that results give the data."""
        return data_of(self.job, self.options, self.settings).name

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


def _training(folder: Path) -> dict[str, Any]:
    """The result of the training of a run's network; empty where there is none yet."""
    path = folder / TRAINED / RESULT
    return _object(path) if path.is_file() else {}


def _object(path: Path) -> dict[str, Any]:
    """A result. Raises `NascError` for what is none."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise NascError(f"{path} is not a result")
    return found
