"""FiGS on Fashion-MNIST, against what costs no search, against MorphNet, and against itself (its Figures 2-4, Table 4).

Run: `python benchmarks/figs_study.py --out /tmp/figs` (a core for about an hour; what is done is not done again,
and what was stopped goes on). The space is the One-Shot space of `spaces/cells.nas` cut down to two cells with F = 8.
Everything is trained in the same way; every network that is found, drawn or scaled is trained from scratch, in the same
way as well, and compared by its accuracy on the 10,000 test images, which no search and no training looks at:

  figs concat, figs add   FiGS at several lambdas, the two aggregators
  figs 2/5, figs 1/5      FiGS (concat) with two and one fifth of the epochs that train masks, at stronger lambdas
  morphnet                MorphNet at several lambdas
  random                  random subsets of operators, times one width multiplier between 1/4 and 1
  width                   the fullest network, times width multipliers; "width add" of the additive space

Prints the tables; writes figs.jsonl (a line a network) and figs.svg into the folder. `--seeds` says which to run;
`--only ROLE` runs some roles alone; `--report` runs nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from fashion_study import take_images
from figs_study_report import Run, report

from nasc.api import Space
from nasc.compiler.compile import compile_checked
from nasc.compiler.elaborate import Space as Elaborated
from nasc.compiler.fullest_member import fullest_member
from nasc.compiler.member import Member
from nasc.compiler.opened import Checked, open_file, space_of
from nasc.runtime.progress import SilentProgress
from nasc.runtime.search_context import Job, Settings
from nasc.runtime.search_job import BEST, options_of, search
from nasc.runtime.seeds import derive_seed
from nasc.runtime.train_file import train_file

SPACES = Path(__file__).resolve().parents[1] / "spaces"
SPACE = """nas 1

// The One-Shot space cut down to two cells, F = 8, for Fashion-MNIST. The second cell reads the stem twice, at half its
// size, and the first cell; `{aggregator}` joins operators.
import "cells.nas"

space oneshot_{aggregator} {{
  input    image 1 x 28 x 28
  output   classes 10
  default  cell {{ choice choice_{aggregator} }}

  stage stem1  conv  {{ kernel 3  stride 2 }}    -> {stem1}
  stage stem2  conv  {{ kernel 3  stride 2 }}    -> {stem2}
  stage cell1  cell  {{ prev stem2 }}            -> 8
  stage cell2  cell  {{ prev stem2  stride 2 }}  -> 16
  head         global_pool | linear
}}
"""
STEMS = {"concat": {"stem1": "1 .. 4", "stem2": "1 .. 8"}, "add": {"stem1": "4", "stem2": "8"}}
"""The additive space of the paper has nothing free but what its operators have inside; so has its stem here."""
IMAGES, BATCH, RATE = 4000, 64, 0.05
WARMUP, SEARCHED = 1, 5
"""Epochs of a search: the weights alone, then the masks too. A training has as many as both."""
EPOCHS = WARMUP + SEARCHED
TRAINING: dict[str, Any] = {
    "epochs": EPOCHS, "batch": BATCH, "rate": RATE, "warmup_epochs": 0.5, "ema": None, "augment": "none", "threads": 1,
}  # fmt: skip
SHARED: dict[str, Any] = {"batch": BATCH, "cost": "params", "augment": "none", "weights": {"kind": "sgd", "rate": RATE}}
OPTIONS: dict[str, dict[str, Any]] = {
    "figs": {"warmup": WARMUP, "tau": 0.5, "architecture": {"kind": "adam", "rate": 100.0, "epsilon": 1.0}},
    "morphnet": {"split": 0.95},
}
"""Of each method, beside what all have."""
MULTIPLIERS = (0.2, 0.4, 0.65, 1.0)
DRAWN = 5
"""Random networks a seed."""


@dataclass(frozen=True)
class Task:
    """One network: how it comes about, and what it is called in the table."""

    role: str
    method: str
    aggregator: str = "concat"
    point: float = 0.0
    epochs: int = EPOCHS
    seed: int = 0

    @property
    def folder(self) -> str:
        return f"{self.role.replace(' ', '_').replace('/', '_of_')}/{self.point:g}_seed_{self.seed}"


LAMBDAS: dict[str, tuple[float, ...]] = {
    "figs concat": (1.2e-5, 3e-5, 8e-5, 2e-4),
    "figs add": (1.2e-5, 3e-5, 8e-5, 2e-4),
    "figs 2/5": (6e-5, 2e-4),
    "figs 1/5": (1.2e-4, 4e-4),
    "morphnet": (5.0, 8.0, 12.0, 18.0),
}
SHORT = {"figs 2/5": 2, "figs 1/5": 1}
"""Epochs of those in which masks are trained as well."""


def tasks(seed: int) -> Iterator[Task]:
    """All that a seed has, the chief comparison first."""
    every = [
        *(Task("figs concat", "figs", point=point) for point in LAMBDAS["figs concat"]),
        *(Task("width", "width", point=point) for point in MULTIPLIERS),
        *(Task("random", "random", point=number) for number in range(DRAWN)),
        *(Task("morphnet", "morphnet", point=point) for point in LAMBDAS["morphnet"]),
        *(Task("figs add", "figs", "add", point) for point in LAMBDAS["figs add"]),
        Task("width add", "width", "add", 1.0),
        *(Task(role, "figs", point=p, epochs=WARMUP + n) for role, n in SHORT.items() for p in LAMBDAS[role]),
    ]
    return (replace(task, seed=seed) for task in every)


# ------------------------------------------------------------------------------------------------ the work


class Study:
    """The folder of the study."""

    def __init__(self, out: Path) -> None:
        self.out, self.log = out, out / "figs.jsonl"
        self.data = f"fashion:{(out / 'images').resolve()}"
        out.mkdir(parents=True, exist_ok=True)
        (out / "cells.nas").write_bytes((SPACES / "cells.nas").read_bytes())
        for aggregator, stems in STEMS.items():
            text = SPACE.format(aggregator=aggregator, **stems)
            (out / f"{aggregator}.nas").write_text(text, encoding="utf-8")
        if not (out / "images").exists():
            take_images(out / "images.part", IMAGES)
            (out / "images.part").rename(out / "images")

    def runs(self) -> list[Run]:
        """What is done; a line that was cut off is not."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return [Run(**json.loads(line)) for line in lines if line.endswith("}")]

    def do(self, task: Task) -> None:
        """Find a network and train it from scratch."""
        folder = self.out / task.folder
        folder.mkdir(parents=True, exist_ok=True)
        network = FINDERS[task.method](self, task, folder)
        result = train_file(
            network, self.data, folder / "trained", {**TRAINING, "seed": task.seed}, resume=True,
            progress=SilentProgress(),
        )  # fmt: skip
        cost = Space.open(network).cost()
        assert result.test_top1 is not None
        run = Run(
            task.role, task.point, task.epochs, task.seed, cost["params"], cost["macs"], result.test_top1,
            result.seconds,
        )  # fmt: skip
        with self.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(run)) + "\n")
        print(f"{task.folder}: {run.params} parameters, {100 * run.accuracy:.2f} %", file=sys.stderr, flush=True)

    def opened(self, aggregator: str) -> tuple[Checked, Elaborated]:
        checked = open_file(self.out / f"{aggregator}.nas")
        return checked, space_of(checked)

    def written(self, task: Task, folder: Path, member: Member) -> Path:
        path = folder / "network.nas"
        checked, _ = self.opened(task.aggregator)
        path.write_text(Space(checked).member(member).text, encoding="utf-8")
        return path


def searched(study: Study, task: Task, folder: Path) -> Path:
    """What a method finds."""
    job = job_of(study, task)
    given = {**SHARED, **OPTIONS[task.method], "epochs": task.epochs, "lambda": task.point, "seed": task.seed}
    options = options_of(job, given)
    settings = Settings(data=study.data, out=folder / "search", resume=True, threads=1)
    search(job, options, settings, SilentProgress())
    return folder / "search" / BEST


def job_of(study: Study, task: Task) -> Job:
    """The job that the compiled space's `search.py` states."""
    folder = study.out / f"{task.aggregator}_{task.method}"
    compile_checked(study.opened(task.aggregator)[0], folder, method=task.method)
    sys.modules.pop("supernet", None)  # may be that of another space
    sys.path.insert(0, str(folder))
    try:
        job: Job = runpy.run_path(str(folder / "search.py"))["JOB"]
    finally:
        sys.path.remove(str(folder))
    return job


def scaled(study: Study, task: Task, folder: Path) -> Path:
    """The fullest network at a width multiplier."""
    return study.written(task, folder, fullest_member(study.opened(task.aggregator)[1], task.point))


def drawn(study: Study, task: Task, folder: Path) -> Path:
    """A random subset of the operators, at least one in each block, and a random multiplier (4.1, Figure 2)."""
    draw = random.Random(derive_seed(task.seed, "random", int(task.point)))
    member = fullest_member(study.opened(task.aggregator)[1], draw.uniform(0.25, 1))
    layers = {address: decided and subset(decided, draw) for address, decided in member.layers.items()}
    return study.written(task, folder, replace(member, layers=layers))


def subset(decided: Any, draw: random.Random) -> Any:
    """Decisions of a layer with each of its operators there or not, and nothing decided in those that are not."""
    choices: dict[str, list[str]] = {}
    for address in decided:
        if address.endswith("?"):
            choices.setdefault(address.rpartition(".")[0], []).append(address)
    gone: set[str] = set()
    for operators in choices.values():
        left: list[str] = []
        while not left:
            left = [address for address in operators if draw.random() < 0.5]
        gone.update(set(operators) - set(left))
    inside = tuple(f"{address.removesuffix('?')}." for address in gone)
    kept = {address: value for address, value in decided.items() if not address.startswith(inside or ("?",))}
    return {address: 0 if address in gone else value for address, value in kept.items()}


FINDERS: dict[str, Callable[[Study, Task, Path], Path]] = {
    "figs": searched, "morphnet": searched, "width": scaled, "random": drawn,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", metavar="ROLE", help="these roles alone")
    parser.add_argument("--report", action="store_true", help="print and draw what is done")
    given = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(given.out)
    for task in [] if given.report else [task for seed in given.seeds for task in tasks(seed)]:
        done = {(run.role, run.point, run.seed) for run in study.runs()}
        if (task.role, task.point, task.seed) not in done and (not given.only or task.role in given.only):
            study.do(task)
    print(report(study.runs(), given.out / "figs.svg"))


if __name__ == "__main__":
    main()
