"""Single Path One-Shot: from file to result, through kills, in a sweep, on several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nasc.compiler.check import check
from nasc.compiler.contains import contains
from nasc.compiler.cost import cost_of
from nasc.compiler.methods.budget import least, within
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.spos import SposOptions
from nasc.compiler.opened import load_file
from nasc.dsl.diagnostics import NascError, Span
from nasc.runtime.methods.trials import Trained
from nasc.runtime.metrics import EVOLUTION, read_metrics
from nasc.runtime.report import write_report
from nasc.runtime.search import Job
from tests.searches import Killer, Stop, command, compiled, priced_table, run, same_runs
from tests.spaces import space_of
from tests.test_figs_search import TINY

SEARCH = """search spos {
  epochs 3  batch 32  cost macs  alpha 0.3  samples 12  population 4  tournament 2  statistics 2
  weights rmsprop { rate 0.01 }
}
"""
SPACE = TINY[: TINY.index("search figs")]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    with compiled(SPACE + SEARCH, tmp_path_factory.mktemp("spos"), "spos") as job:
        yield job


def text_at(span: Span) -> str:
    return span.source.text[span.start : span.end]


def test_spos_from_file_to_result(tiny: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exercises: method spos."""
    out = tmp_path / "run"
    code, printed, said = command(tiny, "--data", "synthetic:128", "--threads", "1", "--out", out, capsys=capsys)
    assert code == 0 and "inherited weights" in printed, said
    result, looked = json.loads((out / "result.json").read_text()), read_metrics(out / EVOLUTION / "metrics.jsonl")
    assert len(read_metrics(out / "metrics.jsonl")) == 3 and len(looked) == 12
    assert all(("parent" in record) is (number >= 4) for number, record in enumerate(looked))
    best = min(looked, key=lambda record: record["loss"])
    assert (result["method"], result["number"], result["loss"]) == ("spos", best["epoch"], best["loss"])
    found = space_of(out / "best.nas")
    assert cost_of(found).macs.min == best["cost"] == result["cost"]["found"]
    assert contains(space_of(SPACE), found).yes is True
    page = write_report(out, tmp_path / "report.html").read_text()
    assert "Members looked at" in page and "12 records of evolution/metrics.jsonl" in page


def test_members_share_their_weights(tiny: Job, tmp_path: Path) -> None:
    """What is trained longer is better looked at: nothing is trained but the SuperNet."""
    for epochs in (1, 25):
        run(tiny, tmp_path / str(epochs), options={"epochs": epochs, "samples": 4})
    means = [
        sum(record["cross_entropy"] for record in read_metrics(tmp_path / epochs / EVOLUTION / "metrics.jsonl"))
        for epochs in ("1", "25")
    ]
    assert means[1] < 0.9 * means[0]
    assert not (tmp_path / "25" / EVOLUTION / "members").exists()


@pytest.mark.parametrize("at", [1, 7, 12, 20])
def test_a_stopped_search_goes_on_to_the_same_end(tiny: Job, tmp_path: Path, at: int) -> None:
    """Stopped while the SuperNet trains (9 steps) and while members are looked at."""
    run(tiny, tmp_path / "whole")
    with pytest.raises(Stop):
        run(tiny, tmp_path / "stopped", Killer(at))
    if at > 3:  # there is a checkpoint
        with pytest.raises(NascError, match="other settings: samples 12"):
            run(tiny, tmp_path / "stopped", options={"samples": 13}, resume=True)
    run(tiny, tmp_path / "stopped", resume=True)
    same_runs(tmp_path / "whole", tmp_path / "stopped")
    one, other = (read_metrics(tmp_path / name / EVOLUTION / "metrics.jsonl") for name in ("whole", "stopped"))
    assert [{**r, "seconds": 0} for r in one] == [{**r, "seconds": 0} for r in other]


def test_a_sweep_trains_one_supernet(tiny: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sweep"
    words = ("--alpha", "0.01,5", "--data", "synthetic:128", "--threads", "1", "--out", out)
    code, _, said = command(tiny, *words, capsys=capsys)
    assert code == 0 and (out / "warmup" / "warmup.pt").exists(), said
    runs = sorted((out / "runs").iterdir())
    assert [len(read_metrics(each / "metrics.jsonl")) for each in runs] == [0, 0]
    costs = [json.loads((each / "result.json").read_text())["cost"]["found"] for each in runs]
    assert len(costs) == 2 and costs[1] <= costs[0]
    from_it = ("--warmup-from", out / "warmup" / "warmup.pt", *words[2:-1])
    code, _, said = command(tiny, "--alpha", "5", *from_it, tmp_path / "alone", capsys=capsys)
    assert code == 0 and "(warm-up)" not in said
    same_runs(runs[1], tmp_path / "alone")


def test_spos_searches_for_latency(tiny: Job, tmp_path: Path) -> None:
    priced_table(tiny, tmp_path / "latency.db")
    result = run(tiny, tmp_path / "run", options={"cost": "latency"}, table=tmp_path / "latency.db")
    assert result.unit == "µs" and result.cost > 0
    priced_table(tiny, tmp_path / "less.db", leave_out="irb")
    with pytest.raises(NascError, match="latenc"):
        run(tiny, tmp_path / "other", options={"cost": "latency"}, table=tmp_path / "less.db")


def test_what_costs_more_than_the_target_is_never_looked_at(tiny: Job, tmp_path: Path) -> None:
    least, most = cost_of(space_of(SPACE)).macs.min, cost_of(space_of(SPACE)).macs.max
    target = float((least + most) // 2)
    run(tiny, tmp_path / "run", options={"target": target})
    assert all(record["cost"] <= target for record in read_metrics(tmp_path / "run" / EVOLUTION / "metrics.jsonl"))
    with pytest.raises(NascError):
        run(tiny, tmp_path / "none", options={"target": float(least - 1)})
    with pytest.raises(NascError, match="mutations"):  # there is one
        run(tiny, tmp_path / "none", options={"target": float(least), "samples": 5, "population": 1})
    assert not list((tmp_path / "none").glob("*.pt"))  # nothing was trained


def test_what_is_no_number_is_worst() -> None:
    good, bad = Trained(1.0, 2.3, 0.0, 9.0, 0.0), Trained(1.0, float("nan"), 0.9, float("nan"), 0.0)
    for options in (SposOptions(), SposOptions(target=5.0, cost="macs")):
        assert max((bad, good, bad), key=lambda one: one.fitness(options)) is good


def test_two_processes_train_as_one_does(tiny: Job, tmp_path: Path) -> None:
    """The same two half-batches, side by side or in turn: both have the same member at each step."""

    def program(out: str, *more: str, ranks: int = 1) -> subprocess.CompletedProcess[str]:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
        words = ["--data", "synthetic:128", "--threads", "1", "--epochs", "2", "--out", str(tmp_path / out), *more]
        start = [sys.executable, *torchrun, str(tiny.folder / "search.py"), *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(start, capture_output=True, text=True, timeout=180, env=environment)

    two, one = program("two", ranks=2), program("one", "--accumulate", "2")
    assert (two.returncode, one.returncode) == (0, 0), two.stderr + one.stderr
    assert two.stdout.count("found: ") == 1
    logs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("two", "one")]
    for a, b in zip(*logs, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def test_a_trial_is_short(tiny: Job, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = command(tiny, "--data", "synthetic", "--steps", "1", capsys=capsys)
    assert code == 0, said


def test_a_budget_of_steps_is_the_supernets() -> None:
    method = find_method("spos")
    options = within(method, SposOptions(batch=10, split=0.8), images=1000, budget=500)
    assert options.epochs == 6 and method.steps(options, 1000) == 480
    pilot = least(method, options)
    assert (pilot.epochs, pilot.samples) == (1, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("samples", 0), ("population", 0), ("tournament", 0), ("statistics", 0), ("warmup", 2)],
)
def test_options_that_mean_nothing_are_refused(tiny: Job, tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(NascError):
        run(tiny, tmp_path / "run", options={name: value})


@pytest.mark.parametrize("words", ["samples 0", "statistics none", "architecture adam { }", "weights adam { rate 1 }"])
def test_a_section_that_means_nothing_is_an_error_at_its_place(words: str, tmp_path: Path) -> None:
    (tmp_path / "space.nas").write_text(SPACE + f"search spos {{\n  {words}\n}}\n")
    (found,) = check(load_file(tmp_path / "space.nas")).diagnostics.errors
    assert found.span is not None and text_at(found.span) in words
