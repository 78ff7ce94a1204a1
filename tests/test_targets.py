"""Searches for several targets: how latencies become one, what a search then finds, and profiling for each target."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from nasc.cli import main
from nasc.compiler.compile import compile_file
from nasc.compiler.manifest import Entry, Target
from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.relax import relax
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.resize import resized
from nasc.compiler.sample import sample_members
from nasc.dsl.diagnostics import NascError
from nasc.runtime.costs import Costs
from nasc.runtime.device import Environment
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.measurement import Measurement
from nasc.runtime.member_latency import MemberLatency, table_environment
from nasc.runtime.methods.prunet import Prunet
from nasc.runtime.search_job import read_space
from nasc.runtime.supernet import seed_noise
from nasc.runtime.table import LatencyTable
from nasc.runtime.targets import Judge, target_costs, targets_for
from tests.searches import Killer, Stop, command, job_of, run, same_runs
from tests.spaces import in_space
from tests.synthetic import Problem, TableNet, relaxed, run_search
from tests.tiny_blocks import MACHINE

SPACE = """nas 1
space twice {
  input   image 1 x 8 x 8
  output  classes 10

  stage stem  conv     { kernel 3  stride 2 }        -> 8
  stage low   irb x 2  { kernel {3, 5}  hidden 16 }  -> 8
  stage wide  irb      { kernel 3  hidden 8 .. 24 step 8 }  -> 8
  head        global_pool | linear
}
target near { engine onnxruntime  weight 3  limit_ms 3 }
target far  { engine analytic  batch 8 }
search prunet { epochs 6  warmup 1  batch 16  architecture adam { rate 0.3 }  targets worst }
search random { samples 4  epochs 1  batch 32  targets worst }
"""
CALL = {"onnxruntime": 4.0, "analytic": 0.0}
US = {
    ("onnxruntime", 3): 100.0,
    ("onnxruntime", 5): 200.0,
    ("analytic", 3): 400.0,
    ("analytic", 5): 240.0,
}
"""What an irb of `low` costs at each target, beside the engine's call."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# ------------------------------------------------------------------------------------------------ one number of several


def test_the_sum_is_weighed() -> None:
    targets = [Target(name="a", weight=1), Target(name="b", weight=3)]
    judge = Judge.of(targets, "sum", slowest=[1000.0, 1000.0])
    assert judge([10.0, 20.0]) == pytest.approx((1 * 10 + 3 * 20) / 4)


def test_the_worst_is_relative_to_limits_and_to_the_slowest_network() -> None:
    targets = [Target(name="a", weight=1, limit_ms=0.1), Target(name="b", weight=3)]
    judge = Judge.of(targets, "worst", slowest=[700.0, 50.0])
    # relative to 100 and 50 µs, whose mean is 75; weights relative to their mean, 2
    assert judge([10.0, 20.0]) == pytest.approx(max(0.5 * 10 / 100, 1.5 * 20 / 50) * 75)
    assert judge([90.0, 1.0]) == pytest.approx(max(0.5 * 90 / 100, 1.5 * 1 / 50) * 75)


@given(
    us=st.floats(0, 1e6), slowest=st.floats(1, 1e6), weight=st.floats(0.1, 10), count=st.integers(1, 4),
    choice=st.sampled_from(["sum", "worst"]),
)  # fmt: skip
def test_targets_that_are_alike_are_one(us: float, slowest: float, weight: float, count: int, choice: str) -> None:
    judge = Judge.of([Target(weight=weight)] * count, choice, [slowest] * count)
    assert judge([us] * count) == pytest.approx(us)


def test_a_target_is_chosen_by_its_name(tmp_path: Path) -> None:
    manifest = load_manifest(built(tmp_path))
    assert [t.name for t in targets_for(manifest, "far")] == ["far"]
    assert [t.name for t in targets_for(manifest, "sum")] == ["near", "far"]
    with pytest.raises(NascError, match="no target `fare`") as caught:
        targets_for(manifest, "fare")
    assert "did you mean `far`" in (caught.value.help or "")


# ------------------------------------------------------------------------------------------------ latencies and costs


def built(tmp_path: Path, text: str = SPACE, method: str = "prunet") -> Path:
    (tmp_path / "space.nas").write_text(text)
    compile_file(tmp_path / "space.nas", tmp_path / "build", method=method)
    return tmp_path / "build"


def environment(engine: str, batch: int, protocol: int = 1) -> Environment:
    return Environment(
        device=MACHINE, engine=engine, engine_version="1", precision="fp32", batch=batch, threads=1,
        timing_mode="plain", protocol_version=protocol,
    )  # fmt: skip


def kernel(entry: Entry) -> int:
    return max(max(node.attributes["kernel"]) for node in entry.graph.nodes if node.op == "conv2d")


def filled(folder: Path, path: Path) -> Path:
    """A table of both targets: irbs of 16 as in `US`, those of an open width 10 µs for each 8 channels, all else 50."""
    with LatencyTable(path) as table:
        for engine, batch in (("onnxruntime", 1), ("analytic", 8)):
            for entry in load_manifest(folder).entries:
                for (width,) in itertools.product(entry.widths[0].domain if entry.widths else (0,)):
                    us = US[engine, kernel(entry)] if entry.block == "irb" else 50.0
                    us = 10.0 * float(width) / 8 if entry.widths else us
                    row = Measurement(status="ok", median=us + CALL[engine], identity=CALL[engine], mad=0.1, samples=9)
                    table.put(entry.key, (width,) if entry.widths else (), environment(engine, batch), row)
    return path


def latencies(first: int, second: int, width: int) -> tuple[float, float]:
    """Of a member by hand: two kernels and a width. The stem and the head are 50 µs each."""
    found = [CALL[e] + 100 + US[e, first] + US[e, second] + 10 * width / 8 for e in ("onnxruntime", "analytic")]
    return found[0], found[1]


MEMBERS = list(itertools.product((3, 5), (3, 5), (8, 16, 24)))


def one(choice: str, near: float, far: float) -> float:
    """By hand: weights 3 and 1; `near` is relative to its limit of 3000 µs, `far` to the slowest member there."""
    if choice == "sum":
        return (3 * near + far) / 4
    slowest = max(latencies(*member)[1] for member in MEMBERS)
    return max(1.5 * near / 3000, 0.5 * far / slowest) * (3000 + slowest) / 2


@pytest.mark.parametrize("choice", ["sum", "worst"])
def test_costs_are_those_by_hand(choice: str, tmp_path: Path) -> None:
    folder = built(tmp_path)
    with job_of(folder) as job, LatencyTable(filled(folder, tmp_path / "t.db"), readonly=True) as table:
        costs = target_costs(relax(read_space(job).network), load_manifest(folder), table, choice)
    assert len(costs.parts) == (1 if choice == "sum" else 2)
    for first, second, width in MEMBERS:
        decided = {"low.1": (first // 5, None), "low.2": (second // 5, None), "wide.1": (0, width)}
        by_hand = latencies(first, second, width)
        assert max(part.of(decided) for part in costs.parts) == pytest.approx(one(choice, *by_hand))
        assert [target.costs.of(decided) for target in costs.targets] == pytest.approx(list(by_hand))
    assert [target.limit for target in costs.targets] == [3000.0, None]


def test_the_expected_cost_of_a_step_is_the_worse_one(tmp_path: Path) -> None:
    """With its gradients, against two searches that look at one part each; and the skip costs nothing."""
    layers = relaxed(in_space("skip same_shape\n stage s irb x 3 { kernel {3, 5}  hidden 32 .. 96 step 32 } -> 4\n"
                              "head global_pool | linear"))  # fmt: skip
    draw = random.Random(0)

    def part() -> Costs:
        blocks = {
            (layer.address, i): {w: draw.uniform(50, 400) for w in candidate.widths or (0,)}
            for layer in layers if not layer.fixed for i, candidate in enumerate(layer.candidates)
        }  # fmt: skip
        return Costs("latency", draw.uniform(0, 300), blocks)

    parts = [part(), part()]
    adds = {key: dict.fromkeys(widths, 0.0) for key, widths in parts[0].blocks.items()}
    found: list[tuple[float, list[torch.Tensor], float]] = []
    for costs in (replace(parts[0], others=(parts[1],)), *parts):
        method = Prunet(TableNet(Problem(layers, 3.0, adds, costs, 1.0)), layers, costs, PrunetOptions())
        for layer in method.layers.values():
            layer.skip = True
        seed_noise(7)
        method.supernet(torch.zeros(2, 1, 1, 1))
        cost = method.cost()
        gradients = torch.autograd.grad(cost, method.architecture())
        found.append((cost.item(), list(gradients), method.expected_cost()))
    (both, gradients, expected), *each = found
    assert both == pytest.approx(max(cost for cost, _, _ in each)) and each[0][0] != each[1][0]
    worse = max(each, key=lambda one: one[0])
    assert all(torch.allclose(a, b) for a, b in zip(gradients, worse[1], strict=True))
    assert expected == pytest.approx(max(without_noise for _, _, without_noise in each))


# ------------------------------------------------------------------------------------------------ what is found


@pytest.mark.parametrize("seed", range(4))
def test_sum_and_worst_end_in_the_member_that_trying_all_finds(seed: int) -> None:
    """Kernel 3 twice is best in the mean; where the worse of two counts, one of each is."""
    layers = relaxed(in_space("stage s irb x 2 { kernel {3, 5}  hidden 32 } -> 4\n head global_pool | linear"))
    keys = list(itertools.product(("s.1", "s.2"), (0, 1)))
    first, second = ({key: {0: us[key[1]]} for key in keys} for us in ((100.0, 500.0), (400.0, 200.0)))
    adds = {("s.1", 0): {0: -0.03}, ("s.1", 1): {0: 0.0}, ("s.2", 0): {0: 0.0}, ("s.2", 1): {0: -0.03}}
    mean = {key: {0: (first[key][0] + second[key][0]) / 2} for key in keys}
    modes = {
        "sum": Costs("latency", 0.0, mean),
        "worst": Costs("latency", 0.0, first, (Costs("latency", 0.0, second),)),
    }
    options = PrunetOptions(
        epochs=24, warmup=2, batch=1, split=0.5, phi=1.0, **{"lambda": 1.0},
        architecture={"kind": "adam", "rate": 0.03}, seed=seed,
    )  # fmt: skip
    best = {}
    for mode, costs in modes.items():
        problem = Problem(layers, 3.0, adds, costs, 1.0)

        def loss(member: tuple[int, int], costs: Costs = costs) -> float:
            decided = {f"s.{i}": (number, None) for i, number in enumerate(member, 1)}
            entropy = sum(adds[address, number][0] for address, (number, _) in decided.items())
            return float(entropy + torch.tensor(max(part.of(decided) for part in costs.parts)).log() ** 0.6)

        best[mode] = min(itertools.product((0, 1), repeat=2), key=loss)
        found = run_search(problem, options, 12)
        assert tuple(found[f"s.{i}"][0] for i in (1, 2)) == best[mode], mode
    assert best == {"sum": (0, 0), "worst": (0, 1)}


@pytest.mark.parametrize("choice", ["sum", "worst", "near"])
def test_the_network_found_is_the_one_that_trying_all_finds(choice: str, tmp_path: Path, capsys: Any) -> None:
    """With an alpha beside which accuracy counts nothing: the whole way from the files to best.nas."""
    folder = built(tmp_path)
    table = filled(folder, tmp_path / "t.db")
    with job_of(folder) as job:
        arguments = ("--data", "synthetic:64", "--table", table, "--targets", choice, "--alpha", 40, "--out")
        code, out, err = command(job, *arguments, tmp_path / "run", capsys=capsys)
    assert code == 0, err
    by_cost = {m: latencies(*m)[0] if choice == "near" else one(choice, *latencies(*m)) for m in MEMBERS}
    least = min(by_cost.values())
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["cost"]["found"] == pytest.approx(least)
    names = dict(zip(("near", "far"), latencies(*min(by_cost, key=by_cost.__getitem__)), strict=True))
    said = {row["name"]: row["us"] for row in result["targets"]}
    assert said == pytest.approx({name: us for name, us in names.items() if choice in ("sum", "worst", name)})
    assert result["targets"][0]["limit_us"] == 3000.0 and "within its limit of 3000 µs" in out
    assert CliRunner().invoke(main, ["report", str(tmp_path / "run")]).exit_code == 0
    assert "At each target" in (tmp_path / "run" / "report.html").read_text()


def test_killed_and_resumed_a_search_for_the_worst_ends_alike(tmp_path: Path) -> None:
    folder = built(tmp_path)
    table = filled(folder, tmp_path / "t.db")
    with job_of(folder) as job:
        run(job, tmp_path / "whole", table=table, options={"cost": "latency"})
        with pytest.raises(Stop):
            run(job, tmp_path / "cut", Killer(at=28), table=table, options={"cost": "latency"})
        run(job, tmp_path / "cut", table=table, options={"cost": "latency"}, resume=True)
        with pytest.raises(NascError, match=r"other settings: .*targets worst"):
            run(job, tmp_path / "cut", table=table, options={"cost": "latency", "targets": "sum"}, resume=True)
    same_runs(tmp_path / "whole", tmp_path / "cut")


def test_a_target_cost_of_the_worst_is_refused(tmp_path: Path) -> None:
    folder = built(tmp_path)
    table = filled(folder, tmp_path / "t.db")
    with job_of(folder) as job:
        with pytest.raises(NascError, match="worst of several targets cannot"):
            run(job, tmp_path / "run", table=table, options={"cost": "latency", "target": 480.0})
        found = run(job, tmp_path / "run", table=table, options={"cost": "latency", "target": 480.0, "targets": "sum"})
    assert 0.97 * 480 <= found.cost <= 480


def test_random_search_compares_by_the_same_number(tmp_path: Path) -> None:
    folder = built(tmp_path, method="random")
    table = filled(folder, tmp_path / "t.db")
    with job_of(folder) as job:
        found = run(job, tmp_path / "run", table=table, options={"cost": "latency", "alpha": 40})
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    by_name = {row["name"]: row["us"] for row in found.details["targets"]}
    assert found.cost == min(record["cost"] for record in records) and len(by_name) == 2
    assert (by_name["near"], by_name["far"]) in [pytest.approx(latencies(*member)) for member in MEMBERS]


@pytest.mark.parametrize("options", [{"checkpoint_activations": True}, {"channels_last": "on"}])
def test_random_search_has_no_supernet_to_save_memory_of(options: dict[str, Any], tmp_path: Path) -> None:
    with job_of(built(tmp_path, method="random")) as job, pytest.raises(NascError, match="has no SuperNet"):
        run(job, tmp_path / "run", **options)


# ------------------------------------------------------------------------------------------------ whose latencies


def test_latencies_of_another_target_are_not_taken(tmp_path: Path) -> None:
    folder = built(tmp_path)
    filled(folder, tmp_path / "t.db")
    with LatencyTable(tmp_path / "t.db", readonly=True) as table:
        far = Target(name="far", engine="analytic", batch=8)
        assert table_environment(table, far) == environment("analytic", 8)
        for other in (far.model_copy(update=u) for u in ({"batch": 4}, {"precision": "fp16"}, {"engine": "torch"})):
            with pytest.raises(NascError, match="no latencies for the target `far`"):
                table_environment(table, other, alone=False)


def test_the_newest_way_of_timing_counts(tmp_path: Path) -> None:
    row = Measurement(status="ok", median=1.0, samples=1)
    with LatencyTable(tmp_path / "t.db") as table:
        for protocol in (1, 3, 2):
            table.put("key", (), environment("onnxruntime", 1, protocol), row)
        assert table_environment(table, Target()).protocol_version == 3
        table.put("key", (), environment("onnxruntime", 8, 9), row)
        assert table_environment(table, Target()).protocol_version == 3
        with pytest.raises(NascError, match="latencies of 2 environments"):
            table_environment(table)


def test_devices_are_told_by_kind_or_by_name() -> None:
    gpu = MACHINE.model_copy(update={"kind": "cuda", "model": "NVIDIA H200"})
    assert gpu.is_called(None) and gpu.is_called("cuda") and gpu.is_called("cuda:1") and gpu.is_called("h200")
    assert not gpu.is_called("cpu") and not gpu.is_called("V100") and MACHINE.is_called("cpu")


# ------------------------------------------------------------------------------------------------ profiling

CEILINGS = {
    "schema": "nasc.roofline/1", "device": "Made Up 100", "source": "a test", "gigamacs": {"fp32": 10},
    "gigabytes": 5, "launch_us": 2,
}  # fmt: skip
FORMULAS = """target small { engine analytic  device "made up" }
target large { engine analytic  batch 8  size 16 }
target other { engine analytic  batch 2  device "V100" }
"""


def nasc(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def formulas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, list[object]]:
    """A compiled folder with three targets by formula, a table, and a command that profiles them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = SPACE[: SPACE.index("target")] + FORMULAS + "search prunet { epochs 6 }\n"
    folder, table = built(tmp_path, text), tmp_path / "latency.db"
    (tmp_path / "ceilings.json").write_text(json.dumps(CEILINGS))
    return folder, table, ["profile", folder, "--table", table, "--ceilings", tmp_path / "ceilings.json"]


def test_every_target_is_profiled_with_its_batch_and_size(formulas: tuple[Path, Path, list[object]]) -> None:
    folder, table, profile = formulas
    code, out, err = nasc(*profile, "--validate", 3)
    assert code == 0, err
    points = 2 + 2 + 3
    assert f"analytic: {points} points" in out and f"analytic, size 16: {points} points" in out
    assert out.count("+0.0% off (median; spread 0.0%)") == 2  # by formula the sum is the whole, at every size
    assert "target `other` is for the device `V100`, and this is Made Up 100" in err
    manifest, checked = load_manifest(folder), open_file(folder / "space.nas")
    large = next(target for target in manifest.targets if target.name == "large")
    network, other = network_of(space_of(checked)), network_of(space_of(resized(checked, 16)))
    assert other.input.spatial == (16, 16)
    with LatencyTable(table, readonly=True) as opened:
        assert len(opened) == 2 * points
        environment = table_environment(opened, large, alone=False)
        predicted = MemberLatency(network, manifest.at(16), opened, environment)
        only_small = {entry.key for entry in manifest.at(None).entries} - {e.key for e in manifest.at(16).entries}
        assert only_small and not any(opened.points(key, environment) for key in only_small)
        for member in sample_members(space_of(checked), 3, 0):
            assert predicted(member).us > 0


def test_one_target_is_profiled(formulas: tuple[Path, Path, list[object]]) -> None:
    _, table, profile = formulas
    code, out, _ = nasc(*profile, "--target", "large", "--format", "json")
    assert code == 0 and list(json.loads(out)) == ["analytic, size 16"]
    with LatencyTable(table, readonly=True) as opened:
        assert [each.batch for each in opened.environments()] == [8]
    for arguments, word in (
        (["--target", "larg"], "did you mean `large`?"),
        (["--target", "other"], "is for the device `V100`"),
        (["--target", "large", "--engine", "onnxruntime"], "has the engine `analytic`"),
    ):
        code, _, err = nasc(*profile, *arguments)
        assert code != 0 and word in err


def test_a_size_that_changes_the_choices_is_refused(tmp_path: Path) -> None:
    """At 1 x 1 a stride changes nothing, so that a layer may be dropped."""
    text = SPACE.replace("limit_ms 3", "size 1").replace("stage wide  irb  ", "stage wide  irb x 2")
    text = text.replace("output  classes 10", "output  classes 10\n  skip same_shape")
    text = text.replace("{ kernel 3  hidden 8", "{ kernel 3  stride 2  hidden 8")
    network_of(space_of(open_file("<text>", text)))
    with pytest.raises(NascError, match="target `near` cannot have `size 1`: the space has other choices"):
        (tmp_path / "space.nas").write_text(text)
        compile_file(tmp_path / "space.nas", tmp_path / "build", method="prunet")


@pytest.mark.parametrize("engine", ["onnxruntime-cuda", "torch-compile"])
def test_a_name_with_a_dash_wants_quotes(engine: str, tmp_path: Path) -> None:
    """Exercises: command check."""
    (tmp_path / "space.nas").write_text(SPACE.replace("engine analytic", f"engine {engine}"))
    code, out, err = nasc("check", tmp_path / "space.nas")
    assert code == 1 and "E0360" in out + err and "stands in quotes" in out + err
    (tmp_path / "space.nas").write_text(SPACE.replace("engine analytic", f'engine "{engine}"'))
    assert nasc("check", tmp_path / "space.nas")[0] == 0


def test_a_table_says_its_calibration_in_words(formulas: tuple[Path, Path, list[object]]) -> None:
    """Exercises: command table."""
    _, table, profile = formulas
    assert nasc(*profile, "--validate", 3, "--target", "small")[0] == 0
    code, out, _ = nasc("table", "show", table)
    assert code == 0 and "1.000 x block" in out and "by 3 networks" in out and "{" not in out
    assert max(map(len, out.splitlines())) <= 80


# ------------------------------------------------------------------------------------------------ less measured


def test_a_search_takes_what_a_budget_estimated(formulas: tuple[Path, Path, list[object]], tmp_path: Path) -> None:
    folder, table, profile = formulas
    code, out, err = nasc(*profile, "--budget", "5", "--target", "small")
    assert code == 0, err
    with LatencyTable(table, readonly=True) as opened:
        (environment,) = opened.environments()
        estimated = sum(len(opened.estimates(e.key, environment)) for e in load_manifest(folder).entries)
    assert estimated and f"{estimated} of those left were estimated" in out
    with job_of(folder) as job:
        found = run(
            job, tmp_path / "run", table=table,
            options={"cost": "latency", "targets": "small", "epochs": 2, "warmup": 0, "batch": 32},
        )  # fmt: skip
    assert found.best is not None and found.cost > 0
