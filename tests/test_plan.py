"""`nasc plan`: bytes against what PyTorch keeps, times against a device made up, and the command from end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from nasc.cli import main
from nasc.commands.plan import DATA, make_plan
from nasc.compiler.ir import Graph, Node
from nasc.compiler.ir import Tensor as Shape
from nasc.compiler.lower_supernet import supernet_source
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.relax import RelaxedLayer
from nasc.compiler.network import network_of
from nasc.compiler.plan import Plan, most_alive, reduced, state_bytes
from nasc.compiler.plan_supernet import prunode_form, trace
from nasc.compiler.plan_tape import Kind, Trained
from nasc.compiler.primitives import PRIMITIVES
from nasc.runtime import calibrate
from nasc.runtime.data import load_data
from nasc.runtime.data_splits import size
from nasc.runtime.plan_times import Ceilings, ceilings_path, full_steps, load_ceilings, search_time, store_ceilings
from nasc.runtime.search_optimizers import make_optimizer
from nasc.runtime.supernet import Prunode, StochasticLayer
from tests.spaces import ROOT, space_of
from tests.test_candidates import FIXED, SEARCHED, generated, space_text, supernet_of

SHIPPED = (
    *(("digits", "prunet"), ("digits", "fbnet"), ("fashion", "prunet"), ("fbnet", "fbnet"), ("fbnet", "prunet")),
    *(("fbnet_paper", "prunet"), ("gpunet1", "prunet"), ("gpunet1_product", "prunet"), ("gpunet1_table1", "prunet")),
    ("prunet_table5", "prunet"),
)
"""Every shipped space that compiles, with its method."""
BATCH = 4


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@cache
def plan(name: str, method: str = "prunet", batch: int = BATCH) -> Plan:
    return make_plan(ROOT / "spaces" / f"{name}.nas", method, batch)


def with_options(found: Plan, **values: Any) -> Plan:
    return replace(found, options=type(found.options).model_validate(values))


@cache
def supernet(name: str, method: str, device: str) -> nn.Module:
    """The generated SuperNet; on `meta` it has shapes and no numbers."""
    found = plan(name, method)
    source = supernet_source(found.network, found.layers, find_method(method))
    names: dict[str, Any] = {"__name__": "supernet"}
    exec(compile(source, "supernet.py", "exec"), names)
    last = [line for line in source.splitlines() if line.startswith("class ")][-1]
    with torch.device(device):
        network: nn.Module = names[last.removeprefix("class ").partition("(")[0]]()
    return network.train()


def let_train(network: nn.Module, trained: Trained) -> None:
    nodes = [m for m in network.modules() if isinstance(m, StochasticLayer | Prunode)]
    architecture = {id(node.theta) for node in nodes}
    for parameter in network.parameters():
        parameter.requires_grad_(trained.architecture if id(parameter) in architecture else trained.weights)


def kept_bytes(network: nn.Module, images: Tensor, mixed: bool = False) -> int:
    """The oracle: what autograd keeps, beside parameters and running statistics."""
    own = {tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            logits = network(images)
        nn.functional.cross_entropy(logits.float(), labels)
    return sum(kept.values())


TRAINED = (Trained(True, True), Trained(True, False), Trained(False, True))


@pytest.mark.parametrize(("name", "method"), SHIPPED)
def test_kept_bytes_are_what_autograd_keeps(name: str, method: str) -> None:
    found = plan(name, method)
    network = supernet(name, method, "meta")
    shape = (BATCH, found.network.input.channels, *found.network.input.spatial)
    for trained in TRAINED if name in ("digits", "fashion") else TRAINED[1:2]:
        let_train(network, trained)
        measured = kept_bytes(network, torch.zeros(shape, device="meta"))  # type: ignore[arg-type]
        predicted = trace(found.network, found.layers, trained).kept.at(BATCH)
        assert predicted == pytest.approx(measured, rel=0.002)


@pytest.mark.parametrize("name", ["digits", "fashion"])
def test_recomputing_keeps_what_autograd_keeps_then(name: str) -> None:
    found, network = plan(name), supernet(name, "prunet", "cpu")
    layers = [module for module in network.modules() if isinstance(module, StochasticLayer)]
    shape = (BATCH, found.network.input.channels, *found.network.input.spatial)
    for trained in TRAINED[:2]:
        let_train(network, trained)
        for layer in layers:
            layer.recompute = True
        measured = kept_bytes(network, torch.zeros(shape))  # type: ignore[arg-type]
        for layer in layers:
            layer.recompute = False
        traced = trace(found.network, found.layers, replace(trained, recompute=True))
        assert traced.kept.at(BATCH) == pytest.approx(measured, rel=0.01)
        without = trace(found.network, found.layers, trained)
        assert traced.kept.at(BATCH) < 0.5 * without.kept.at(BATCH) and traced.peak(BATCH) < without.peak(BATCH)
        assert traced.work == without.work and set(traced.again) <= set(traced.work)


def test_recomputing_saves_memory_for_time() -> None:
    """Exercises: command plan."""
    saving, plainly = (make_plan(ROOT / "spaces" / "digits.nas", "prunet", recompute=r) for r in (True, False))
    assert saving.peak() < plainly.peak() and saving.macs == plainly.macs


def test_a_shape_without_numbers_keeps_what_real_tensors_do() -> None:
    for trained in TRAINED:
        kept = []
        for device in ("cpu", "meta"):
            network = supernet("digits", "prunet", device)
            let_train(network, trained)
            kept.append(kept_bytes(network, torch.zeros(BATCH, 1, 16, 16, device=device)))
        assert kept[0] == kept[1]


def test_mixed_precision_keeps_about_half() -> None:
    found = plan("digits", batch=16)
    network = supernet("digits", "prunet", "cpu")
    let_train(network, TRAINED[0])
    measured = kept_bytes(network, torch.randn(16, 1, 16, 16), mixed=True)
    predicted = trace(found.network, found.layers, Trained(element=2)).kept.at(16)
    assert predicted == pytest.approx(measured, rel=0.05)


def candidate_items() -> dict[str, str]:
    searched = {name: f" stage s {layer.replace('W', grid)}" for name, (grid, layer) in SEARCHED.items()}
    fixed = {f"{name}_fixed": f" stage s one of {{ {a} {b} }} {width}" for name, (a, width, b) in FIXED.items()}
    return searched | fixed


@pytest.mark.parametrize("items", candidate_items().values(), ids=candidate_items())
def test_each_block_of_the_library_keeps_what_is_predicted(items: str) -> None:
    layers = generated(items)[1]
    network = network_of(space_of(space_text(items)))
    measured = kept_bytes(supernet_of(items).train(), torch.randn(BATCH, 4, 8, 8))
    # Coefficients, and gates computed for widths not asked for, are left out: noticeable in networks this small.
    assert trace(network, layers, Trained()).kept.at(BATCH) == pytest.approx(measured, rel=0.015)


def test_the_library_has_every_form_of_prunode() -> None:
    layers: list[RelaxedLayer] = []
    for name, items in candidate_items().items():
        if name in ("irb", "irb_layer_norm", "irb_in_groups"):
            layers += generated(items)[1]
    forms = [prunode_form(c) for layer in layers for c in layer.candidates if c.width]
    assert forms == ["sums", "whole", "finish"]


OPERATORS = {
    "max_pool": {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)},
    "avg_pool": {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)},
    "upsample": {"factor": 2},
    "dropout": {"rate": 0.5},
    "shuffle": {"groups": 2},
    "slice": {"start": 1, "stop": 3},
    "layer_norm": {"eps": 1e-5},
    **{name: {} for name in ("relu", "relu6", "swish", "gelu", "sigmoid", "hard_sigmoid", "hard_swish", "tanh")},
    "global_pool": {},
}
OUTPUTS = {"max_pool": (4, 4, 4), "avg_pool": (4, 4, 4), "upsample": (4, 16, 16), "slice": (2, 8, 8)}


@pytest.mark.parametrize("op", OPERATORS)
def test_an_operator_between_two_linear_ones_keeps_what_its_rule_says(op: str) -> None:
    """Before it a sum, after it another: neither keeps anything, so what is kept is the operator's alone."""
    from nasc.compiler.plan_tape import Tape

    channels, height, width = (4, 1, 1) if op == "global_pool" else OUTPUTS.get(op, (4, 8, 8))
    before, after = Shape(channels=4, height=8, width=8), Shape(channels=channels, height=height, width=width)
    node = Node(name="n", op=op, inputs=("in",), output=after).model_copy(update={"attributes": OPERATORS[op]})
    tape = Tape(Trained())
    tape.run(node, [before], [tape.new(4 * 8 * 8, gradient=True)])
    module = module_of(Graph(inputs={"in": before}, nodes=(node,), output="n"))
    x = torch.randn(BATCH, 4, 8, 8, requires_grad=True)
    own = {p.untyped_storage()._cdata for p in module.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(x + 1) + 1
    assert tape.kept.at(BATCH) == sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own)


def module_of(graph: Graph) -> nn.Module:
    """A module of one node."""
    from nasc.compiler.primitives.forms import Expression

    (node,) = graph.nodes
    form = PRIMITIVES[node.op].torch(node, [graph.inputs["in"]])
    if isinstance(form, Expression):
        return _Narrowed(node.attributes["start"], node.attributes["stop"])
    (call,) = form
    names: dict[str, Any] = {"nn": nn, "torch": torch}
    if call.helper:
        exec(call.helper, names)
    made = eval(call.function, names)
    plain = [a.value for a in call.arguments if not a.keyword]
    module: nn.Module = made(*plain, **{a.keyword: a.value for a in call.arguments if a.keyword})
    return module


class _Narrowed(nn.Module):
    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.start : self.stop]


def test_every_primitive_with_code_says_what_is_kept_of_it() -> None:
    silent = [p.name for p in PRIMITIVES.values() if _owner(type(p), "saved") == "Primitive"]
    assert not silent


def _owner(kind: type, name: str) -> str:
    return next(each.__name__ for each in kind.__mro__ if name in vars(each))


# ------------------------------------------------------------------------------------------------- stored bytes


@pytest.mark.parametrize(("name", "method"), SHIPPED)
def test_parameters_and_statistics_are_those_of_the_supernet(name: str, method: str) -> None:
    found, network = plan(name, method), supernet(name, method, "meta")
    parameters = list(network.parameters())
    assert found.stored.parameters == sum(p.numel() * p.element_size() for p in parameters)
    assert found.stored.weight_tensors + found.stored.architecture_tensors == len(parameters)
    assert found.stored.statistics == sum(b.numel() * b.element_size() for b in network.buffers())


@pytest.mark.parametrize("kind", ["rmsprop", "sgd", "adam", "adamw"])
def test_optimizers_remember_what_is_predicted(kind: str) -> None:
    found, network = with_options(plan("digits"), weights=kind), supernet("digits", "prunet", "cpu")
    weights = [p for n, p in network.named_parameters() if not n.endswith("theta")]
    optimizer = make_optimizer(found.options.weights, weights)
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    state = [v for values in optimizer.state.values() for v in values.values() if isinstance(v, Tensor)]
    predicted = state_bytes(found.options.weights, found.stored.weights, found.stored.weight_tensors)
    assert predicted == sum(tensor.numel() * tensor.element_size() for tensor in state)


def test_the_largest_batch_fits_and_the_next_does_not() -> None:
    found = plan("fashion")
    for limit in (found.peak(1), 300 << 20, 1 << 33):
        batch = found.largest_batch(limit)
        assert found.peak(batch) <= limit < found.peak(batch + 1)
    assert found.largest_batch(found.peak(1) - 1) == 0


# ------------------------------------------------------------------------------------------------- times

ALL_KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]


def ceilings(**changes: Any) -> Ceilings:
    """A device of 1e9 multiply-accumulates a second, half as many with gradients of weights; all else is free."""
    values = {
        "device": "cpu",
        "model": "made up",
        "threads": 1,
        "torch": "2",
        "memory": 1 << 30,
        "process": 1 << 20,
        "point": 0.5,
        "full": dict.fromkeys(ALL_KINDS, (0.0, 2e-9, 0.0, 0.0, 0.0)),
        "frozen": dict.fromkeys(ALL_KINDS, (0.0, 1e-9, 0.0, 0.0, 0.0)),
        "optimizers": dict.fromkeys(("rmsprop", "sgd", "adam", "adamw"), (0.0, 0.0)),
    }
    return Ceilings.model_validate({**values, **changes})


def test_a_step_on_a_made_up_device() -> None:
    found = plan("digits")
    steps = full_steps(found, ceilings())
    assert steps.weights == pytest.approx(2e-9 * found.macs * BATCH)
    assert steps.architecture == pytest.approx(1e-9 * found.macs * BATCH)
    updates = full_steps(found, ceilings(optimizers={"rmsprop": (1.0, 0.0), "adam": (0.0, 1.0)}))
    assert updates.weights - steps.weights == pytest.approx(found.stored.weight_tensors)
    assert updates.architecture - steps.architecture == pytest.approx(found.stored.architecture)


def test_macs_of_a_supernet_are_those_of_its_dearest_widths() -> None:
    """One Prunode that shares its consumer's sums costs what the block at its larger width does."""
    text = "nas 1\nspace small {\n input image 4 x 8 x 8\n output classes 3\n granularity 8\n"
    items = " stage s irb { kernel 3  hidden 8 .. 16 step 8 } -> 4\n head global_pool | linear\n}\n"
    network = network_of(space_of(text + items))
    method = find_method("prunet")
    assert method.relax is not None
    macs = sum(work.macs for work in trace(network, method.relax(network), Trained()).work)
    assert macs == 64 * (4 * 16 + 9 * 16 + 16 * 4) + 4 * 3


def test_a_search_lies_between_cheapest_and_dearest() -> None:
    found = replace(plan("digits", batch=64))
    whole = search_time(found, ceilings(), 1258)
    steps = full_steps(found, ceilings())
    assert whole.warmup == pytest.approx(found.options.warmup * (1258 // 64) * steps.weights)
    epochs = found.options.epochs - found.options.warmup
    assert whole.unpruned == pytest.approx(epochs * (1006 // 64 * steps.weights + 252 // 64 * steps.architecture))
    assert 0 < whole.least < whole.unpruned
    assert whole.least < whole.most
    assert search_time(plan("digits", "fbnet"), ceilings(), 1258).least > whole.least


def test_the_threshold_bounds_how_many_are_alive() -> None:
    options = plan("digits").options
    alive = [most_alive(options, epoch) for epoch in range(options.warmup, options.epochs + 1)]
    assert alive[0] is None and alive[-1] == 1
    assert alive[1] == 5  # 1 / 0.17
    assert most_alive(plan("digits", "fbnet").options, 80) is None
    assert most_alive(with_options(plan("digits"), prune_by="weight").options, 150) is None


def test_the_cheapest_candidates_are_left() -> None:
    found = plan("fashion")
    cheapest = reduced(found.layers, 1, dearest=False)
    assert all(len(layer.candidates) == 1 and not (layer.skippable and not layer.fixed) for layer in cheapest)
    dearest = reduced(found.layers, 2, dearest=True)
    assert [len(layer.candidates) for layer in dearest] == [min(2, len(layer.candidates)) for layer in found.layers]


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_data_by_name_has_that_many_images(name: str) -> None:
    assert size(load_data(name, input_shape=(1, 8, 8), classes=10).train) == DATA[name]


# ------------------------------------------------------------------------------------------------- calibration


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few small cases, once each."""
    monkeypatch.setattr(calibrate, "ROUNDS", 1)
    monkeypatch.setattr(calibrate, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(calibrate, "_MOST_CALLS", 2)
    shapes = ((3, 8, 3, 8, 1, 2), (8, 8, 1, 8, 1, 2), (8, 8, 3, 8, 8, 2), (8, 8, 5, 8, 8, 2))
    monkeypatch.setattr(calibrate, "_CONVOLUTIONS", shapes)
    monkeypatch.setattr(calibrate, "_IMAGES", ((8, 8, 2),))
    monkeypatch.setattr(calibrate, "_MATRICES", ((8, 8),))


def test_calibrating_measures_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    found = calibrate.calibrate("cpu")
    assert 0.001 < found.point < 60
    assert found.process > 1 << 26 and found.memory > found.process
    assert set(found.full) == set(found.frozen) == set(ALL_KINDS)
    assert all(min(values) >= 0 and max(values) > 0 for values in found.full.values())
    assert full_steps(plan("digits"), found).weights > 0


def test_fitted_coefficients_give_back_what_made_them() -> None:
    from nasc.compiler.plan_tape import Amount, Work
    from nasc.runtime.plan_times import features

    truth = (1e-5, 2e-10, 3e-9, 0.0, 4e-9)
    work = [Work("dense", 10**i, Amount(10**j)) for i in (4, 6, 8) for j in (3, 5, 6, 7, 8)]
    cases = [calibrate.Case(each, nn.Identity(), (1,)) for each in work]
    seconds = [sum(a * b for a, b in zip(truth, features(each, 1), strict=True)) for each in work]
    (found,) = calibrate._fitted(cases, seconds).values()
    assert found == pytest.approx(truth, rel=1e-6, abs=1e-15)


def test_ceilings_are_kept_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert load_ceilings("cpu") is None
    assert store_ceilings(ceilings()) == tmp_path / "nasc" / "ceilings-cpu.json" == ceilings_path("cpu")
    assert load_ceilings("cpu") == ceilings()
    assert ceilings_path("cuda:1").name == "ceilings-cuda-1.json"


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "nasc.ceilings/9"}', "\udcff"])
def test_a_damaged_cache_says_how_to_mend_it(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store_ceilings(ceilings()).write_bytes(text.encode("utf-8", "surrogateescape"))
    result = CliRunner().invoke(main, ["plan", str(ROOT / "spaces/digits.nas")])
    assert result.exit_code == 1 and "nasc plan --calibrate --device cpu" in result.stderr


# ------------------------------------------------------------------------------------------------- the command


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["plan", *arguments])


def test_plan_from_calibration_to_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exercises: command plan."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    quick(monkeypatch)
    monkeypatch.setattr(calibrate, "_seconds_per_point", lambda: 0.25)
    space = str(ROOT / "spaces/digits.nas")
    unknown = run(space, "--batch", "8")
    assert unknown.exit_code == 0 and "nasc plan --calibrate" in unknown.stdout
    measured = run("--calibrate")
    assert measured.exit_code == 0 and measured.stdout == "" and str(tmp_path) in measured.stderr
    told = json.loads(run(space, "--batch", "8", "--data", "digits", "--format", "json").stdout)
    assert told["bytes"]["activations"]["weights_step"] == plan("digits", batch=8).weights_step.kept.at(8)
    assert told["fits"] and told["largest_batch"] > 8 and told["changes"] == []
    low, high = told["seconds"]["search"]
    assert 0 < told["seconds"]["warmup"] < low < high
    assert told["seconds"]["profiling"] == told["points"] * 0.25
    text = run(space, "--batch", "8", "--data", "digits").stdout
    assert "whole search" in text and "it fits" in text


def test_what_does_not_fit_is_told_what_to_change() -> None:
    told = json.loads(run(str(ROOT / "spaces/gpunet1.nas"), "--memory", "24GiB", "--format", "json").stdout)
    assert not told["fits"] and told["memory"] == 24 << 30
    found = plan("gpunet1")
    assert found.peak(told["largest_batch"]) <= 24 << 30 < found.peak(told["largest_batch"] + 1)
    batch, side, candidates = told["changes"]
    assert str(told["largest_batch"]) in batch and "input" in side and "fused1.2" in candidates


def test_mixed_precision_is_planned_on_a_gpu() -> None:
    kept = [
        json.loads(run(str(ROOT / "spaces/digits.nas"), "--format", "json", *more).stdout)["bytes"]["activations"]
        for more in (("--device", "cuda"), ("--device", "cuda", "--amp", "off"), ("--amp", "on"))
    ]
    assert kept[0] == kept[2] and kept[0]["weights_step"] < 0.6 * kept[1]["weights_step"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("spaces/detection.nas",), "not `output features`"),
        (("spaces/vit.nas",), "E0380"),
        (("spaces/digits.nas", "--method", "random"), "without a SuperNet"),
        (("spaces/digits.nas", "--method", "nothing"), "there is no search method"),
        (("spaces/digits.nas", "--data", "digit"), "neither data known by name nor a number"),
        (("spaces/digits.nas", "--memory", "much"), "no amount of memory"),
        (("--calibrate", "--device", "abacus"), "no device `abacus`"),
        (("spaces/digits.nas", "--calibrate", "--device", "cuda:77"), "no device `cuda:77`"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = run(*arguments)
    assert result.exit_code == 1 and told in result.stderr


def test_a_file_is_needed_unless_the_device_is_measured() -> None:
    assert run().exit_code == 2
