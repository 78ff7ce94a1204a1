"""Searches for a target: the multiplier, the choice of a member in the window, and whole runs."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.compiler.methods.prunet import PrunetOptions
from nasc.dsl.diagnostics import NascError
from nasc.runtime.methods.prunet import Prunet
from nasc.runtime.methods.target import WINDOW, Multiplier, Option, best_within
from nasc.runtime.metrics import read_metrics
from tests.searches import NARROW, Killer, Stop, command, compiled, run, same_runs

ROUNDED = 1 / 400
"""Costs are rounded up by less than this part of the target for all layers together."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# ------------------------------------------------------------------------------------------------ the choice

layers = st.lists(
    st.lists(st.builds(Option, st.integers(0, 60).map(float), st.floats(-20, 0)), min_size=1, max_size=5),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)
@given(layers=layers, fixed=st.floats(0, 20), target=st.floats(5, 150))
def test_the_choice_is_the_best_that_trying_all_finds(layers: list[list[Option]], fixed: float, target: float) -> None:
    found = best_within(layers, fixed, target)
    every = [
        (fixed + sum(o.cost for o in picked), sum(o.score for o in picked)) for picked in itertools.product(*layers)
    ]
    surely = [cost for cost, _ in every if cost <= target * (1 - ROUNDED)]
    if found is None:
        assert not surely
        return
    cost = fixed + sum(options[i].cost for options, i in zip(layers, found, strict=True))
    score = sum(options[i].score for options, i in zip(layers, found, strict=True))
    assert cost <= target * (1 + 1e-9)
    inside = [s for c, s in every if target * (1 - WINDOW + ROUNDED) <= c <= target * (1 - ROUNDED)]
    if inside:
        assert cost >= target * (1 - WINDOW) * (1 - 1e-9) and score >= max(inside) - 1e-9
    elif surely and cost < target * (1 - WINDOW):
        assert cost >= max(surely) - target * ROUNDED  # the dearest that meets the target


def test_what_costs_too_much_is_never_chosen() -> None:
    assert best_within([[Option(10.0, 0.0)]], fixed=95.0, target=100.0) is None
    assert best_within([[Option(10.0, 0.0), Option(4.9, -50.0)]], fixed=95.0, target=100.0) == [1]
    assert best_within([], fixed=101.0, target=100.0) is None


# ------------------------------------------------------------------------------------------------ the multiplier


@pytest.mark.parametrize("balance", [-0.5, 0.02, 0.3, 5.0])
def test_the_cost_follows_the_reference_whatever_alpha_balances_the_loss(balance: float) -> None:
    """A made-up search whose log cost drifts up where alpha is below `balance`, and down where it is above."""
    multiplier, log_cost = Multiplier(100.0, alpha=0.6), math.log(400.0)
    steps = 600
    for i in range(steps):
        alpha = multiplier.step((i + 1) / steps, math.exp(log_cost))
        log_cost += 0.02 * math.tanh((balance - alpha) / abs(balance))
    assert math.exp(log_cost) == pytest.approx(100.0 * (1 - WINDOW / 2), rel=0.025)
    assert alpha == pytest.approx(balance, rel=0.5, abs=0.06)


def test_a_multiplier_goes_on_from_its_state() -> None:
    whole, first = Multiplier(100.0, 0.6), Multiplier(100.0, 0.6)
    for i in range(20):
        if i == 7:
            resumed = Multiplier(100.0, 0.6)
            resumed.restore(json.loads(json.dumps(first.state())))
            first = resumed
        cost = 300.0 - 9 * i
        assert whole.step((i + 1) / 20, cost) == first.step((i + 1) / 20, cost)


def test_a_state_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Multiplier(1.0, 1.0).restore({"begun": 1.0, "integral": float("nan"), "done": 0.0, "alpha": 1.0})


# ------------------------------------------------------------------------------------------------ whole searches

SEARCH = {"epochs": 6, "warmup": 1, "batch": 16, "architecture": {"kind": "adam", "rate": 0.3}}


@pytest.mark.parametrize("target", [26_000.0, 33_000.0, 40_000.0])
@pytest.mark.parametrize("method", ["prunet", "fbnet"])
def test_the_found_network_costs_just_below_the_target(method: str, target: float, tmp_path: Path) -> None:
    with compiled(NARROW, tmp_path, method) as job:
        found = run(job, tmp_path / "run", options={**SEARCH, "target": target})
    assert target * 0.9 <= found.cost <= target  # the space has few members: none needs lie in the window
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["target"] == target and result["cost"]["found"] == found.cost
    alphas = [record["alpha"] for record in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert alphas[0] == result["options"]["alpha"][0] and len(set(alphas[1:])) > 1


def test_no_network_meets_the_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with compiled(NARROW, tmp_path, "prunet") as job:
        with pytest.raises(NascError, match="no network of this space costs 100 MACs or less: the cheapest") as caught:
            run(job, tmp_path / "run", options={**SEARCH, "target": 100.0})
        assert "raise the target" in (caught.value.help or "")
        assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_killed_and_resumed_a_search_for_a_target_ends_alike(tmp_path: Path) -> None:
    options = {**SEARCH, "target": 40_000.0}
    with compiled(NARROW, tmp_path, "prunet") as job:
        run(job, tmp_path / "whole", options=options)
        with pytest.raises(Stop):
            run(job, tmp_path / "cut", Killer(at=28), options=options)
        run(job, tmp_path / "cut", options=options, resume=True)
    same_runs(tmp_path / "whole", tmp_path / "cut")


def test_nothing_goes_without_which_the_target_is_out_of_reach(tmp_path: Path) -> None:
    from nasc.compiler.methods.relax import relax
    from nasc.compiler.network import network_of
    from nasc.runtime.costs import formula_costs, reach
    from tests.spaces import space_of

    with compiled(NARROW, tmp_path, "prunet") as job:
        relaxed = relax(network_of(space_of(NARROW)))
        costs = formula_costs(relaxed, "macs")
        assert job.supernet is not None
        dearest = reach(costs, relaxed)[1]
        options = PrunetOptions(cost="macs", target=dearest)
        method = Prunet(job.supernet(), relaxed, costs, options)
    layer = method.layers["low.2"]
    cheap, dear = sorted((0, 1), key=lambda i: max(costs.blocks["low.2", i].values()))
    assert method.may_go(layer, cheap) and not method.may_go(layer, dear)


# ------------------------------------------------------------------------------------------------ command line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "700us", "--cost", "macs"], "is a time"),
        (["--target", "25M", "--cost", "latency"], "has no unit"),
        (["--target", "fast", "--cost", "macs"], "not a number"),
        (["--target", "40k", "--cost", "macs", "--alpha", "0.1,1"], "leave one to start from"),
        (["--target-latency", "0.7ms"], "needs a latency table"),
    ],
)
def test_wrong_targets(arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with compiled(NARROW, tmp_path, "prunet") as job:
        common = ("--data", "synthetic", "--out", tmp_path / "run")
        code, out, err = command(job, *common, *arguments, capsys=capsys)
    assert code == 1 and said in err and not out


def test_a_target_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with compiled(NARROW, tmp_path, "prunet") as job:
        arguments = ("--data", "synthetic:64", "--cost", "macs", "--target", "40k", "--epochs", "2", "--batch", "16")
        code, out, _ = command(job, *arguments, "--out", tmp_path / "run", "--threads", "1", capsys=capsys)
    assert code == 0 and "found:" in out
    assert json.loads((tmp_path / "run" / "result.json").read_text())["cost"]["found"] <= 40_000
