"""Search methods compared: each searches the same space under the same budget, and what they find is trained alike.

OUT/space/METHOD/                   the space, compiled for each method
OUT/pilots/METHOD/                  of a budget in seconds: the smallest search, which says how long a step takes
OUT/runs/METHOD/seed-0/point-0/     each search, a run like any other; trained/ in it, where its network was trained
OUT/compare.jsonl, summary.json     a line for each network, and all that is worked out of them
OUT/pareto.svg, report.html         picture and page

A budget is of one search. One in seconds is turned into steps before the searches, by a pilot: a search that is cut off
would not have ended as its method says, and one that is resumed would end otherwise. What was stopped goes on: the
same command does what is not done yet, and on a CPU ends as it would have without the stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nasc.compiler.cost import cost_of
from nasc.compiler.methods.budget import TooLittleError, least, passed, within
from nasc.compiler.methods.values import first_problem
from nasc.compiler.opened import Checked, open_file, space_of
from nasc.dsl.diagnostics import NascError
from nasc.runtime.compare_plan import Asked, Plan, Refusal, plans_of, said
from nasc.runtime.compare_report import write_comparison, write_numbers
from nasc.runtime.compare_results import ELSEWHERE, OthersError, number_in, read_result, require_same, search_result
from nasc.runtime.compare_table import Comparison, Found
from nasc.runtime.data import size
from nasc.runtime.progress import Progress, standard_progress
from nasc.runtime.search_context import Settings
from nasc.runtime.search_job import BEST, RESULT, WEIGHTS, data_of, search
from nasc.runtime.seeds import derive_seed
from nasc.runtime.train_file import train_file
from nasc.runtime.train_options import TrainOptions

SPACES, PILOTS, RUNS = "space", "pilots", "runs"
TRAINED = {"scratch": "trained", "inherited": "tuned"}


def compare(checked: Checked, asked: Asked, out: Path, progress: Progress | None = None) -> Comparison:
    """Do all that is not done yet in the folder `out`, and write what came of it.

    A method that cannot take part is noted, and so is a search that fails; the others go on. Raises `NascError` for
    names and options that are not there, for runs in the folder that were made with other settings, where no method is
    left, and, at the end, where a search failed.
    """
    if asked.cost == "latency" and asked.table is None:
        raise NascError(
            "comparing by latency needs a latency table",
            help="`nasc profile` measures one: name it with --table, or compare by --cost macs",
        )
    if asked.cost != "latency" and asked.table is not None:
        raise NascError(f"a latency table says nothing of {asked.cost}", help="leave --table or --cost out")
    run = _Run(checked, asked, out, progress or standard_progress())
    run.budget()
    entries = list(run.entries())
    for number, entry in enumerate(entries, 1):
        run.find(entry, f"{number}/{len(entries)}")
        write_numbers(run.comparison(), out)
    comparison = run.comparison()
    write_comparison(comparison, out)
    failed = [found for found in comparison.found if found.state == "failed"]
    if failed:
        why = f"{failed[0].method}, seed {failed[0].seed}: {failed[0].why}"
        raise NascError(f"{len(failed)} of {len(comparison.found)} searches failed", help=why)
    return comparison


@dataclass(frozen=True)
class _Entry:
    """One search: its options with the budget, and the steps that they take."""

    plan: Plan
    options: Any
    seed: int
    point: int
    steps: int

    @property
    def folder(self) -> str:
        return f"{RUNS}/{self.plan.method.name}/seed-{self.seed}/point-{self.point}"

    @property
    def found(self) -> Found:
        """The search as it stands before it is begun."""
        return Found(
            method=self.plan.method.name,
            seed=self.seed,
            point=self.point,
            strength=self.plan.strengths[self.point],
            folder=self.folder,
            search_steps=self.steps,
        )

    @property
    def words(self) -> str:
        strength = f"{said(self.plan.method)} {self.plan.strengths[self.point]:g}"
        return f"{self.plan.method.name}, seed {self.seed}, {strength}"


class _Run:
    """A comparison in its folder."""

    def __init__(self, checked: Checked, asked: Asked, out: Path, progress: Progress) -> None:
        self.asked, self.out, self.progress = asked, out, progress
        self.plans, self.refused = plans_of(checked, asked, out / SPACES)
        self.allowed: dict[str, int] = {}
        self.images: dict[int, int] = {}
        self.classes = self.plans[0].job.classes if self.plans else 2
        self.space = space_of(checked).name
        self.found: dict[str, Found] = {}

    # ------------------------------------------------------------------------------------------ budget

    def budget(self) -> None:
        """How many steps each method may take.

        Raises `NascError` where no method is left, and for options that a training does not have.
        """
        for plan in list(self.plans):
            try:
                self.allowed[plan.method.name] = self._steps_allowed(plan)
                self._options(plan, self.asked.seeds[0], 0)
            except TooLittleError as error:
                self._refuse(plan, f"the budget is too little: {error.message}")
        if not self.plans:
            whys = "; ".join(f"{one.method}: {one.why}" for one in self.refused)
            raise NascError("no method is left to compare", help=whys)
        entries = list(self.entries())
        self._training(entries[0])  # options that are wrong show before anything is searched
        self.found = {entry.folder: entry.found for entry in entries}

    def _refuse(self, plan: Plan, why: str) -> None:
        self.plans.remove(plan)
        self.refused.append(Refusal(plan.method.name, why))

    def _steps_allowed(self, plan: Plan) -> int:
        """The budget in steps: one in seconds by what a step of the method's smallest search takes here."""
        budget = self.asked.budget
        if budget.unit == "steps":
            return int(budget.amount)
        seed = self.asked.seeds[0]
        options = least(plan.method, plan.at(plan.options, 0, seed), plan.keep_warmup)
        steps, folder = plan.method.steps(options, self._images(plan, seed)), self.out / PILOTS / plan.method.name
        if not (folder / RESULT).is_file():
            self.progress.line(f"{plan.method.name}: measuring how long a step takes")
            search(plan.job, options, self._settings(folder, seed), self.progress)
        seconds = number_in(search_result(folder / RESULT, plan, options), "seconds", folder)
        if seconds > budget.amount:
            raise TooLittleError(f"its smallest search took {seconds:.3g} s, and {budget} are allowed")
        return int(budget.amount * max(1, steps) / max(seconds, 1e-3))

    def _options(self, plan: Plan, seed: int, point: int) -> Any:
        """The options of one search, which use the budget as far as they can.

        A seed's points differ in what they draw, not in their images: else those of a method that trains members one
        by one would train the same ones again.
        """
        options = plan.at(plan.options, point, derive_seed(seed, "point", point))
        images, allowed = self._images(plan, seed), self.allowed[plan.method.name]
        return within(plan.method, options, images, allowed, plan.keep_warmup)

    def _images(self, plan: Plan, seed: int) -> int:
        """The training images that searches of a seed have: the same for all methods."""
        if seed not in self.images:
            options = plan.at(plan.options, 0, seed)
            self.images[seed] = size(data_of(plan.job, options, self._settings(self.out, seed)).train)
        return self.images[seed]

    def _settings(self, folder: Path, seed: int) -> Settings:
        asked = self.asked
        return Settings(
            data=asked.data,
            out=folder,
            table=asked.table if asked.cost == "latency" else None,
            resume=True,
            device=asked.device,
            threads=asked.threads,
            workers=asked.workers,
            data_seed=seed,
        )

    # ------------------------------------------------------------------------------------------ searches

    def entries(self) -> Iterator[_Entry]:
        """Every search, those of a seed together."""
        for seed in self.asked.seeds:
            for point in range(self.asked.points):
                for plan in self.plans:
                    options = self._options(plan, seed, point)
                    yield _Entry(plan, options, seed, point, plan.method.steps(options, self._images(plan, seed)))

    def find(self, entry: _Entry, number: str) -> None:
        """Search and train, unless it is done; a failure is noted. `number` says which of all it is."""
        folder = self.out / entry.folder
        try:
            if not (folder / RESULT).is_file():
                self.progress.line(f"search {number}: {entry.words}")
                search(entry.plan.job, entry.options, self._settings(folder, entry.seed), self.progress)
            result = search_result(folder / RESULT, entry.plan, entry.options)
            self.found[entry.folder] = _found(entry, folder, result, *self._train(entry, folder))
        except OthersError:
            raise
        except NascError as error:
            self.progress.line(f"failed: {entry.words}: {error.message}")
            self.found[entry.folder] = entry.found.model_copy(update={"state": "failed", "why": error.message[:1000]})

    def _train(self, entry: _Entry, folder: Path) -> tuple[dict[str, Any], int]:
        """The result of the training of a network that was found, and its steps. Raises `NascError`."""
        options, out = self._training(entry), folder / TRAINED[self.asked.start]
        wanted = TrainOptions(**options).model_dump()
        if not (out / RESULT).is_file():
            self.progress.line(f"training what was found: {entry.words}")
            weights = folder / WEIGHTS if self.asked.start == "inherited" else None
            train_file(
                folder / BEST, self.asked.data, out, options, resume=True, progress=self.progress, weights=weights
            )
        result = read_result(out / RESULT)
        given = result.get("options")
        require_same(out, given if isinstance(given, dict) else {}, wanted)
        return result, wanted["epochs"] * passed(self._images(entry.plan, entry.seed), wanted["batch"])

    def _training(self, entry: _Entry) -> dict[str, Any]:
        """The same for all networks of a seed: its epochs are the steps asked for, rounded to whole ones."""
        asked, options = self.asked, entry.options
        batch = asked.training.get("batch", options.batch)
        epochs = max(1, round(asked.retrain / passed(self._images(entry.plan, entry.seed), batch)))
        given = {
            "epochs": epochs,
            "batch": batch,
            "seed": entry.seed,  # what the search was tested on is not trained on
            "warmup_epochs": min(1.0, epochs / 10),
            "ema": None,
            **{name: getattr(options, name) for name in ("augment", "magnitude", "deviation", "class_fraction")},
            **{name: getattr(asked, name) for name in ELSEWHERE},
            **asked.training,
        }
        try:
            TrainOptions(**given)
        except ValidationError as error:
            raise NascError(f"--train {first_problem(error)}") from None
        return given

    # ------------------------------------------------------------------------------------------ what came out

    def comparison(self) -> Comparison:
        """All that is known by now."""
        return Comparison.of(
            space=self.space,
            classes=self.classes,
            asked=self.asked,
            found=tuple(self.found.values()),
            refused=tuple(self.refused),
        )


def _found(entry: _Entry, folder: Path, result: dict[str, Any], trained: dict[str, Any], steps: int) -> Found:
    """Raises `NascError` for results that are none."""
    cost = cost_of(space_of(open_file(folder / BEST)))
    test = trained.get("test_top1")
    try:
        return Found.model_validate(
            {
                **entry.found.model_dump(),
                "state": "done",
                "cost": result["cost"]["found"],
                "params": cost.params.min,
                "macs": cost.macs.min,
                "found_accuracy": result["accuracy"],
                "val_accuracy": trained["top1"],
                "accuracy": trained["top1"] if test is None else test,
                "tested": test is not None,
                "search_seconds": result["seconds"],
                "training_steps": steps,
                "training_seconds": trained["seconds"],
            }
        )
    except (ValidationError, LookupError, TypeError) as error:
        why = first_problem(error) if isinstance(error, ValidationError) else error
        raise NascError(f"{folder} does not hold a search and a training: {why}") from None
