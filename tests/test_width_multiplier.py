"""The width multiplier: the fullest member, made narrower, and the search over its widths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space
from nasc.compiler.fullest_member import fullest_member
from nasc.compiler.member import Member, member_text
from nasc.compiler.methods.width_multiplier import WidthMultiplierOptions
from nasc.dsl.diagnostics import NascError
from nasc.runtime.metrics import read_metrics
from nasc.runtime.search import Job
from tests.searches import Killer, Stop, command, compiled, priced_table, run, same_runs
from tests.spaces import ROOT, SPACES, in_space, module_of, space_of

SLOW = {"figs_oneshot", "figs_oneshot_add", "shared_cells"}
"""Which take seconds to elaborate; the first two are below."""
SCALED = """nas 1
space scaled {
  input   image 1 x 8 x 8
  output  classes 10
  skip    same_shape
  let w = 8 .. 32 step 8

  stage stem  conv { kernel 3  stride 2 }                                             -> w
  stage low   one of { conv { kernel {5, 3} } irb { kernel 3  expand {1, 2} } } x 2   -> w
  stage wide  conv { kernel 3 }                                                       -> {12, 48, 20}
  head        global_pool | linear
}
search width_multiplier { epochs 2  batch 32  cost macs  alpha 0.3 }
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    with compiled(SCALED, tmp_path_factory.mktemp("width"), "width_multiplier") as job:
        yield job


# ------------------------------------------------------------------------------------------------ members


def written(source: Path | str, multiplier: float = 1.0) -> tuple[Space, Space, Member]:
    space, module = space_of(source), module_of(source)
    member = fullest_member(space, multiplier)
    return space, space_of(member_text(space, member, module)), member


@pytest.mark.parametrize("name", ["figs_oneshot", "figs_oneshot_add", "figs_resnet50", "figs_fbnet"])
def test_where_only_widths_and_operators_are_open_the_fullest_member_costs_most(name: str) -> None:
    space, found, _ = written(ROOT / "spaces" / f"{name}.nas")
    assert count_members(found) == 1
    assert cost_of(found).params.min == cost_of(space).params.max
    assert cost_of(found).macs.min == cost_of(space).macs.max


@pytest.mark.parametrize("path", [p for p in SPACES if p.stem not in SLOW], ids=lambda path: path.stem)
def test_every_space_has_narrower_members(path: Path) -> None:
    params, space, module = [], space_of(path), module_of(path)
    for multiplier in (1.0, 0.4):
        found = space_of(member_text(space, fullest_member(space, multiplier), module))
        assert count_members(found) == 1
        params.append(cost_of(found).params.min)
    assert params[0] >= params[1]


@pytest.mark.parametrize(
    ("multiplier", "w", "wide"), [(1.0, 32, 48), (0.75, 24, 48), (0.5, 16, 20), (0.25, 8, 12), (0.01, 8, 12)]
)
def test_each_width_is_the_nearest_of_its_own(multiplier: float, w: int, wide: int) -> None:
    _, _, member = written(SCALED, multiplier)
    assert (int(member.shared["@w"]), int(member.shared["@wide.width"])) == (w, wide)
    for layer in ("low.1", "low.2"):
        made = member.layers[layer]
        assert made is not None and made["of"] == "conv { kernel {5, 3} }" and made["1.kernel"] == "5"


def test_a_ratio_of_widths_is_scaled_with_what_it_is_a_ratio_of() -> None:
    text = in_space("""  let w = 8 .. 32 step 8
  stage stem conv { kernel 3 }  -> w
  stage a    irb { kernel 3  expand {1, 2, 4} }  -> w
  head global_pool | linear""")
    for multiplier, w in ((1.0, 32), (0.5, 16), (0.25, 8)):
        member = fullest_member(space_of(text), multiplier)
        made = member.layers["a.1"]
        assert made is not None and int(member.shared["@w"]) == w and made["expand"] == "4"


def test_depths_and_skips_stay_and_the_first_option_counts() -> None:
    text = in_space("""  stage stem conv { kernel 3 }  -> 8
  stage a    irb x {1, 3} { kernel {3, 5}  expand 2 .. 4 }  -> 8
  stage b    irb x 2 { kernel {5, 3}  hidden 8 .. 48 step 8  skip yes }  -> 8
  head global_pool | linear""")
    member = fullest_member(space_of(text), 0.5)
    assert all(made is not None for made in member.layers.values())
    kernels = [dict(member.layers[f"{layer}"] or {})["kernel"] for layer in ("a.1", "a.3", "b.1", "b.2")]
    assert kernels == ["3", "3", "5", "5"] and dict(member.layers["b.2"] or {})["hidden"] == 24


# ------------------------------------------------------------------------------------------------ the search


def test_width_multiplier_from_file_to_result(scaled: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exercises: method width_multiplier."""
    out = tmp_path / "run"
    code, _, _ = command(scaled, "--data", "synthetic:128", "--threads", "1", "--out", out, capsys=capsys)
    assert code == 0
    result, records = json.loads((out / "result.json").read_text()), read_metrics(out / "metrics.jsonl")
    assert [record["multiplier"] for record in records] == [0.25, 0.5, 0.75, 1.0]
    costs = [record["cost"] for record in records]
    assert costs == sorted(costs) and costs[0] < costs[-1]
    best = min(records, key=lambda record: record["loss"])
    assert result["number"] == best["epoch"] and result["multiplier"] == best["multiplier"]
    assert cost_of(space_of(out / "best.nas")).macs.min == result["cost"]["found"] == best["cost"]
    for number, record in enumerate(records):
        beaten = any(o["cost"] < record["cost"] and o["accuracy"] >= record["accuracy"] for o in records)
        assert (number in result["pareto"]) is not beaten


def test_a_target_leaves_the_wide_ones_out(scaled: Job, tmp_path: Path) -> None:
    run(scaled, tmp_path / "all", options={"epochs": 1})
    costs = [record["cost"] for record in read_metrics(tmp_path / "all" / "metrics.jsonl")]
    found = run(scaled, tmp_path / "run", options={"epochs": 1, "target": costs[1]})
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [record["cost"] for record in records] == costs[:2] and found.cost in costs[:2]
    assert found.details["number"] == max(
        range(2), key=lambda i: (records[i]["accuracy"], -records[i]["cross_entropy"])
    )
    with pytest.raises(NascError, match="more than the target with every multiplier"):
        run(scaled, tmp_path / "none", options={"target": costs[0] - 1})


def test_multipliers_that_make_the_same_network_make_it_once(scaled: Job, tmp_path: Path) -> None:
    run(scaled, tmp_path / "run", options={"epochs": 1, "multipliers": (0.25, 0.01, 0.02)})
    assert [record["multiplier"] for record in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [0.25]


@pytest.mark.parametrize("member", [1, 3])
def test_a_killed_width_multiplier_goes_on_to_the_same_end(scaled: Job, tmp_path: Path, member: int) -> None:
    run(scaled, tmp_path / "whole")
    with pytest.raises(Stop):
        run(scaled, tmp_path / "killed", Killer(member))
    run(scaled, tmp_path / "killed", resume=True)
    same_runs(tmp_path / "whole", tmp_path / "killed")


def test_width_multiplier_takes_latencies(scaled: Job, tmp_path: Path) -> None:
    priced_table(scaled, tmp_path / "latency.db")
    options = {"cost": "latency", "epochs": 1, "multipliers": (0.5, 1.0)}
    run(scaled, tmp_path / "run", table=tmp_path / "latency.db", options=options)
    narrow, full = (record["cost"] for record in read_metrics(tmp_path / "run" / "metrics.jsonl"))
    assert 10 < narrow < full


@pytest.mark.parametrize("given", [(), (0.0,), (1.5,), (float("nan"),), "wide"])
def test_multipliers_that_mean_nothing_are_refused(given: object) -> None:
    with pytest.raises(ValueError, match="multipliers"):
        WidthMultiplierOptions.model_validate({"multipliers": given})
