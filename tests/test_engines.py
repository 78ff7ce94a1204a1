"""Engines beside ONNX Runtime: what they compute, what they measure here, and what they say where they cannot run."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.cli import main
from nasc.compiler.fold import without_norms
from nasc.compiler.ir import Graph, Node
from nasc.compiler.lower_block import block_source
from nasc.compiler.lower_onnx import block_onnx
from nasc.compiler.manifest import Target
from nasc.compiler.methods.others import EngineName
from nasc.compiler.specialise import specialise
from nasc.dsl.diagnostics import NascError
from nasc.runtime.engines import ENGINES, Engine, TimingOptions, load_engine, make_engine
from nasc.runtime.engines.analytic import Analytic, kernels, latency_us
from nasc.runtime.engines.base import form_of
from nasc.runtime.engines.cpu_timing import Bound, TooSlow, measure_on_cpu, timed_once
from nasc.runtime.engines.openvino_engine import OpenVino
from nasc.runtime.engines.roofline import Roofline, load_roofline, measure_roofline, store_roofline
from nasc.runtime.engines.torch_block import block_inputs, block_module
from nasc.runtime.engines.torch_engine import TorchCompile, TorchCudaGraph, TorchEager, time_limit
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.table import LatencyTable
from tests.graphs import GraphMaker, chained, image
from tests.spaces import ROOT
from tests.test_lower_onnx import run as run_onnx
from tests.tiny_blocks import conv_relu

QUICK = TimingOptions(batch_us=500, max_rounds=10)
CEILINGS = Roofline(
    device="a device", source="made up", gigamacs={"fp32": 100.0, "fp16": 200.0}, gigabytes=10, launch_us=2
)


def model_of(engine: Engine, graph: Graph) -> bytes:
    if form_of(engine) == "graph":
        return graph.model_dump_json().encode()
    return bytes(block_onnx(graph).SerializeToString())


def irb(hidden: int, channels: int = 16, side: int = 16) -> Graph:
    """An inverted residual: two normalisations are merged into convolutions, the third too."""
    make = GraphMaker(input=image(channels, side))
    grown = make.add("relu", make.add("bn", make.add("conv2d", "in", to=hidden, kernel=1)))
    deep = make.add("relu", make.add("bn", make.add("conv2d", grown, to=hidden, kernel=3, groups=hidden)))
    return make.graph(make.add("add", make.add("bn", make.add("conv2d", deep, to=channels, kernel=1)), "in"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("digits")
    assert CliRunner().invoke(main, ["compile", str(ROOT / "spaces" / "digits.nas"), "-o", str(built)]).exit_code == 0
    return built


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# ------------------------------------------------------------------------------------------------- from end to end


def profiled(digits: Path, folder: Path, name: str, *options: str, limit: int = 3) -> None:
    """`limit` blocks of digits through `nasc profile` into a table: each has a latency, and nothing is done twice."""
    table = folder / "latency.db"
    command = ["profile", str(digits), "--engine", name, "--table", str(table), "--limit", str(limit), *options]
    done = CliRunner().invoke(main, [*command, "--format", "json"])
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)[name]
    assert (report["measured"], report["failures"]) == (limit, [])
    entries = load_manifest(digits).entries
    given = Path(options[1]) if options else None
    environment = load_engine(ENGINES[name], TimingOptions(ceilings=given)).environment(Target(engine=name))
    with LatencyTable(table, readonly=True) as opened:
        rows = [row for entry in entries for row in opened.points(entry.key, environment).values()]
    assert len(rows) == limit
    assert all(row.status == "ok" and row.median and row.effective_precision == "fp32" for row in rows)


@pytest.mark.skipif(OpenVino().available() is not None, reason="openvino is not installed")
def test_openvino_measures_blocks_of_digits(digits: Path, tmp_path: Path) -> None:
    """Exercises: engine openvino."""
    profiled(digits, tmp_path, "openvino")


def test_torch_measures_blocks_of_digits(digits: Path, tmp_path: Path) -> None:
    """Exercises: engine torch."""
    profiled(digits, tmp_path, "torch")


@pytest.mark.slow
@pytest.mark.skipif(TorchCompile().available() is not None, reason="torch.compile cannot run here")
def test_torch_compile_measures_blocks_of_digits(digits: Path, tmp_path: Path) -> None:
    """Exercises: engine torch-compile."""
    profiled(digits, tmp_path, "torch-compile", limit=2)


def test_ceilings_are_measured_and_latencies_computed_from_them(digits: Path, tmp_path: Path) -> None:
    """Exercises: engine analytic."""
    with pytest.raises(NascError, match="`nasc engines --measure-ceilings` measures this machine's"):
        make_engine("analytic")
    shown = CliRunner().invoke(main, ["engines", "--measure-ceilings", "--format", "json"])
    assert shown.exit_code == 0, shown.stderr
    assert "GMAC/s in fp32" in shown.stderr
    here = {row["engine"]: row for row in json.loads(shown.stdout)}
    assert here["analytic"] == {"engine": "analytic", "available": True, "reason": None}
    profiled(digits, tmp_path, "analytic")
    other = tmp_path / "other.json"
    store_roofline(CEILINGS, other)
    profiled(digits, tmp_path, "analytic", "--ceilings", str(other))
    with LatencyTable(tmp_path / "latency.db", readonly=True) as table:
        assert len(table) == 6, "other ceilings are another environment"


NO_OPENVINO = pytest.mark.skipif(OpenVino().available() is not None, reason="openvino is not installed")
RUN_HERE = [pytest.param("openvino", marks=NO_OPENVINO), "torch", "analytic"]


@pytest.mark.parametrize("name", RUN_HERE)
def test_blocks_are_ranked_as_onnx_runtime_ranks_them(name: str, tmp_path: Path) -> None:
    store_roofline(CEILINGS, tmp_path / "c.json")
    graphs = [irb(512), irb(8), irb(64)]
    medians = {}
    for engine in (
        make_engine(n, QUICK.model_copy(update={"ceilings": tmp_path / "c.json"})) for n in ("onnxruntime", name)
    ):
        rows = engine.measure([model_of(engine, g) for g in graphs], engine.environment(Target()), None).measurements
        assert [row.status for row in rows] == ["ok"] * 3, rows
        medians[engine.name] = [row.median or 0 for row in rows]
        assert all((row.identity or 0) < (row.median or 0) for row in rows)
    assert np.argsort(medians["onnxruntime"]).tolist() == np.argsort(medians[name]).tolist() == [1, 2, 0]


@pytest.mark.parametrize("name", RUN_HERE)
def test_what_cannot_run_says_why_beside_what_can(name: str, tmp_path: Path) -> None:
    store_roofline(CEILINGS, tmp_path / "c.json")
    engine = make_engine(name, QUICK.model_copy(update={"ceilings": tmp_path / "c.json"}))
    fine = model_of(engine, irb(8))
    first, *others = irb(8).nodes
    nodes = (first.model_copy(update={"inputs": ("nowhere",)}), *others)
    nonsense = irb(8).model_copy(update={"nodes": nodes}).model_dump_json().encode()
    rows = engine.measure([b"junk", fine, nonsense, b""], engine.environment(Target()), None).measurements
    assert [row.status for row in rows] == ["build_failed", "ok", "build_failed", "build_failed"]
    assert all(row.error for row in rows if row.status != "ok")


# ------------------------------------------------------------------------------------------------- what can run


def test_a_target_may_name_every_engine_there_is() -> None:
    assert set(get_args(EngineName)) == set(ENGINES)


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_cannot_run_here_says_why(name: str) -> None:
    engine = load_engine(ENGINES[name])
    assert engine.name == name
    reason = engine.available()
    if reason is not None:
        with pytest.raises(NascError) as caught:
            make_engine(name)
        assert caught.value.message == f"engine `{name}` cannot run here: {reason}"
        assert any(word in reason for word in ("install", "GPU", "PATH", "measures"))


def test_devices_and_precisions_that_are_not_served() -> None:
    with pytest.raises(NascError, match="`fp16`"):
        TorchEager().environment(Target(precision="fp16"))
    with pytest.raises(NascError, match="not on `tpu`"):
        TorchEager().environment(Target(device="tpu"))
    if not torch.cuda.is_available():
        with pytest.raises(NascError, match="finds no GPU here"):
            TorchEager().environment(Target(device="cuda:0"))
        with pytest.raises(NascError, match="finds no GPU here"):
            TorchCudaGraph().environment(Target(precision="bf16"))
    layouts = {TorchEager(channels_last=last).environment(Target()).env_id for last in (True, False)}
    assert len(layouts) == 2, "the layout of images belongs to the environment"


def test_torch_compile_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no C++ compiler `no-such-compiler`" in str(TorchCompile().available())


# ------------------------------------------------------------------------------------------------- PyTorch


def assert_torch_equals_onnx(graph: Graph) -> None:
    """The module of the torch engines gives what ONNX Runtime gives for the same weights."""
    folded, _ = without_norms(graph)
    inputs = block_inputs(graph, 2)
    expected = run_onnx(block_onnx(folded, batch=2, seed=0, fold=False), *(x.numpy() for x in inputs))
    with torch.inference_mode():
        found = block_module(graph)(*inputs).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-3 * max(1.0, np.abs(expected).max())


def test_every_block_of_digits_computes_what_its_onnx_model_does(digits: Path) -> None:
    entries = load_manifest(digits).entries
    assert len({entry.block for entry in entries}) >= 3
    for entry in entries:
        widest = {width.address: width.domain.last for width in entry.widths}
        assert_torch_equals_onnx(specialise(entry.graph, widest))


@settings(max_examples=25, deadline=None)
@given(graph=st.integers(0, 60).flatmap(lambda structure: chained(3, 6, structure)))
def test_any_block_computes_what_its_onnx_model_does(graph: Graph) -> None:
    assert_torch_equals_onnx(graph)


def test_blocks_with_several_inputs_and_of_a_single_operator() -> None:
    make = GraphMaker(input=image(4, 6), skip=image(4, 6), other=image(2, 6))
    assert_torch_equals_onnx(make.graph(make.add("concat", "in", "other", make.add("relu", "skip"))))
    for op, arguments in (("conv2d", {"to": 6, "kernel": 3, "bias": True}), ("bn", {}), ("relu", {})):
        make = GraphMaker(input=image(4, 6))
        assert_torch_equals_onnx(make.graph(make.add(op, "in", **arguments)))


def test_a_normalisation_is_merged_only_into_a_layer_that_nothing_else_reads() -> None:
    make = GraphMaker(input=image(4, 6))
    conv = make.add("conv2d", "in", to=4, kernel=3)
    twice = make.graph(make.add("add", make.add("bn", conv), conv))
    assert without_norms(twice) == (twice, {})
    assert_torch_equals_onnx(twice)
    folded, merged = without_norms(irb(8))
    assert merged == {"bn_1": "conv2d_1", "bn_2": "conv2d_2", "bn_3": "conv2d_3"}
    assert [node.op for node in folded.nodes] == ["conv2d", "relu", "conv2d", "relu", "conv2d", "add"]
    assert all(node.attributes["bias"] for node in folded.nodes if node.op == "conv2d")


EVIL = "1); import os; os.abort("


def test_text_in_a_graph_from_a_stranger_never_reaches_the_code() -> None:
    graph = irb(8)
    first = graph.nodes[0]
    for key in ("kernel", "padding", "bias", "groups", "dilation"):
        evil = first.model_copy(update={"attributes": {**first.attributes, key: EVIL}})
        with pytest.raises(NascError, match=f"the {key} of `conv2d` is not a number"):
            block_source(graph.model_copy(update={"nodes": (evil, *graph.nodes[1:])}))
    named = Node(name=EVIL, op="relu", inputs=(f"{EVIL}2",), output=image(4, 6))
    source = block_source(Graph(inputs={f"{EVIL}2": image(4, 6)}, nodes=(named,), output=EVIL))
    assert "os.abort" not in source
    with pytest.raises(NascError, match="cannot be compiled yet"):
        block_source(Graph(inputs={"in": image(4, 6)}, nodes=(named.model_copy(update={"op": EVIL}),), output=EVIL))


def test_a_build_is_stopped_when_its_time_is_over() -> None:
    before = signal.getsignal(signal.SIGALRM)
    began = time.monotonic()
    with pytest.raises(TooSlow, match=r"building takes longer than 0\.05 s"), time_limit(0.05):
        while time.monotonic() - began < 10:
            pass
    assert time.monotonic() - began < 5
    with time_limit(0.01):
        pass
    time.sleep(0.03)
    assert signal.getsignal(signal.SIGALRM) == before


def test_threads_and_modes_of_pytorch_are_as_they_were() -> None:
    threads = torch.get_num_threads()
    engine = TorchEager(QUICK)
    engine.measure([model_of(engine, conv_relu(4))], engine.environment(Target()), None)
    assert torch.get_num_threads() == threads and not torch.is_inference_mode_enabled()


def test_a_slow_start_does_not_shorten_the_batches() -> None:
    """The first runs of a model may be hundreds of times slower than those that count."""
    runs: dict[bytes, int] = {}

    def bind(model: bytes, precision: str) -> Bound:
        def run() -> None:
            runs[model] = runs.get(model, 0) + 1
            time.sleep(0.02 if model == b"late" and runs[model] <= 4 else 0.0)

        return Bound(run, lambda limit: timed_once(run, limit), precision)

    options = TimingOptions(batch_us=300, min_rounds=2, max_rounds=2, wall_over_cpu=100, canary_tolerance=100)
    measure_on_cpu([b"late", b"prompt"], "fp32", bind, (b"canary", b"identity"), options)
    assert runs[b"late"] > runs[b"prompt"] / 10, "as many as of one that was fast from the start"


# ------------------------------------------------------------------------------------------------- the formula


def test_the_roofline_of_a_block_by_hand() -> None:
    """8 x 8, 4 -> 16 -> 4 channels: two convolutions, each 3 x 3, with the activation computed along with the first."""
    graph = conv_relu(16)
    macs, weights = 9 * 4 * 16 * 64, 9 * 4 * 16
    moved = 64 * (4 + 16)
    assert [(k.macs, k.weights, k.moved) for k in kernels(graph)] == [(macs, weights, moved)] * 2
    # 100 GMAC/s is 1e5 MACs a microsecond, 10 GB/s is 1e4 bytes a microsecond; memory is the slower here.
    assert macs / 1e5 < 4 * (weights + moved) / 1e4
    assert latency_us(graph, CEILINGS, precision="fp32", batch=1) == pytest.approx(
        2 * (4 * (weights + moved) / 1e4 + 2)
    )
    # In half the bytes and with weights read once for 64 images, arithmetic is the slower.
    busy = max(64 * macs / 2e5, 2 * (weights + 64 * moved) / 1e4)
    assert latency_us(graph, CEILINGS, precision="fp16", batch=64) == pytest.approx(2 * (busy + 2))
    fast = CEILINGS.model_copy(update={"gigabytes": 1e9, "launch_us": 0.0})
    assert latency_us(graph, fast, precision="fp32", batch=1) == pytest.approx(2 * macs / 1e5)


def test_normalisations_activations_and_dropout_are_no_launches() -> None:
    make = GraphMaker(input=image(4, 6))
    first = make.add("relu", make.add("bn", make.add("conv2d", "in", to=8, kernel=3)))
    assert len(list(kernels(make.graph(make.add("dropout", first))))) == 1
    both = make.graph(make.add("add", first, make.add("tanh", first)))
    assert len(list(kernels(both))) == 3, "what is read twice is written, and each reader is a launch"
    make = GraphMaker(input=image(4, 6))
    assert len(list(kernels(make.graph(make.add("relu", "in"))))) == 1, "an input was computed elsewhere"


def test_a_formula_gives_the_same_rows_always_and_no_samples(tmp_path: Path) -> None:
    store_roofline(CEILINGS, tmp_path / "c.json")
    engine = Analytic(TimingOptions(ceilings=tmp_path / "c.json"))
    environment = engine.environment(Target(engine="analytic", batch=2))
    assert environment.engine == "analytic" and environment.device.model == "a device"
    models = [model_of(engine, irb(n)) for n in (8, 8)]
    one, two = engine.measure(models, environment, None).measurements
    assert one.model_dump(exclude={"timestamp"}) == two.model_dump(exclude={"timestamp"})
    assert (one.samples, one.quality, one.identity, one.standard_error) == (0, "good", 0.0, 0.0)
    with pytest.raises(NascError, match="cannot measure precision `bf16`"):
        engine.environment(Target(precision="bf16"))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": "nasc.ceilings/1"}', "\udce9", "NaN"]
    + [
        json.dumps({**json.loads(CEILINGS.model_dump_json(by_alias=True)), **wrong})
        for wrong in (
            {"gigabytes": 0},
            {"gigabytes": -1},
            {"launch_us": float("nan")},
            {"gigamacs": {}},
            {"gigamacs": {"fp32": 0}},
            {"gigamacs": {"fp12": 1}},
            {"more": 1},
            {"device": ""},
        )
    ],
)
def test_files_that_hold_no_ceilings(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(NascError, match="does not hold a device's ceilings"):
        load_roofline(path)
    with pytest.raises(NascError, match="there is no file"):
        load_roofline(tmp_path / "none.json")


def test_ceilings_are_kept_as_they_are(tmp_path: Path) -> None:
    store_roofline(CEILINGS, tmp_path / "new" / "c.json")
    assert load_roofline(tmp_path / "new" / "c.json") == CEILINGS
    changed = CEILINGS.model_copy(update={"launch_us": 2.5})
    assert changed.digest != CEILINGS.digest
    (tmp_path / "file").write_text("")
    with pytest.raises(NascError, match="cannot be written"):
        store_roofline(CEILINGS, tmp_path / "file" / "c.json")


def test_what_is_measured_of_this_machine_is_plausible() -> None:
    found = measure_roofline(QUICK)
    assert 0.1 < found.gigamacs["fp32"] < 10_000 and 0.1 < found.gigabytes < 10_000 and found.launch_us < 1000
