"""MorphNet: its penalty against costs of written members, what is cut off, and the search from file to result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nasc.compiler.compile import compile_file
from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.fullest import fullest
from nasc.compiler.identifiers import class_name
from nasc.compiler.lower_masked import masked_source
from nasc.compiler.masked_member import member_of
from nasc.compiler.masked_weights import gathered
from nasc.compiler.masks import MaskedNetwork, masked
from nasc.compiler.member import Member, member_text
from nasc.compiler.methods.morphnet import MorphnetOptions
from nasc.compiler.network import network_of
from nasc.dsl.diagnostics import DiagnosticError, NascError
from nasc.runtime.masks_state import gathered_state
from nasc.runtime.member_model import imported, module_of
from nasc.runtime.methods.morphnet import CostPenalty, kept_of
from nasc.runtime.metrics import read_metrics
from nasc.runtime.search import Job
from tests.searches import Killer, Stop, command, compiled, run, same_runs
from tests.spaces import module_of as module_text
from tests.spaces import space_of

OPEN = """nas 1
space open {
  input   image 1 x 8 x 8
  output  classes 10
  let w = 8 .. 24 step 8

  stage stem  conv { kernel 3  stride 2 }                              -> w
  stage low   irb x 2 { kernel 3  hidden 8 .. 48 step 8 }              -> w
  stage mid   fused_irb { kernel 3  stride 2  hidden 8 .. 32 step 8 }  -> 16
  head        global_pool | linear
}
search morphnet { epochs 4  batch 32  lambda 1.0 }
"""
FULL = {"@w": 24, "low.1.hidden": 48, "low.2.hidden": 48, "mid.1.hidden": 32}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    with compiled(OPEN, tmp_path_factory.mktemp("morphnet"), "morphnet") as job:
        yield job


def made(**options: Any) -> tuple[MaskedNetwork, nn.Module, CostPenalty, MorphnetOptions]:
    network, chosen = masked(fullest(space_of(OPEN))), MorphnetOptions(**options)
    torch.manual_seed(0)
    supernet = imported(masked_source(network, "MorphNet"), class_name("open", ()))
    return network, supernet, CostPenalty(network, supernet, chosen), chosen


def cost(widths: Mapping[str, int], kind: str) -> int:
    """As `nasc cost` has it, of the member written as text."""
    layers: dict[str, Any] = {"stem.1": {}, "head": {}}
    layers |= {name.removesuffix(".hidden"): {"hidden": n} for name, n in widths.items() if name != "@w"}
    text = member_text(space_of(OPEN), Member(layers, {"@w": widths["@w"]}), module_text(OPEN))
    return int(getattr(cost_of(space_of(text)), kind).min)


@pytest.mark.parametrize("kind", ["macs", "params"])
@pytest.mark.parametrize("name", ["low.1.hidden", "low.2.hidden", "mid.1.hidden"])
def test_the_penalty_of_a_scale_is_what_its_channel_costs(kind: str, name: str) -> None:
    """Costs are linear in a hidden width: a grid step of 8 channels costs 8 times one."""
    _, _, penalty, _ = made(cost=kind, **{"lambda": (3.0,)})
    penalty(0)
    one = (cost(FULL, kind) - cost({**FULL, name: FULL[name] - 8}, kind)) / 8
    assert penalty.rates[name] == pytest.approx(one / cost(FULL, kind))
    grown = {**FULL, "@w": 16}
    for scales in penalty.scales["@w"]:
        scales.norm.weight.data[:8] = 0.0
    penalty(1)
    one = (cost(grown, kind) - cost({**grown, name: FULL[name] - 8}, kind)) / 8
    assert penalty.rates[name] == pytest.approx(one / cost(FULL, kind))


def test_tied_channels_are_one_group_of_which_the_largest_counts() -> None:
    _, _, penalty, options = made()
    norms = [scales.norm for scales in penalty.scales["@w"]]
    assert len(norms) == 3  # the stem's, and where each residual ends
    for number, norm in enumerate(norms):
        norm.weight.data[:] = 0.1 * number
        norm.weight.data[0] = -0.5 if number == 0 else 0.0
    assert penalty.scale("@w").tolist() == pytest.approx([0.5] + [0.2] * 23)
    penalty(0).backward()
    rate = penalty.rates["@w"] * options.alpha[0]
    gradients = torch.stack([norm.weight.grad for norm in norms])
    expected = torch.zeros(3, 24)
    expected[0, 0], expected[2, 1:] = -rate, rate
    torch.testing.assert_close(gradients, expected)


def test_what_is_cut_off_did_nothing() -> None:
    """Channels of no scale and no shift go, in any order, and the outputs stay."""
    network, supernet, penalty, options = made()
    torch.manual_seed(1)
    gone = {"@w": 8, "low.1.hidden": 16, "low.2.hidden": 40, "mid.1.hidden": 8}
    for name, count in gone.items():
        order = torch.randperm(penalty.sizes[name])[:count]
        for scales in penalty.scales[name]:
            weight, bias = scales.norm.weight.data, scales.norm.bias.data
            weight.uniform_(0.5, 1.5)
            bias.normal_()
            weight[order], bias[order] = 0.0, 0.0
    kept = kept_of(network, penalty, options)
    assert dict(kept.widths) == {name: FULL[name] - count for name, count in gone.items()}
    text = member_text(space_of(OPEN), member_of(network, kept), module_text(OPEN))
    assert count_members(space_of(text)) == 1
    assert cost_of(space_of(text)).macs.min == cost(kept.widths, "macs")
    found = network_of(space_of(text))
    module = module_of(found).eval()
    module.load_state_dict(gathered_state(supernet, gathered(network, kept, found)))
    images = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(module(images), supernet.eval()(images), rtol=1e-4, atol=1e-5)


def test_widths_are_rounded_down_to_the_grid_and_expanded_up_to_the_widest() -> None:
    for expand, widths in ((1.0, (16, 8)), (1.5, (24, 16)), (9.0, (24, 48))):
        network, _, penalty, options = made(expand=expand)
        for scales in penalty.scales["@w"]:
            scales.norm.weight.data[:7] = 0.009
        for scales in penalty.scales["low.1.hidden"]:
            scales.norm.weight.data[11:] = 0.0
        kept = kept_of(network, penalty, options)
        assert (kept.widths["@w"], kept.widths["low.1.hidden"]) == widths
        assert not set(kept.ranked["@w"][:17]) & set(range(7))


# ------------------------------------------------------------------------------------------------ the search


def test_morphnet_from_file_to_result(opened: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exercises: method morphnet."""
    out = tmp_path / "run"
    code, _, _ = command(opened, "--data", "synthetic:128", "--threads", "1", "--out", out, capsys=capsys)
    assert code == 0
    result = json.loads((out / "result.json").read_text())
    assert result["method"] == "morphnet" and len(read_metrics(out / "metrics.jsonl")) == 4
    found = space_of(out / "best.nas")
    assert count_members(found) == 1 and cost_of(found).macs.min == result["cost"]["found"]


def test_a_trial_of_morphnet_is_short(
    opened: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("--data", "synthetic", "--steps", "1", "--threads", "1")
    assert command(opened, *arguments, capsys=capsys)[0] == 0 and list(tmp_path.iterdir()) == []


def test_a_larger_lambda_leaves_a_cheaper_network(opened: Job, tmp_path: Path) -> None:
    quick = {"epochs": 25, "weights": {"kind": "rmsprop", "rate": 0.02}}
    costs = [
        run(opened, tmp_path / str(strength), options={**quick, "lambda": (strength,)}).cost
        for strength in (0.0, 3.0, 300.0)
    ]
    narrowest = {name: 8 for name in FULL}
    assert costs[0] == cost(FULL, "macs") > costs[1] > costs[2] == cost(narrowest, "macs")


def test_a_searched_depth_is_refused_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "deep.nas").write_text(OPEN.replace("irb x 2", "irb x 1 .. 2"))
    with pytest.raises(DiagnosticError, match="`low` cannot be made a part of a SuperNet"):
        compile_file(tmp_path / "deep.nas", tmp_path / "build", method="morphnet")


@pytest.mark.parametrize("setting", [{"checkpoint_activations": True}, {"channels_last": "on"}, {"accumulate": 2}])
def test_settings_that_training_does_not_have_are_refused(opened: Job, tmp_path: Path, setting: dict[str, Any]) -> None:
    with pytest.raises(NascError, match="trains as `nasc train` does"):
        run(opened, tmp_path / "run", **setting)


@pytest.mark.parametrize("at", [1, 7])
def test_a_killed_morphnet_goes_on_to_the_same_end(opened: Job, tmp_path: Path, at: int) -> None:
    run(opened, tmp_path / "whole")
    with pytest.raises(Stop):
        run(opened, tmp_path / "killed", Killer(at))
    with pytest.raises(NascError, match="already holds a search"):
        run(opened, tmp_path / "killed")
    with pytest.raises(NascError, match=r"other settings: lambda 1\.0"):
        run(opened, tmp_path / "killed", options={"lambda": (2.0,)}, resume=True)
    run(opened, tmp_path / "killed", resume=True)
    same_runs(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(
    ("name", "value"),
    [("lambda", (-1.0,)), ("threshold", 0), ("expand", 0.5), ("cost", "latency"), ("weights", {"kind": "adam"})],
)
def test_options_that_mean_nothing_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        MorphnetOptions.model_validate({name: value})
