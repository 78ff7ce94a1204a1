"""Evolution: from file to result, through kills, and as Algorithm 1 of Real et al. has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space
from nasc.compiler.member import Member
from nasc.compiler.methods.evolution import EvolutionOptions
from nasc.compiler.mutate import Mutator
from nasc.compiler.sample import sample_members
from nasc.dsl.diagnostics import NascError
from nasc.runtime import checkpoint
from nasc.runtime.methods import trials
from nasc.runtime.methods.evolution import Evolution
from nasc.runtime.methods.trials import Trained
from nasc.runtime.metrics import read_metrics
from nasc.runtime.search import Job
from nasc.runtime.search_run import KIND, VERSION
from tests.searches import NARROW, WIDE, Killer, Stop, command, compiled, priced_table, run, same_runs
from tests.spaces import space_of

EVOLVING = WIDE.replace("search random { samples 3", "search evolution { samples 7  population 3  tournament 2")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def evolving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    with compiled(EVOLVING, tmp_path_factory.mktemp("evolution"), "evolution") as job:
        yield job


def test_evolution_from_file_to_result(evolving: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exercises: method evolution."""
    out = tmp_path / "run"
    code, _, _ = command(evolving, "--data", "synthetic:128", "--threads", "1", "--out", out, capsys=capsys)
    assert code == 0
    result, records = json.loads((out / "result.json").read_text()), read_metrics(out / "metrics.jsonl")
    assert len(records) == 7 and result["method"] == "evolution"
    for number, record in enumerate(records):
        assert ("parent" in record) is (number >= 3)
        assert number < 3 or number - 3 <= record["parent"] < number
    best = min(records, key=lambda record: record["loss"])
    assert (result["number"], result["loss"], result["cost"]["found"]) == (best["epoch"], best["loss"], best["cost"])
    found = space_of(out / "best.nas")
    assert count_members(found) == 1 and cost_of(found).macs.min == best["cost"]


@pytest.mark.parametrize("member", [1, 4, 6])
def test_a_killed_evolution_goes_on_to_the_same_end(evolving: Job, tmp_path: Path, member: int) -> None:
    run(evolving, tmp_path / "whole", options={"epochs": 1})
    with pytest.raises(Stop):
        run(evolving, tmp_path / "killed", Killer(member), options={"epochs": 1})
    with pytest.raises(NascError, match="other settings: tournament 2"):
        run(evolving, tmp_path / "killed", options={"epochs": 1, "tournament": 3}, resume=True)
    run(evolving, tmp_path / "killed", options={"epochs": 1}, resume=True)
    same_runs(tmp_path / "whole", tmp_path / "killed")


def test_a_table_that_changed_under_a_run_is_noticed(evolving: Job, tmp_path: Path) -> None:
    priced_table(evolving, tmp_path / "latency.db")
    options, table = {"cost": "latency", "epochs": 1}, tmp_path / "latency.db"
    with pytest.raises(Stop):
        run(evolving, tmp_path / "run", Killer(6), table=table, options=options)
    path = tmp_path / "run" / "checkpoint.pt"
    state = checkpoint.load(path, KIND, VERSION)
    state["members"][4]["cost"] += 1.0
    checkpoint.save(path, state, KIND, VERSION)
    with pytest.raises(NascError, match=r"member 4 costs .*, and cost .* when the run"):
        run(evolving, tmp_path / "run", table=table, options=options, resume=True)


# ------------------------------------------------------------------------------------------------ Algorithm 1


def evolved(
    space: Space, options: EvolutionOptions, score: Callable[[Member], float]
) -> tuple[list[Member], list[int]]:
    """All members of an evolution in which a member's accuracy is what `score` says, and the parents of the later."""
    first = sample_members(space, options.population, options.seed)
    propose, members, parents = Evolution(options, Mutator(space), first, None), list[Member](), list[int]()
    trained: list[Trained] = []
    for number in range(options.samples):
        proposal = propose(number, trained)
        members.append(proposal.member)
        parents += [proposal.notes["parent"]] if "parent" in proposal.notes else []
        trained.append(Trained(1.0, 1.0, score(proposal.member), 1.0, 0.0))
    return members, parents


def kernels(member: Member) -> float:
    """More is better: no layer dropped, and large kernels."""
    return sum(0 if made is None else 1 + (made.get("kernel") == "5") for made in member.layers.values())


def test_evolution_climbs_where_random_search_stays() -> None:
    options = EvolutionOptions(samples=100, population=16, tournament=8, fitness="accuracy")
    lasting, drawn, space = 0.0, 0.0, space_of(NARROW)
    for seed in range(4):
        members, _ = evolved(space, options.model_copy(update={"seeds": (seed,)}), kernels)
        lasting += sum(map(kernels, members[-16:])) / 64
        drawn += sum(map(kernels, sample_members(space, 100, seed))) / 400
    assert lasting > drawn + 0.8


def test_only_the_youngest_live_and_the_best_of_the_tournament_has_children() -> None:
    options = EvolutionOptions(samples=80, population=5, tournament=5, fitness="accuracy")
    members, parents = evolved(space_of(NARROW), options, kernels)
    scores = [kernels(member) for member in members]
    wins = 0
    for number, parent in enumerate(parents, options.population):
        alive = range(number - options.population, number)
        assert parent in alive
        wins += scores[parent] == max(scores[i] for i in alive)
    assert wins > 0.6 * len(parents)  # 1 - 0.8^5 is 0.67, without ties
    one = options.model_copy(update={"tournament": 1})
    _, drawn = evolved(space_of(NARROW), one, kernels)
    assert {parent - number for number, parent in enumerate(drawn, 5)} == {-5, -4, -3, -2, -1}


def test_what_costs_more_than_the_target_is_never_trained(
    evolving: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = SimpleNamespace(loss=1.0, top1=0.5, seconds=0.0)
    monkeypatch.setattr(trials, "train", lambda *_, **__: done)
    monkeypatch.setattr(trials, "module_of", lambda _: None)
    monkeypatch.setattr("nasc.runtime.search_job._finish", lambda _, outcome: outcome)

    def costs(name: str, **options: Any) -> set[float]:
        run(evolving, tmp_path / name, options={"samples": 40, **options})
        return {record["cost"] for record in read_metrics(tmp_path / name / "metrics.jsonl")}

    every = sorted(costs("all"))
    assert len(every) == 6 and costs("some", target=every[2]) == set(every[:3])
    with pytest.raises(NascError, match="meet the condition"):
        costs("none", target=every[0] / 2)


def test_a_trial_of_evolution_is_short(evolving: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data", "synthetic", "--cost", "macs", "--steps", "1", "--threads", "1")
    assert command(evolving, *arguments, capsys=capsys)[0] == 0


@pytest.mark.parametrize(("name", "value"), [("population", 0), ("tournament", 0), ("fitness", "size"), ("target", -1)])
def test_options_that_mean_nothing_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        EvolutionOptions.model_validate({name: value})
