"""Sweeps: every alpha, lambda and seed from one warm-up; and what a single run writes and shares."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nasc.compiler.contains import contains
from nasc.compiler.cost import cost_of
from nasc.dsl.diagnostics import NascError
from nasc.runtime.checkpoint import load_weights, restore_weights
from nasc.runtime.data import load_data
from nasc.runtime.evaluate import evaluate
from nasc.runtime.member_model import load_model
from nasc.runtime.metrics import read_metrics
from nasc.runtime.progress import SilentProgress
from nasc.runtime.search import Job, Settings
from nasc.runtime.search_job import options_of, search
from nasc.runtime.sweep import Retraining, points_of, sweep
from nasc.runtime.sweep_table import read_sweep, sweep_table
from tests.searches import compiled
from tests.spaces import space_of

SPACE = """nas 1
space small {
  input       image 1 x 8 x 8
  output      classes 10
  granularity 8
  skip        same_shape

  stage stem  conv      { kernel 3  stride 2 }                          -> 8
  stage low   irb  x 2  { kernel {3, 5}  expand (1, 3] }                -> 8
  stage last  one of { conv { kernel 1 }  fused_irb { kernel 3  hidden 8 .. 24 step 8 } } -> 16
  head        global_pool | linear
}
search prunet {
  epochs 4  warmup 2  batch 32  alpha {0.1, 2}  lambda {0.4, 1}  cost macs
  weights rmsprop { rate 0.003 }
}
"""
DATA = "synthetic:96"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    with compiled(SPACE, tmp_path_factory.mktemp("small"), "prunet") as found:
        yield found


def settings(out: Path, **more: Any) -> Settings:
    return Settings(data=DATA, out=out, threads=1, **more)


def one(job: Job, out: Path, **more: Any) -> Any:
    options = options_of(job, {"alpha": 0.5, "lambda": 0.55, **more.pop("options", {})})
    return search(job, options, settings(out, **more), SilentProgress())


def records(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in read_metrics(path)]


# ------------------------------------------------------------------------------------------------ a sweep


@pytest.fixture(scope="module")
def swept(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("sweep") / "runs"
    retraining = Retraining.of(2, ["rate=0.05", "ema=0.9"])
    found = sweep(job, options_of(job, {}), settings(out), retraining, SilentProgress())
    assert found == read_sweep(out / "sweep.json")
    return out


def test_a_sweep_runs_every_combination(job: Job, swept: Path) -> None:
    out = swept
    found = read_sweep(out / "sweep.json")
    assert [(r.alpha, r.lambda_, r.seed) for r in found.runs] == [(0.1, 0.4, 0), (0.1, 1, 0), (2, 0.4, 0), (2, 1, 0)]
    assert all(run.state == "done" for run in found.runs)
    assert len(sweep_table(found).splitlines()) >= 5
    for run in found.runs:
        member = cost_of(space_of(out / run.folder / "best.nas"))
        assert (member.macs.min, member.params.min) == (run.macs, run.params) and run.cost == run.macs
        result = json.loads((out / run.folder / "result.json").read_text())
        assert result["loss"] == run.loss and result["alpha"] == run.alpha and result["lambda"] == run.lambda_


def test_the_winner_of_an_alpha_has_the_least_loss_and_is_retrained(swept: Path) -> None:
    found = read_sweep(swept / "sweep.json")
    for alpha in (0.1, 2):
        runs = [run for run in found.runs if run.alpha == alpha]
        (winner,) = [run for run in runs if run.winner]
        assert winner.loss == min(run.loss for run in runs if run.loss is not None)
        assert winner.accuracy is not None and [r.accuracy for r in runs if not r.winner] == [None]
        assert (swept / winner.folder / "trained" / "weights.safetensors").is_file()


def test_the_runs_share_one_warm_up(swept: Path) -> None:
    """No run has an epoch of warm-up of its own, and all start from the same weights."""
    out = swept
    assert [r["phase"] for r in read_metrics(out / "warmup" / "metrics.jsonl")] == ["warm-up"] * 2
    for run in read_sweep(out / "sweep.json").runs:
        assert [r["epoch"] for r in read_metrics(out / run.folder / "metrics.jsonl")] == [2, 3]


def test_a_run_of_a_sweep_is_the_single_run(job: Job, swept: Path, tmp_path: Path) -> None:
    """Sharing the warm-up changes nothing: the same search by itself ends in the same bytes."""
    result = one(job, tmp_path / "run", options={"alpha": 2, "lambda": 1})
    run = swept / "runs" / "alpha-2_lambda-1_seed-0"
    assert (tmp_path / "run" / "best.nas").read_bytes() == (run / "best.nas").read_bytes()
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == (run / "best.safetensors").read_bytes()
    assert records(tmp_path / "run" / "metrics.jsonl")[2:] == records(run / "metrics.jsonl")
    assert result.details["alpha"] == 2


def test_a_sweep_goes_on_where_it_stopped(job: Job, swept: Path, tmp_path: Path) -> None:
    """Without a run, and with another half done, the same table comes out; what is done is left alone."""
    out = tmp_path / "copy"
    shutil.copytree(swept, out)
    shutil.rmtree(out / "runs" / "alpha-0.1_lambda-1_seed-0")
    (out / "runs" / "alpha-2_lambda-0.4_seed-0" / "result.json").unlink()
    kept = (out / "runs" / "alpha-0.1_lambda-0.4_seed-0" / "result.json").stat().st_mtime_ns
    with pytest.raises(NascError, match="already holds a search"):
        sweep(job, options_of(job, {}), settings(out), None, SilentProgress())
    retraining = Retraining.of(2, ["rate=0.05", "ema=0.9"])
    sweep(job, options_of(job, {}), settings(out, resume=True), retraining, SilentProgress())
    assert (out / "runs" / "alpha-0.1_lambda-0.4_seed-0" / "result.json").stat().st_mtime_ns == kept
    before, after = (read_sweep(folder / "sweep.json") for folder in (swept, out))
    unchanged = {"seconds"}
    assert [r.model_dump(exclude=unchanged) for r in before.runs] == [
        r.model_dump(exclude=unchanged) for r in after.runs
    ]


def test_a_sweep_is_resumed_with_its_own_settings_only(job: Job, swept: Path) -> None:
    with pytest.raises(NascError, match="other settings: tau"):
        sweep(job, options_of(job, {"tau": 2}), settings(swept, resume=True), None, SilentProgress())


@pytest.mark.parametrize(
    "change",
    [
        "[",
        "[]",
        "{}",
        {"options": 3},
        {"loss": "x"},
        {"loss": None, "seconds": -1},
        {"cost": 3},
        {"layers": [1]},
        {"data": "digits"},
        {"method": "fbnet"},
    ],
)
def test_a_result_from_elsewhere_is_refused(
    job: Job, swept: Path, tmp_path: Path, change: str | dict[str, Any]
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(swept, out)
    path = out / "runs" / "alpha-2_lambda-1_seed-0" / "result.json"
    path.write_text(change if isinstance(change, str) else json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(NascError, match=r"result\.json|made with other settings"):
        sweep(job, options_of(job, {}), settings(out, resume=True), None, SilentProgress())


def test_winners_are_trained_further_where_more_epochs_are_asked_for(job: Job, swept: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(swept, out)
    resumed = settings(out, resume=True)
    sweep(job, options_of(job, {}), resumed, Retraining.of(3, ["rate=0.05", "ema=0.9"]), SilentProgress())
    trained = list(out.glob("runs/*/trained/result.json"))
    assert [json.loads(path.read_text())["epochs"] for path in trained] == [3, 3]
    trained[0].write_text("[]")
    with pytest.raises(NascError, match="is not a result"):
        sweep(job, options_of(job, {}), resumed, None, SilentProgress())


def test_searches_and_sweeps_keep_to_folders_of_their_own(job: Job, swept: Path, tmp_path: Path) -> None:
    with pytest.raises(NascError, match="holds a sweep"):
        one(job, swept, resume=True)
    one(job, tmp_path / "run")
    with pytest.raises(NascError, match="holds a search, not a sweep"):
        sweep(job, options_of(job, {}), settings(tmp_path / "run", resume=True), None, SilentProgress())


def test_points_of_a_sweep_have_folders_of_their_own(job: Job) -> None:
    points = points_of(options_of(job, {"alpha": (0.1234567, 0.1234568, 2, 2.0), "lambda": 0.5}))
    assert [point.name for point in points] == [
        "alpha-0.1234567_lambda-0.5_seed-0", "alpha-0.1234568_lambda-0.5_seed-0", "alpha-2_lambda-0.5_seed-0",
    ]  # fmt: skip


def test_what_cannot_be_a_sweep(job: Job, tmp_path: Path) -> None:
    with pytest.raises(NascError, match="cannot be a sweep: alpha"):
        sweep(job, options_of(job, {"alpha": (1, 1e19)}), settings(tmp_path / "sweep"), None, SilentProgress())


def test_a_sweep_keeps_the_warm_up_that_it_was_given(job: Job, swept: Path, tmp_path: Path) -> None:
    """So it goes on from the same one where it is not named again, and from no other."""
    given, out = swept / "warmup" / "warmup.pt", tmp_path / "sweep"
    options = options_of(job, {"alpha": (2, 3), "lambda": 1})
    sweep(job, options, settings(out, warmup_from=given), None, SilentProgress())
    shutil.rmtree(out / "runs" / "alpha-2_lambda-1_seed-0")
    sweep(job, options, settings(out, resume=True), None, SilentProgress())
    assert [path.name for path in (out / "warmup").iterdir()] == ["warmup.pt"]
    log = Path("runs") / "alpha-2_lambda-1_seed-0" / "metrics.jsonl"
    assert records(out / log) == records(swept / log)
    other = swept / "runs" / "alpha-2_lambda-1_seed-0" / "checkpoint.pt"
    with pytest.raises(NascError, match="another warm-up"):
        sweep(job, options, settings(out, resume=True, warmup_from=other), None, SilentProgress())


def test_seeds_share_images_and_warm_up_but_not_the_search(job: Job, tmp_path: Path) -> None:
    options = options_of(job, {"alpha": 0.5, "lambda": 0.55, "seed": (0, 1)})
    assert len(points_of(options)) == 2
    sweep(job, options, settings(tmp_path / "seeds"), None, SilentProgress())
    logs = [records(tmp_path / "seeds" / "runs" / f"alpha-0.5_lambda-0.55_seed-{s}" / "metrics.jsonl") for s in (0, 1)]
    assert logs[0] != logs[1]


def test_a_failing_run_does_not_stop_the_others(job: Job, tmp_path: Path) -> None:
    """One alpha makes the loss infinite; the others are searched, and the end says which failed."""
    options = options_of(job, {"alpha": (1e-6, 1e18), "beta": 22.0, "lambda": 0.55})
    with pytest.raises(NascError, match=r"1 of 2 runs failed: runs/alpha-1e\+18") as caught:
        sweep(job, options, settings(tmp_path / "sweep"), None, SilentProgress())
    assert "the loss became" in (caught.value.help or "")
    assert [r.state for r in read_sweep(tmp_path / "sweep" / "sweep.json").runs] == ["done", "failed"]


def test_options_of_a_retraining() -> None:
    assert Retraining.of(None, []) is None
    made = Retraining.of(3, ["schedule=exponential", "rate=0.05", "drop-path=0.2"])
    assert made is not None and made.options == {
        "epochs": 3, "schedule": "exponential", "rate": 0.05, "drop_path": 0.2,
    }  # fmt: skip
    with pytest.raises(NascError, match="goes with --retrain"):
        Retraining.of(None, ["rate=1"])
    for text in ("rate", "rate=", "rate={1, 2}", "rate=__import__('os')"):
        with pytest.raises(NascError, match="is not NAME=VALUE"):
            Retraining.of(1, [text])
    for text, words in (("speed=1", "--train speed"), ("rate=-1", "--train rate")):
        with pytest.raises(NascError, match=words):
            Retraining.of(1, [text])


def test_a_sweep_as_a_program(job: Job, tmp_path: Path) -> None:
    """The table goes to standard output, progress elsewhere; the picture and the report can be opened."""
    program = [sys.executable, str(job.folder / "search.py"), "--data", DATA, "--threads", "1", "--out", "sweep"]
    done = subprocess.run(
        [*program, "--alpha", "0.1,2", "--lambda", "0.4", "--epochs", "2", "--retrain", "1"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("alpha") and "epoch 1/2" in done.stderr and "epoch" not in done.stdout
    again = subprocess.run(
        [*program, "--alpha", "0.1,2", "--lambda", "0.4", "--epochs", "2", "--resume", "--format", "json"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert [run["alpha"] for run in json.loads(again.stdout)["runs"]] == [0.1, 2]
    assert (tmp_path / "sweep" / "pareto.svg").read_text().startswith("<?xml")


# ------------------------------------------------------------------------------------------------ what a run leaves


def test_the_found_network_comes_with_the_weights_it_had(job: Job, tmp_path: Path) -> None:
    """best.nas, built anew with best.safetensors, has the accuracy that the result states."""
    result = one(job, tmp_path / "run")
    loaded = load_model(tmp_path / "run" / "best.nas")
    restore_weights(loaded.module, load_weights(tmp_path / "run" / "best.safetensors"), "best.safetensors")
    data = load_data(DATA, input_shape=(1, 8, 8), classes=10, seed=0)
    scores = evaluate(loaded.module, data.val, 32, torch.device("cpu"))
    assert scores.top1 == result.accuracy == json.loads((tmp_path / "run" / "result.json").read_text())["accuracy"]
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "best.nas", "best.safetensors", "model.py", "model.onnx", "result.json", "metrics.jsonl", "states",
        "checkpoint.pt", "warmup.pt",
    }  # fmt: skip


def test_each_state_contains_the_next(job: Job, tmp_path: Path) -> None:
    one(job, tmp_path / "run")
    states = sorted((tmp_path / "run" / "states").iterdir())
    assert [path.name for path in states] == [f"epoch_{n:03}.nas" for n in (1, 2, 3, 4)]
    chain = [space_of(path) for path in (job.folder / "space.nas", *states, tmp_path / "run" / "best.nas")]
    for outer, inner in itertools.pairwise(chain):
        assert contains(outer, inner).yes


def test_a_warm_up_of_another_run(job: Job, tmp_path: Path) -> None:
    one(job, tmp_path / "first")
    warmup = tmp_path / "first" / "warmup.pt"
    one(job, tmp_path / "second", warmup_from=warmup, options={"alpha": 2.0})
    assert [r["epoch"] for r in read_metrics(tmp_path / "second" / "metrics.jsonl")] == [2, 3]
    for changed in ({"batch": 16}, {"weights": {"kind": "sgd"}}, {"warmup": 1}):
        with pytest.raises(NascError, match=r"the warm-up .* is another"):
            one(job, tmp_path / "third", warmup_from=warmup, options=changed)
    with pytest.raises(NascError, match=r"the warm-up .* is another: 4 epochs"):
        one(job, tmp_path / "third", warmup_from=tmp_path / "first" / "checkpoint.pt")
    with pytest.raises(NascError, match=r"the warm-up .* is another: data_seed 0"):
        one(job, tmp_path / "third", warmup_from=warmup, options={"seed": 1})


def test_a_search_without_a_warm_up_takes_none(job: Job, tmp_path: Path) -> None:
    with pytest.raises(NascError, match="no warm-up to take"):
        one(job, tmp_path / "run", warmup_from=tmp_path / "none.pt", options={"warmup": 0})


@pytest.mark.parametrize("optimizer", [{"kind": "adam", "momentum": 0.1, "rate": 0.5}, {"kind": "sgd", "rate": 0.5}])
def test_a_warm_up_says_nothing_of_architecture_weights(job: Job, swept: Path, tmp_path: Path, optimizer: Any) -> None:
    """What trains those may differ: a search from another's warm-up is the search with its own."""
    options = {"architecture": optimizer}
    one(job, tmp_path / "alone", options=options)
    shared = tmp_path / "shared"
    one(job, shared, options=options, warmup_from=swept / "warmup" / "warmup.pt")
    assert records(tmp_path / "alone" / "metrics.jsonl")[2:] == records(shared / "metrics.jsonl")


def test_tensorboard_shows_what_the_log_says(job: Job, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    one(job, tmp_path / "run", tensorboard=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    log = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([r["loss"] for r in log], rel=1e-6)
    assert "probabilities/low.1/0" in events.Tags()["scalars"] and "masks/low.1#0/1" in events.Tags()["scalars"]


def test_mixed_precision_runs_and_ends_elsewhere(job: Job, tmp_path: Path) -> None:
    """bfloat16 on a CPU: the cost stays exact, the weights differ from those of single precision."""
    one(job, tmp_path / "single")
    one(job, tmp_path / "mixed", amp="on")
    logs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("single", "mixed")]
    assert logs[0][0]["loss"] != logs[1][0]["loss"] and logs[0][0]["loss"] == pytest.approx(
        logs[1][0]["loss"], rel=0.05
    )
    assert logs[0][0]["cost"] == logs[1][0]["cost"]


def test_a_search_on_some_of_the_classes(job: Job, tmp_path: Path) -> None:
    one(job, tmp_path / "run", options={"class_fraction": 0.3})
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["data"] == f"{DATA} (3 of 10 classes)"
