"""Random search: from file to result, through kills, and on images that members did not see."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.utils.data import Dataset

from nasc.cli import main as nasc
from nasc.compiler.compile import compile_file
from nasc.compiler.contains import contains
from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.dsl.diagnostics import DiagnosticError, NascError
from nasc.runtime import checkpoint
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.methods import trials
from nasc.runtime.metrics import read_metrics
from nasc.runtime.search import Job
from tests.searches import WIDE, Killer, Stop, command, compiled, priced_table, run, same_runs
from tests.spaces import space_of


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    with compiled(WIDE, tmp_path_factory.mktemp("random"), "random") as job:
        yield job


def test_random_search_from_file_to_result(wide: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exercises: method random."""
    out = tmp_path / "run"
    code, said, _ = command(wide, "--data", "synthetic:128", "--threads", "1", "--out", out, capsys=capsys)
    assert code == 0 and "SuperNet" not in said and "inherited" not in said
    assert not (wide.folder / "supernet.py").exists() and wide.supernet is None
    result, records = json.loads((out / "result.json").read_text()), read_metrics(out / "metrics.jsonl")
    assert len(records) == 3 and result["method"] == "random"
    for record in records:
        expected = record["cross_entropy"] + 0.3 * math.log(record["cost"]) ** 0.6
        assert record["loss"] == pytest.approx(expected)
    best = min(records, key=lambda record: record["loss"])
    assert (result["number"], result["loss"], result["cost"]["found"]) == (best["epoch"], best["loss"], best["cost"])
    found = space_of(out / "best.nas")
    assert count_members(found) == 1 and contains(space_of(WIDE), found).yes
    assert cost_of(found).macs.min == result["cost"]["found"]
    trained = out / "members" / f"{best['epoch']:03}" / "weights.safetensors"
    weights, inherited = (checkpoint.load_weights(path) for path in (trained, out / "best.safetensors"))
    assert weights.keys() == inherited.keys() and all(torch.equal(w, inherited[name]) for name, w in weights.items())
    arguments = ["--weights", out / "best.safetensors", "--data", "synthetic:128", "--format", "json"]
    scores = CliRunner().invoke(nasc, ["eval", str(out / "best.nas"), *map(str, arguments)])
    assert json.loads(scores.stdout)["top1"] == pytest.approx(result["accuracy"])


def test_prunet_and_fbnet_refuse_what_random_takes(tmp_path: Path) -> None:
    for method in ("prunet", "fbnet"):
        (tmp_path / "wide.nas").write_text(WIDE)
        with pytest.raises(DiagnosticError, match="`w` cannot be made a part of a SuperNet") as caught:
            compile_file(tmp_path / "wide.nas", tmp_path / "out", method=method)
        assert "--method random" in (caught.value.diagnostics[0].help or "")


@pytest.mark.parametrize("member", [1, 2])
def test_a_killed_random_search_goes_on_to_the_same_end(wide: Job, tmp_path: Path, member: int) -> None:
    run(wide, tmp_path / "whole")
    with pytest.raises(Stop):
        run(wide, tmp_path / "killed", Killer(member))
    with pytest.raises(NascError, match="already holds a search"):
        run(wide, tmp_path / "killed")
    with pytest.raises(NascError, match=r"other settings: alpha 0\.3"):
        run(wide, tmp_path / "killed", options={"alpha": 0.9}, resume=True)
    run(wide, tmp_path / "killed", resume=True)
    same_runs(tmp_path / "whole", tmp_path / "killed")


def test_a_member_killed_in_its_training_goes_on(wide: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(wide, tmp_path / "whole")
    save, saved = checkpoint.save, Counter[str]()

    def killing(path: Path, *rest: Any) -> None:
        save(path, *rest)
        saved[path.parent.name] += 1
        if saved["001"] == 1:
            raise Stop  # after the first of the second member's two epochs

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(checkpoint, "save", killing)
        run(wide, tmp_path / "killed")
    assert len(read_metrics(tmp_path / "killed" / "metrics.jsonl")) == 1
    run(wide, tmp_path / "killed", resume=True)
    same_runs(tmp_path / "whole", tmp_path / "killed")


def test_a_finished_random_search_trains_nothing_again(
    wide: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(wide, tmp_path / "run")
    monkeypatch.setattr(trials, "train", None)
    assert run(wide, tmp_path / "run", resume=True).loss == first.loss


class Watched(Dataset[Any]):
    """Notes which of a dataset's images are taken."""

    def __init__(self, images: Dataset[Any]) -> None:
        self.images, self.taken = images, set[int]()

    def __len__(self) -> int:
        return len(self.images)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        self.taken.add(int(index))
        return self.images[index]


def test_members_are_judged_on_images_they_did_not_see(
    wide: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from nasc.runtime import search_job

    load, finish, train = search_job.load_data, search_job._finish, trials.train
    watched: dict[str, Watched] = {}
    parts: list[tuple[set[int], set[int]]] = []

    def loaded(*arguments: Any, **named: Any) -> Any:
        data = load(*arguments, **named)
        watched.update(train=Watched(data.train), val=Watched(data.val), test=Watched(data.val))
        return replace(data, **watched)

    def training(module: Any, data: Any, *rest: Any, **named: Any) -> Any:
        assert data.test is None
        parts.append((set(data.train.indices), set(data.val.indices)))
        return train(module, data, *rest, **named)

    def finishing(*arguments: Any) -> Any:
        assert watched["train"].taken and not watched["val"].taken and not watched["test"].taken
        return finish(*arguments)

    monkeypatch.setattr(search_job, "load_data", loaded)
    monkeypatch.setattr(search_job, "_finish", finishing)
    monkeypatch.setattr(trials, "train", training)
    run(wide, tmp_path / "run")
    assert watched["val"].taken and not watched["test"].taken
    assert len({(frozenset(a), frozenset(b)) for a, b in parts}) == 1
    seen, judged = parts[0]
    assert not seen & judged and seen | judged == set(range(len(watched["train"])))
    assert len(seen) == round(0.8 * len(watched["train"]))


def test_members_are_drawn_uniformly(wide: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    done = SimpleNamespace(loss=1.0, top1=0.5, seconds=0.0)
    monkeypatch.setattr(trials, "train", lambda *_, **__: done)
    monkeypatch.setattr(trials, "module_of", lambda _: None)
    monkeypatch.setattr("nasc.runtime.search_job._finish", lambda _, outcome: outcome)
    outcome = run(wide, tmp_path / "run", options={"samples": 120})
    drawn = Counter(record["cost"] for record in read_metrics(tmp_path / "run" / "metrics.jsonl"))
    assert len(drawn) == 6 and outcome.cost == min(drawn)
    assert all(5 <= times <= 40 for times in drawn.values())  # 20 expected, with a deviation of 4


def test_random_search_takes_latencies_of_shared_widths(wide: Job, tmp_path: Path) -> None:
    priced_table(wide, tmp_path / "latency.db")
    options = {"cost": "latency", "epochs": 1, "samples": 2}
    result = run(wide, tmp_path / "run", table=tmp_path / "latency.db", options=options)
    width = int(re.search(r"-> (\d+)", (tmp_path / "run" / "best.nas").read_text())[1])  # type: ignore[index]
    manifest = load_manifest(wide.folder)
    nodes = {use.layer: len(entry.graph.nodes) for entry in manifest.entries for use in entry.uses}
    times = {use.layer: len(entry.widths) for entry in manifest.entries for use in entry.uses}
    assert result.cost == 10.0 + sum(7 * nodes[layer] + times[layer] * width for layer in nodes)


def test_missing_latencies_show_before_anything_is_trained(wide: Job, tmp_path: Path) -> None:
    priced_table(wide, tmp_path / "latency.db", leave_out="head")
    for table in (None, tmp_path / "latency.db"):
        with pytest.raises(NascError) as caught:
            run(wide, tmp_path / "run", table=table, options={"cost": "latency"})
        assert "nasc profile" in (caught.value.help or "")
    assert not (tmp_path / "run").exists()


def test_a_trial_of_random_search_is_short_and_leaves_nothing(
    wide: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sizes: list[int] = []
    train = trials.train

    def training(module: Any, data: Any, options: Any, *rest: Any, **named: Any) -> Any:
        sizes.append(len(data.train))
        assert options.epochs == 1
        return train(module, data, options, *rest, **named)

    monkeypatch.setattr(trials, "train", training)
    arguments = ("--data", "synthetic", "--cost", "macs", "--steps", "3")
    assert command(wide, *arguments, "--threads", "1", capsys=capsys)[0] == 0
    assert sizes == [6, 6] and list(tmp_path.iterdir()) == []


def test_a_member_that_diverges_is_named(wide: Job, tmp_path: Path) -> None:
    with pytest.raises(NascError, match=r"member 0: the .*loss became (nan|inf)"):
        run(wide, tmp_path / "run", options={"weights": {"kind": "sgd", "rate": 1e30}})
