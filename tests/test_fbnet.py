"""FBNet's search: from file to result, through kills, and in the right direction."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nasc.compiler.contains import contains
from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.methods.relax import relax_to_mixture
from nasc.compiler.network import network_of
from nasc.dsl.diagnostics import NascError
from nasc.runtime.costs import formula_costs
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.methods.fbnet import Fbnet
from nasc.runtime.metrics import read_metrics
from nasc.runtime.search import Job
from nasc.runtime.search_job import options_of, read_space
from nasc.runtime.train_file import evaluate_file
from tests.searches import NARROW, Killer, Stop, command, compiled, priced_table, run, same_runs
from tests.spaces import ROOT, space_of


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def fbnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    with compiled(NARROW, tmp_path_factory.mktemp("fbnet"), "fbnet") as job:
        yield job


FEW = {"epochs": 4, "warmup": 1, "batch": 32}


def test_fbnet_from_file_to_result(fbnet: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exercises: method fbnet."""
    out = tmp_path / "run"
    arguments = ["--data", "synthetic:128", "--cost", "macs", "--epochs", 4, "--warmup", 1, "--batch", 32, "--out", out]
    code, said, _ = command(fbnet, *map(str, arguments), "--threads", "1", capsys=capsys)
    assert code == 0 and said.startswith("found: ")
    space, best = space_of(NARROW), space_of(out / "best.nas")
    assert count_members(best) == 1 and contains(space, best).yes
    result = json.loads((out / "result.json").read_text())
    assert cost_of(best).macs.min == result["cost"]["found"]
    scores = evaluate_file(
        out / "best.nas", out / "best.safetensors", "synthetic:128", split="val", batch=32, device="cpu", seed=0
    )
    assert scores.top1 == result["accuracy"]
    states = sorted((out / "states").iterdir())
    assert [path.name for path in states] == [f"epoch_00{epoch}.nas" for epoch in (1, 2, 3, 4)]
    assert all(count_members(space_of(path)) == count_members(space) == 75 for path in states)
    assert contains(space_of(states[-1]), best).yes
    records = read_metrics(out / "metrics.jsonl")
    assert {record["candidates"] for record in records} == {4 + 1 + 4 + 1 + 3}
    for record in records:
        assert list(record["probabilities"]["low.1"]) == ["0", "1", "2", "3", "skip"]
        assert all(sum(each.values()) == pytest.approx(1, abs=1e-5) for each in record["probabilities"].values())
    assert "Prunode" not in (fbnet.folder / "supernet.py").read_text()


@pytest.mark.parametrize("step", [2, 6, 11])
def test_a_killed_fbnet_goes_on_to_the_same_end(fbnet: Job, tmp_path: Path, step: int) -> None:
    run(fbnet, tmp_path / "whole", options=FEW)
    with pytest.raises(Stop):
        run(fbnet, tmp_path / "killed", Killer(step), options=FEW)
    run(fbnet, tmp_path / "killed", options=FEW, resume=True)
    same_runs(tmp_path / "whole", tmp_path / "killed")


def mixture(job: Job, **changes: Any) -> Fbnet:
    assert job.supernet is not None
    torch.manual_seed(0)
    layers = relax_to_mixture(read_space(job).network)
    return Fbnet(job.supernet(), layers, formula_costs(layers, "macs"), options_of(job, changes))


def test_the_skip_is_a_candidate_from_the_start(fbnet: Job) -> None:
    method = mixture(fbnet)
    layers = method.layers
    assert [layer.alive for layer in layers.values()] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2]]
    assert all(p == pytest.approx(0.2) for p in layers["low.1"].probabilities().values())
    with torch.no_grad():
        for address in ("low.1", "low.2"):
            layers[address].theta[4] = 30.0
        layers["mid.1"].theta[0] = 30.0
    assert {a: c for a, c in method.choices().items() if a != "head"} == {
        "stem.1": (0, {}), "low.1": None, "low.2": None, "mid.1": (0, {"hidden": 8}),
    }  # fmt: skip
    assert method.chosen_cost() == pytest.approx(method.expected_cost())


def test_the_temperature_falls_by_one_factor_after_warm_up(fbnet: Job) -> None:
    method = mixture(fbnet, epochs=7, warmup=2, temperature={"first": 4.0, "last": 0.25})
    assert [method.temperature(epoch) for epoch in range(7)] == pytest.approx([4, 4, 4, 2, 1, 0.5, 0.25])
    method.start_epoch(5)
    assert {layer.tau for layer in method.layers.values()} == {0.5}
    assert mixture(fbnet, epochs=3, warmup=2).temperature(2) == 5.0
    printed = mixture(fbnet)
    falls = [printed.temperature(epoch + 1) / printed.temperature(epoch) for epoch in range(10, 89)]
    assert falls == pytest.approx([0.956] * 79)


def test_the_loss_adds_or_multiplies(fbnet: Job) -> None:
    for combine, expected in (
        ("add", lambda ce, term: ce + term),
        ("multiply", lambda ce, term: ce * term),
    ):
        method = mixture(fbnet, combine=combine, alpha=0.3)
        method.supernet(torch.randn(2, 1, 8, 8))
        term = 0.3 * math.log(method.cost().item()) ** 0.6
        assert method.loss(torch.tensor(2.0)).item() == pytest.approx(expected(2.0, term), rel=1e-5)
    with pytest.raises(NascError, match="alpha must be above 0"):
        options_of(fbnet, {"combine": "multiply", "alpha": 0.0})


QUALITY = {"low.1": [0.9, 0.2, 0.6, 0.0, 0.5], "low.2": [0.0, 0.8, 0.7, 0.9, 0.5], "mid.1": [0.6, 0.0, 0.9]}
"""The cross-entropy that each candidate adds in a made-up task; the skip's last. None of the best is the cheapest."""


@pytest.mark.parametrize(
    ("alpha", "wanted"),
    [(0.0, {"low.1": 3, "low.2": 0, "mid.1": 1}), (8.0, {"low.1": 4, "low.2": 4, "mid.1": 0})],
)
@pytest.mark.parametrize("seed", range(3))
def test_it_finds_the_most_accurate_or_the_cheapest(
    fbnet: Job, monkeypatch: pytest.MonkeyPatch, alpha: float, wanted: dict[str, int], seed: int
) -> None:
    from nasc.runtime import supernet

    method = mixture(fbnet, alpha=alpha, epochs=100, warmup=1)
    drawn: list[torch.Tensor] = []
    draw = supernet.gumbel_softmax
    monkeypatch.setattr(supernet, "gumbel_softmax", lambda theta, tau: drawn.append(draw(theta, tau)) or drawn[-1])
    for module in method.supernet.modules():  # the blocks' work is not needed
        if isinstance(module, supernet.StochasticLayer):
            monkeypatch.setattr(module, "_candidate", lambda number, x, layer=module: (
                x, layer.theta.new_tensor(layer.costs.get(number, 0.0))
            ))  # fmt: skip
    optimizer = torch.optim.Adam(method.architecture(), 0.1)
    torch.manual_seed(seed)
    for epoch in range(1, 100):
        method.start_epoch(epoch)
        for _ in range(2):
            drawn.clear()
            for layer in method.layers.values():
                layer(torch.zeros(1))
            entropy = torch.stack([c @ torch.tensor(q) for c, q in zip(drawn, QUALITY.values(), strict=True)]).sum()
            optimizer.zero_grad()
            method.loss(entropy).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    assert {address: layer.chosen() for address, layer in method.layers.items()} == wanted


def test_a_space_with_too_many_widths_says_where_and_what_to_do() -> None:
    with pytest.raises(NascError, match=r"`fused\d\.\d`.* more than 64 candidates") as caught:
        relax_to_mixture(network_of(space_of(ROOT / "spaces" / "gpunet1.nas")))
    assert "coarser" in (caught.value.help or "") and "prunet" in (caught.value.help or "")


def test_fbnet_takes_latencies_of_each_width(fbnet: Job, tmp_path: Path) -> None:
    priced_table(fbnet, tmp_path / "latency.db")
    options = {**FEW, "cost": "latency"}
    result = run(fbnet, tmp_path / "run", table=tmp_path / "latency.db", options=options)
    nodes = {use.layer: len(e.graph.nodes) for e in load_manifest(fbnet.folder).entries for use in e.uses}
    chosen = {address: choice for address, choice in result.details["choices"].items() if choice is not None}
    widths = sum(value for choice in chosen.values() for value in choice["values"].values())
    assert result.unit == "µs" and result.cost == 10.0 + widths + 7 * sum(nodes[address] for address in chosen)
