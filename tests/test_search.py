"""PruNet's search: generated SuperNets, what it decides, that it survives a kill, and what it says to mistakes.

`NASC_UPDATE_GOLDENS=1` writes the golden anew.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from nasc.compiler.compile import compile_file
from nasc.compiler.contains import contains
from nasc.compiler.cost import cost_of
from nasc.compiler.lower_supernet import supernet_source
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.relax import relax, require_threshold
from nasc.compiler.methods.sections import read_section
from nasc.compiler.network import network_of
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, NascError
from nasc.dsl.parser import parse
from nasc.runtime import checkpoint
from nasc.runtime.costs import formula_costs, table_costs
from nasc.runtime.data import load_data
from nasc.runtime.data_loader import loader
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.measurement import Measurement
from nasc.runtime.methods.prunet import Prunet
from nasc.runtime.metrics import read_metrics
from nasc.runtime.progress import SilentProgress
from nasc.runtime.recalibrate import recalibrate
from nasc.runtime.search import Job, Settings, main
from nasc.runtime.search_job import options_of, read_space, search
from nasc.runtime.search_run import SearchRun
from nasc.runtime.supernet import StochasticLayer, stochastic_layers
from nasc.runtime.table import LatencyTable
from tests import searches
from tests.searches import Killer, Stop, job_of
from tests.spaces import ROOT, in_space, space_of
from tests.tiny_blocks import MACHINE

GOLDEN = Path(__file__).parent / "golden" / "supernet_tiny.py"

TINY = """nas 1
space tiny {
  input       image 1 x 8 x 8
  output      classes 10
  granularity 8
  skip        same_shape

  stage stem  conv      { kernel 3  stride 2 }                                -> 8
  stage low   irb  x 3  { kernel {3, 5}  expand (1, 4]  se {0, 1} }           -> 8
  stage mid   fused_irb { kernel 3  stride 2  hidden 8 .. 24 step 8 }         -> 16
  stage last  one of { conv { kernel 1 }  fused_irb { kernel 3  hidden 16 } } -> 16
  head        global_pool | linear
}
search prunet {
  epochs 6  warmup 2  batch 32  alpha 0.3  cost macs  threshold 0.15 .. 0.55
  weights rmsprop { rate 0.003 }
}
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("space") / "tiny.nas"
    source.write_text(TINY)
    out = source.parent / "build"
    compile_file(source, out)
    return out


@pytest.fixture(scope="module")
def job(folder: Path) -> Iterator[Job]:
    with job_of(folder) as found:
        yield found


def run(job: Job, out: Path, **more: Any) -> Any:
    changes = {"batch": 64, "epochs": 4, "warmup": 1, **more.pop("options", {})}
    settings = Settings(data="synthetic:128", out=out, threads=1, **more)
    return search(job, options_of(job, changes), settings, SilentProgress())


# ------------------------------------------------------------------------------------------------ generated code


def test_golden_supernet(folder: Path) -> None:
    source = (folder / "supernet.py").read_text()
    if os.environ.get("NASC_UPDATE_GOLDENS"):
        GOLDEN.write_text(source)
    assert source == GOLDEN.read_text()
    names: dict[str, Any] = {"__name__": "golden"}
    exec(compile(GOLDEN.read_text(), "golden", "exec"), names)
    supernet = names["Tiny"]()
    assert supernet(torch.randn(2, *names["INPUT_SHAPE"])).shape == (2, names["CLASSES"])
    assert list(stochastic_layers(supernet)) == ["low.1", "low.2", "low.3", "mid.1", "last.1"]


@pytest.mark.parametrize("name", ["gpunet1", "prunet_table5", "fbnet_paper", "digits"])
def test_shipped_spaces_have_a_supernet(name: str) -> None:
    """Every candidate is there, in valid Python that a formatter need not touch."""
    network = network_of(space_of(ROOT / "spaces" / f"{name}.nas"))
    layers = relax(network)
    source = supernet_source(network, layers, find_method("prunet"))
    assert source == supernet_source(network, layers, find_method("prunet"))
    ast.parse(source)
    assert max(map(len, source.splitlines())) <= 120
    assert sum(len(layer.candidates) for layer in layers) >= sum(
        len(layer.variants) for stage in network.stages for layer in stage.layers
    )


def test_the_found_networks_cost_is_what_the_search_said(job: Job, tmp_path: Path) -> None:
    """The found file, costed anew by the compiler, against the sum of the candidates' formulas."""
    result = run(job, tmp_path / "run")
    found = cost_of(space_of(result.best))
    assert found.macs.min == found.macs.max == result.cost


# ------------------------------------------------------------------------------------------------ the search


def test_a_search_ends_in_a_member_of_its_space(job: Job, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run(job, out)
    assert contains(space_of(job.folder / "space.nas"), space_of(result.best)).yes
    records = read_metrics(out / "metrics.jsonl")
    assert [record["phase"] for record in records] == ["warm-up"] + ["search"] * 3
    left = [record["candidates"] for record in records]
    assert left[0] == 15 and left == sorted(left, reverse=True)
    saved = json.loads((out / "result.json").read_text())
    assert saved["cost"]["found"] == result.cost and saved["cost"]["unit"] == "MACs"
    assert set(saved["choices"]) == {"stem.1", "low.1", "low.2", "low.3", "mid.1", "last.1", "head"}


@pytest.mark.parametrize("step", [4, 7])
def test_a_killed_search_goes_on_to_the_same_end(job: Job, tmp_path: Path, step: int) -> None:
    whole = run(job, tmp_path / "whole")
    settings = Settings(data="synthetic:128", out=tmp_path / "killed", threads=1)
    options = options_of(job, {"batch": 64, "epochs": 4, "warmup": 1})
    with pytest.raises(Stop):
        search(job, options, settings, Killer(step))
    with pytest.raises(NascError, match="already holds a search"):
        search(job, options, settings, SilentProgress())
    resumed = run(job, tmp_path / "killed", resume=True)
    assert (resumed.details, resumed.loss, resumed.accuracy) == (whole.details, whole.loss, whole.accuracy)
    records = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "killed")]
    for record in (*records[0], *records[1]):
        record.pop("seconds")
    assert records[0] == records[1]


def test_a_run_is_resumed_with_its_own_settings_only(job: Job, tmp_path: Path) -> None:
    run(job, tmp_path / "run")
    with pytest.raises(NascError, match=r"other settings: alpha 0\.3"):
        run(job, tmp_path / "run", options={"alpha": 0.9}, resume=True)


def begun(job: Job) -> SearchRun:
    """A search before its first step."""
    method = prunet(job, epochs=3, warmup=1, batch=64)
    data = load_data("synthetic:128", input_shape=(1, 8, 8), classes=10)
    return SearchRun(method, data, method.options, torch.device("cpu"), SilentProgress(), Settings(data="x", steps=1))


@pytest.fixture(scope="module")
def stood(job: Job) -> dict[str, Any]:
    """What a search leaves after two epochs of three."""
    torch.set_num_threads(1)
    search_run = begun(job)
    for _ in range(2):
        search_run.run_epoch()
    return search_run.state({})


CHANGES: dict[tuple[Any, ...], list[Any]] = {
    ("epoch",): [-1, 4, float("inf"), "x", None],
    ("seconds",): [float("nan"), float("inf"), -1, "x"],
    ("last",): [[], 3],
    ("last", "loss"): ["x", []],
    ("run",): [None, []],
    ("run", "tau"): [torch.zeros(3), [torch.zeros(3)], 2.0],
    ("run", "weights", "rate"): [torch.zeros(3)],
    ("method",): [[], {}, "x"],
    ("method", "alive", "low.1"): [[float("inf")], [99], [], [5]],
    ("method", "masks"): [[], {}],
    ("weights_optimizer", "state", 3): [[], {}],
    ("weights_optimizer", "state", 3, "square_avg"): [torch.zeros(7, 7), "x", 1.0, None],
    ("architecture_optimizer", "state", 0, "exp_avg"): [torch.zeros(99)],
    ("architecture_optimizer", "param_groups"): [[], "x"],
}


def changed(value: Any, path: tuple[Any, ...], put: Any) -> Any:
    return {**value, path[0]: changed(value[path[0]], path[1:], put)} if path else put


@pytest.mark.parametrize("path", CHANGES, ids=lambda path: ".".join(map(str, path)))
def test_a_checkpoint_from_elsewhere_is_refused(
    job: Job, stood: dict[str, Any], tmp_path: Path, path: tuple[Any, ...]
) -> None:
    for put in CHANGES[path]:
        checkpoint.save(tmp_path / "checkpoint.pt", changed(stood, path, put), "search", 2)
        with pytest.raises(NascError, match=r"checkpoint|other settings"):
            begun(job).restore(tmp_path / "checkpoint.pt", {})


def test_a_checkpoint_states_no_constants_of_optimisers(job: Job, stood: dict[str, Any], tmp_path: Path) -> None:
    (group,) = stood["weights_optimizer"]["param_groups"]
    put = [{**group, "eps": "x", "alpha": 7.0, "centered": True}]
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, changed(stood, ("weights_optimizer", "param_groups"), put), "search", 2)
    search_run = begun(job)
    search_run.restore(path, {})
    search_run.run_epoch()
    after = search_run.optimizers[False].param_groups[0]
    assert (after["alpha"], after["eps"], after["centered"]) == (0.9, 1e-3, False)


def test_a_run_goes_on_in_another_precision(job: Job, stood: dict[str, Any], tmp_path: Path) -> None:
    """Single precision scales no gradients, so its checkpoint has no scale."""
    checkpoint.save(tmp_path / "checkpoint.pt", stood, "search", 2)
    search_run = begun(job)
    search_run.scaler = torch.amp.GradScaler("cpu", enabled=True)
    search_run.restore(tmp_path / "checkpoint.pt", {})
    assert search_run.epoch == 2


def prunet(job: Job, **changes: Any) -> Prunet:
    assert job.supernet is not None
    layers = relax(read_space(job).network)
    return Prunet(job.supernet(), layers, formula_costs(layers, "macs"), options_of(job, changes))


def set_theta(layer: StochasticLayer, values: list[float]) -> None:
    with torch.no_grad():
        layer.theta[: len(values)] = torch.tensor(values)


def test_blocks_below_the_threshold_go_weakest_first(job: Job) -> None:
    method = prunet(job, epochs=10, warmup=2)
    layer = method.layers["low.1"]
    set_theta(layer, [0.40, 0.20, 0.17, 0.23])
    method.end_epoch(3)  # threshold 0.2; all are at about 1/4
    assert layer.alive == [0, 1, 2, 3]
    set_theta(layer, [2.0, 0.5, 0.0, 0.2])  # 0.66, 0.15, 0.09, 0.11
    method.end_epoch(3)
    # Without 2 and 3 the second has 0.18, still below 0.2; but then it is the last but one, and the skip replaces it.
    assert layer.alive == [0, 4] and layer.probabilities()[4] == 0.5
    set_theta(layer, [2.0, 0.0, 0.0, 0.0, -1.0])
    method.end_epoch(4)
    assert layer.alive == [0]


def test_a_layer_that_changes_shape_gets_no_skip(job: Job) -> None:
    method = prunet(job, epochs=10, warmup=2)
    layer = method.layers["last.1"]
    assert layer.skippable and layer.count == 2
    mid = method.layers["mid.1"]
    method.begin()
    assert not mid.skippable and not mid.skip and mid.alive == [0]


def test_every_layer_is_decided_by_the_last_threshold(job: Job) -> None:
    method = prunet(job, epochs=10, warmup=2)
    for layer in method.layers.values():
        set_theta(layer, [1.0] * (layer.count + 1))
    for epoch in range(3, 11):
        method.end_epoch(epoch)
    assert all(len(layer.alive) <= 2 for layer in method.layers.values())
    assert all(choice is not None for choice in method.choices().values())  # even: the block stays


def test_the_cost_of_a_forward_pass_is_eq_5(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    method = prunet(job)
    shares = {4: [0.1, 0.2, 0.3, 0.4], 2: [0.25, 0.75]}
    monkeypatch.setattr("nasc.runtime.supernet.gumbel_softmax", lambda theta, tau: torch.tensor(shares[len(theta)]))
    method.supernet(torch.randn(2, 1, 8, 8))
    expected = method.costs.fixed
    for address, layer in method.layers.items():
        coefficients = shares[layer.count] if layer.count > 1 else [1.0]
        for number, share in enumerate(coefficients):
            prices = method.costs.blocks[address, number]
            node = layer.prunodes().get(number)
            price = prices[0] if node is None else 0.25 * prices[node.small] + 0.75 * prices[node.large]
            expected += share * price
    assert method.cost().item() == pytest.approx(expected, rel=1e-5)


def test_architecture_weights_feel_the_cost(job: Job) -> None:
    """With nothing but the cost, probabilities move to the cheapest candidate and masks to the smallest width."""
    method = prunet(job, alpha=10.0)
    for _ in range(3):
        method.supernet(torch.randn(2, 1, 8, 8))
        method.loss(torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    for address, layer in method.layers.items():
        for number, node in layer.prunodes().items():
            assert node.theta.grad is not None and node.theta.grad > 0, (address, number)
    cheap, dear = (method.layers["last.1"].theta.grad[i].item() for i in (0, 1))  # type: ignore[index]
    assert cheap < dear


def test_warm_up_leaves_architecture_and_masks_alone(job: Job) -> None:
    method = prunet(job, epochs=4, warmup=1, batch=64)
    data = load_data("synthetic:128", input_shape=(1, 8, 8), classes=10)
    search_run = SearchRun(method, data, method.options, torch.device("cpu"), SilentProgress(), Settings(data="x"))
    before = [parameter.clone() for parameter in method.architecture()]
    masks = method.describe(1)["masks"]
    weights = method.weights()[0].clone()
    search_run.run_epoch()
    assert all(map(torch.equal, before, method.architecture())) and method.describe(1)["masks"] == masks
    assert not torch.equal(weights, method.weights()[0])
    search_run.run_epoch()
    assert not all(map(torch.equal, before, method.architecture()))


def test_removed_weights_leave_the_optimizer(job: Job) -> None:
    method = prunet(job, epochs=4, warmup=0, batch=64)
    data = load_data("synthetic:128", input_shape=(1, 8, 8), classes=10)
    search_run = SearchRun(
        method, data, method.options, torch.device("cpu"), SilentProgress(), Settings(data="x", steps=1)
    )
    for layer in method.layers.values():
        set_theta(layer, [9.0] + [0.0] * layer.count)
    search_run.run_epoch()
    for architecture, own in ((False, method.weights()), (True, method.architecture())):
        held = [p for group in search_run.optimizers[architecture].param_groups for p in group["params"]]
        assert {id(p) for p in held} == {id(p) for p in own}
        assert {id(p) for p in search_run.optimizers[architecture].state} <= {id(p) for p in own}


# ------------------------------------------------------------------------------------------------ latency


def filled_table(job: Job, path: Path) -> Any:
    """A table in which each point's latency is 10 µs for the call and 1 µs a channel."""
    from nasc.runtime.device import Environment

    environment = Environment(
        device=MACHINE, engine="pretended", engine_version="1", precision="fp32", batch=1, threads=1,
        timing_mode="plain", protocol_version=1,
    )  # fmt: skip
    with LatencyTable(path) as table:
        for entry in load_manifest(job.folder).entries:
            for value in entry.widths[0].domain if entry.widths else (0,):
                row = Measurement(status="ok", median=10.0 + float(value), identity=10.0, mad=0.1, samples=9)
                table.put(entry.key, (value,) if entry.widths else (), environment, row)
    return environment


def test_latencies_come_from_the_table(job: Job, tmp_path: Path) -> None:
    environment = filled_table(job, tmp_path / "latency.db")
    layers = relax(read_space(job).network)
    with LatencyTable(tmp_path / "latency.db", readonly=True) as table:
        costs = table_costs(layers, load_manifest(job.folder), table, environment)
    assert costs.fixed == 10.0
    assert costs.blocks["mid.1", 0] == {8: 8.0, 16: 16.0, 24: 24.0}
    result = run(job, tmp_path / "run", table=tmp_path / "latency.db", options={"cost": "latency"})
    widths = [w for choice in result.details["choices"].values() if choice for w in choice["values"].values()]
    assert result.unit == "µs" and result.cost == 10.0 + sum(widths)


def test_a_run_is_not_resumed_with_other_latencies(job: Job, tmp_path: Path) -> None:
    """A table measured anew would make another search of it, half way."""
    table, environment = tmp_path / "latency.db", filled_table(job, tmp_path / "latency.db")
    run(job, tmp_path / "run", table=table, options={"cost": "latency"})
    run(job, tmp_path / "run", table=table, options={"cost": "latency"}, resume=True)
    entry = next(e for e in load_manifest(job.folder).entries if e.widths)
    with LatencyTable(table) as latencies:
        row = Measurement(status="ok", median=99.0, identity=10.0, mad=0.1, samples=9)
        latencies.put(entry.key, (entry.widths[0].domain.last,), environment, row)
    with pytest.raises(NascError, match="other settings: costs"):
        run(job, tmp_path / "run", table=table, options={"cost": "latency"}, resume=True)


def test_statistics_do_not_depend_on_dropout() -> None:
    """Else a search that is killed after its last step would end in another network."""
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3))
    images = torch.randn(64, 3)
    recalibrate(model, loader(TensorDataset(images, torch.zeros(64)), 32, False), torch.device("cpu"))
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None
    assert torch.allclose(norm.running_mean, images.mean(0), atol=1e-6) and model.training


def test_missing_latencies_name_the_command(job: Job, tmp_path: Path) -> None:
    environment = filled_table(job, tmp_path / "full.db")
    entry = next(e for e in load_manifest(job.folder).entries if e.widths)
    failed = Measurement.failure("crash", "x")
    with LatencyTable(tmp_path / "full.db") as table:
        table.put(entry.key, (entry.widths[0].domain.last,), environment, failed)
    with pytest.raises(NascError, match="are missing") as caught:
        run(job, tmp_path / "run", table=tmp_path / "full.db", options={"cost": "latency"})
    assert "nasc profile DIR --table" in (caught.value.help or "")
    with pytest.raises(NascError, match="needs a latency table"):
        run(job, tmp_path / "run", options={"cost": "latency"})


# ------------------------------------------------------------------------------------------------ mistakes


REFUSED = {
    "a stage's width": (" stage s conv { kernel 3 } -> 8 .. 16 step 8", "shared"),
    "a depth": (" stage s conv x 1 .. 3 { kernel 3 } -> 8", "number of its layers"),
    "two widths": (" stage s mbv3 { kernel 3  hidden 8 .. 16 step 8  dw 8 .. 16 step 8 } -> 8", "2 ranges"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_prunet_cannot_relax_names_its_place(name: str) -> None:
    stage, words = REFUSED[name]
    with pytest.raises(NascError, match=words) as caught:
        relax(network_of(space_of(in_space(f"{stage}\n head global_pool | linear"))))
    assert "`s" in str(caught.value)


def test_a_first_threshold_above_one_part_in_n() -> None:
    layers = relax(network_of(space_of(TINY)))
    require_threshold(layers, 0.25)
    with pytest.raises(NascError, match=r"`low\.1` has 4 candidates"):
        require_threshold(layers, 0.26)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("search prunet { epochs 9  alpha {1, 2}  lambda 0.4  threshold 0.1 .. 0.6  architecture adam }", []),
        ("search prunet { epoch 9 }", ["E0361"]),
        ("search prunet { epochs 0 }", ["E0360"]),
        ("search prunet { threshold 0.1 .. 0.4 }", ["E0360"]),
        ("search prunet { threshold 0.133 }", []),
        ("search prunet { threshold 1 }", ["E0360"]),
        ("search prunet { targets worst }", []),
        ('target here { engine "onnxruntime-cuda"  device "V100"  size 160  weight 2  limit_ms 0.7 }', []),
        ("target here { weight 0  limit_ms 0  size 0 }", ["E0360"] * 3),
        ("search prunet { weights rmsprop { speed 1 } }", ["E0361"]),
        ("search prunet { alpha 1 + 1 }", ["E0360"]),
        ("search pruned { }", ["E0362"]),
        ("search nss { temperature 5 .. 0.001  flops 400e6 }", []),
        ("target here { engine onnx }", ["E0362"]),
        ("target here { batch 0  precision fp7 }", ["E0360", "E0360"]),
    ],
)
def test_sections(text: str, codes: list[str]) -> None:
    file, _ = parse(f"nas 1\n{text}\n", "test.nas")
    (section,) = file.items
    assert isinstance(section, syntax.Section)
    diagnostics = Diagnostics()
    options = read_section(section, diagnostics)
    assert [d.code for d in diagnostics.found] == codes and (options is None) == bool(codes)
    assert all(d.span is not None for d in diagnostics.found)


def test_printed_constants_are_the_defaults() -> None:
    options = PrunetOptions()
    printed = (options.epochs, options.warmup, options.beta, options.phi, options.split, options.momentum)
    assert printed == (200, 70, 0.6, 1.1, 0.8, 0.4)
    assert (options.c, options.max_distance, options.small, options.large) == (0.8, 0.6, 0.5, 1.0)
    assert (options.threshold.first, options.threshold.last) == (0.15, 0.55)
    assert (options.weights.rate, options.weights.decay, options.architecture.rate) == (0.002, 1e-5, 0.1)
    assert PrunetOptions(epochs=20).warmup == 7


def test_a_loss_that_is_not_finite_keeps_the_last_epoch(job: Job, tmp_path: Path) -> None:
    with pytest.raises(NascError, match=r"the loss became (nan|inf)") as caught:
        run(job, tmp_path / "run", options={"weights": {"kind": "sgd", "rate": 1e30}})
    assert "lower the rate" in (caught.value.help or "")


def test_a_random_search_with_too_many_members(tmp_path: Path) -> None:
    with searches.compiled(searches.WIDE, tmp_path / "space", "random") as job:
        trial = {"out": tmp_path / "run", "options": {"samples": 1, "epochs": 1}}
        searches.run(job, **trial)
        path = tmp_path / "run" / "checkpoint.pt"
        state = checkpoint.load(path, "search", 2)
        for members in (state["members"] * 2, [{**state["members"][0], "seed": 1}], [3], None):
            checkpoint.save(path, {**state, "members": members}, "search", 2)
            with pytest.raises(NascError, match="is not one of this search"):
                searches.run(job, **trial, resume=True)


def test_files_of_another_space(job: Job, tmp_path: Path) -> None:
    (tmp_path / "space.json").write_text("{}")
    for text in ("{}", "[" * 5000):
        (tmp_path / "space.json").write_text(text)
        with pytest.raises(NascError, match="is not a compiled space"):
            read_space(Job(**{**vars(job), "folder": tmp_path}))
    (tmp_path / "space.json").write_bytes((job.folder / "space.json").read_bytes())
    with pytest.raises(NascError, match="not of the same space"):
        read_space(Job(**{**vars(job), "folder": tmp_path, "space_hash": "other"}))


# ------------------------------------------------------------------------------------------------ command line


def test_without_arguments_it_prints_commands(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(job, [])
    assert caught.value.code == 0
    assert "search.py --data synthetic --cost macs --steps 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cost", "macs"], "--data"),
        (["--data", "synthetic", "--cost", "macs"], "--out"),
        (["--data", "nowhere", "--cost", "macs", "--steps", "1"], "unknown data"),
        (["--data", "synthetic", "--epochs", "3", "--warmup", "3", "--out", "x"], "warmup must be below"),
    ],
)
def test_mistakes_at_the_command_line(
    job: Job, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(job, arguments)
    assert caught.value.code in (1, 2)
    assert words in capsys.readouterr().err


def test_one_step_runs_as_a_program(folder: Path, tmp_path: Path) -> None:
    program = [sys.executable, str(folder / "search.py"), "--data", "synthetic", "--cost", "macs", "--steps", "1"]
    done = subprocess.run([*program, "--threads", "1"], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("found: ") and "epoch 1/1" in done.stderr
    assert list(tmp_path.iterdir()) == []
