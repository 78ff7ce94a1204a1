"""Generated `model.py`: what it computes, how it reads, and that no name can break out of it.

`NASC_UPDATE_GOLDENS=1` writes the goldens anew.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from nasc.compiler.concrete import NotLoweredError, concrete
from nasc.compiler.identifiers import MODULE_ATTRIBUTES, attribute_name, class_name
from nasc.compiler.ir import Decision, Domain, Graph, Network, Node
from nasc.compiler.lower_onnx import network_onnx
from nasc.compiler.lower_torch import model_source
from nasc.compiler.network import network_of
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.weights import joined, network_state, seeded_weights, write_weights
from nasc.dsl.diagnostics import NascError
from tests.graphs import Array, GraphMaker, evaluate, image, network, networks, randomised
from tests.spaces import LIGHT, NETWORKS, ROOT, space_of
from tests.test_lower_onnx import run

GOLDEN = Path(__file__).parent / "golden"
GOLDENS = ("gpunet_1", "mobilenet_v3_large", "resnet50", "fastdepth", "netadapt_v2_table8")


def published(name: str) -> Network:
    return network_of(space_of(ROOT / "spaces" / "networks" / f"{name}.nas"))


def executed(source: str) -> dict[str, Any]:
    found: dict[str, Any] = {"__name__": "model"}
    exec(compile(source, "model.py", "exec"), found)
    return found


def module_of(net: Network, source: str, weights: dict[str, Array]) -> nn.Module:
    module = executed(source)[class_name(net.name, ())]()
    assert isinstance(module, nn.Module)
    assert list(module.state_dict()) == list(weights)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return module.eval()


def both(net: Network, source: str, batch: int = 1) -> tuple[Array, Array]:
    """What PyTorch and what ONNX Runtime make of one input, with random weights and statistics."""
    weights = randomised(network_state(net))
    x = np.random.default_rng(0).normal(size=(batch, net.input.channels, *net.input.spatial)).astype(np.float32)
    with torch.no_grad():
        ours = module_of(net, source, weights)(torch.from_numpy(x)).numpy()
    return ours, run(network_onnx(net, weights), x)


def assert_equal(found: Array, expected: Array) -> None:
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.abs(expected).max() > 1e-3


def reference(net: Network, weights: dict[str, Array], x: torch.Tensor) -> torch.Tensor:
    """The network by its operators' definitions, layer after layer."""
    for layer in concrete(net).layers():
        paths, graph = layer.parameters(), layer.graph
        held = {
            node.name: {t.name: weights[joined(paths[node.name], t.name)] for t in state}
            for node in graph.nodes
            if (state := PRIMITIVES[node.op].state(node, [graph.tensor(n) for n in node.inputs]))
        }
        x = evaluate(graph, {"in": x}, held)
    return x


# ------------------------------------------------------------------------------------------------- what it computes


@pytest.mark.parametrize("path", LIGHT, ids=lambda p: p.stem)
def test_pytorch_and_onnx_runtime_agree_on_published_networks(path: Path) -> None:
    net = network_of(space_of(path))
    assert_equal(*both(net, model_source(net)))


@settings(max_examples=60, deadline=None)
@given(net=networks())
def test_classes_shared_by_layers_compute_what_each_layer_s_graph_does(net: Network) -> None:
    source, weights = model_source(net), randomised(network_state(net))
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 3, 6, 6)).astype(np.float32))
    with torch.no_grad():
        found = module_of(net, source, weights)(x)
        expected = reference(net, weights, x)
    # Layer normalisation of nearly equal channels enlarges rounding errors up to 300 times.
    assert (found - expected).abs().max() <= 1e-3 * max(1.0, float(expected.abs().max()))
    assert max(map(len, source.splitlines())) <= 100


def conv(channels: int, to: int, kernel: Any, side: int = 6, **options: Any) -> Graph:
    make = GraphMaker(input=image(channels, side))
    return make.graph(make.add("relu", make.add("conv2d", "in", to=to, kernel=kernel, **options)))


def head(channels: int, classes: int = 2, side: int = 6) -> Graph:
    make = GraphMaker(input=image(channels, side))
    return make.graph(make.add("linear", make.add("global_pool", "in"), to=classes))


def test_paddings_that_do_not_follow_the_kernel_are_parameters() -> None:
    apart = network({"a": [conv(3, 4, 3, padding=0), conv(4, 4, 5, 4, padding=1)]}, head(4, side=2))
    assert "padding=padding" in model_source(apart)
    assert_equal(*both(apart, model_source(apart)))
    same = network({"a": [conv(3, 4, 3), conv(4, 4, 5)]}, head(4))
    assert "padding=kernel // 2" in model_source(same)
    assert_equal(*both(same, model_source(same)))


def test_kernels_that_are_not_square_have_a_class_of_their_own() -> None:
    net = network({"a": [conv(3, 4, 3), conv(4, 4, (1, 3)), conv(4, 4, (5, 1))]}, head(4))
    source = model_source(net)
    assert "class Blk(" in source and "class Blk2(" in source and "kernel: tuple[int, int]" in source
    assert_equal(*both(net, source))


def test_equal_operators_wired_differently_have_a_class_of_their_own() -> None:
    graphs = []
    for wired in ("in", "relu_1"):
        make = GraphMaker(input=image(4, 6))
        first = make.add("relu", make.add("conv2d", "in", to=4, kernel=3))
        graphs.append(make.graph(make.add("add", make.add("conv2d", wired, to=4, kernel=3), first)))
    net = network({"start": [conv(3, 4, 3)], "a": graphs}, head(4))
    assert_equal(*both(net, model_source(net)))


def test_a_variable_is_not_written_over_while_it_is_needed() -> None:
    make = GraphMaker(input=image(3, 6))
    first = make.add("max_pool", "in", kernel=3)
    second = make.add("avg_pool", first, kernel=3)
    graph = make.graph(make.add("max_pool", make.add("add", first, second, second), kernel=3))
    net = network({"a": [graph]}, head(3))
    assert_equal(*both(net, model_source(net)))


def test_the_network_s_input_and_awkwardly_named_stages_may_be_read_again() -> None:
    dropped = Graph(inputs={"in": image(3, 6)}, nodes=(), output="in")
    make = GraphMaker(input=image(4, 6), self=image(4, 6), x=image(4, 6))
    join = make.graph(make.add("concat", "in", "self", "x"))
    layers = {"gone": [dropped], "self": [conv(3, 4, 3)], "x": [conv(3, 4, 5)], "torch": [conv(3, 4, 1)], "d": [join]}
    net = network(layers, head(12))
    stages = tuple(s.model_copy(update={"source": "gone"}) if s.name in "x torch" else s for s in net.stages)
    net = net.model_copy(update={"stages": stages})
    assert_equal(*both(net, model_source(net)))


def test_the_network_s_input_is_kept_for_a_later_stage() -> None:
    make = GraphMaker(input=image(3, 6), b=image(4, 6))
    join = make.graph(make.add("concat", "in", "b"))
    dropped = Graph(inputs={"in": image(3, 6)}, nodes=(), output="in")
    layers = {"gone": [dropped], "a": [conv(3, 4, 3)], "b": [conv(4, 4, 3)], "c": [join]}
    net = network(layers, head(7))
    stages = (*net.stages[:3], net.stages[3].model_copy(update={"source": "gone"}))
    net = net.model_copy(update={"stages": stages})
    assert_equal(*both(net, model_source(net)))


def test_stages_that_are_read_again_and_dropped_layers() -> None:
    make = GraphMaker(input=image(8, 3), a=image(4, 6))
    up = make.graph(make.add("concat", make.add("upsample", "in", factor=2), "a"))
    dropped = Graph(inputs={"in": image(4, 6)}, nodes=(), output="in")
    net = network(
        {"a": [conv(3, 4, 3), dropped], "gone": [dropped], "b": [conv(4, 8, 3, stride=2)], "c": [up, conv(12, 4, 3)]},
        head(4),
    )
    source = model_source(net)
    assert "self.gone" not in source and "self.c[0](x, a)" in source
    assert_equal(*both(net, source))


def test_a_stage_that_starts_from_an_earlier_one_and_feature_outputs() -> None:
    net = network({"a": [conv(3, 4, 3)], "b": [conv(4, 5, 3)], "c": [conv(4, 6, 1)]}, head(6))
    stages = (*net.stages[:2], net.stages[2].model_copy(update={"source": "a"}))
    net = net.model_copy(update={"stages": stages, "head": None, "output": ("features", ("b", "c", "b"))})
    weights = randomised(network_state(net))
    x = np.random.default_rng(0).normal(size=(1, 3, 6, 6)).astype(np.float32)
    outputs = module_of(net, model_source(net), weights)(torch.from_numpy(x))
    assert [tuple(o.shape) for o in outputs] == [(1, 5, 6, 6), (1, 6, 6, 6), (1, 5, 6, 6)]
    single = net.model_copy(update={"output": ("features", ("c",))})
    assert_equal(run(network_onnx(single, weights), x), outputs[1].detach().numpy())


def test_weights_are_loaded_from_either_kind_of_file(tmp_path: Path) -> None:
    net = network({"a": [conv(3, 4, 3)]}, head(4))
    weights = seeded_weights(net, 2)
    write_weights(weights, tmp_path / "w.safetensors")
    torch.save({n: torch.from_numpy(w) for n, w in weights.items()}, tmp_path / "w.pt")
    load = executed(model_source(net))["load"]
    for name in ("w.safetensors", "w.pt"):
        module = load(str(tmp_path / name))
        assert not module.training
        torch.testing.assert_close(module.a[0].conv.weight, torch.from_numpy(weights["a.0.conv.weight"]))


# ------------------------------------------------------------------------------------------------- how it reads


@pytest.mark.parametrize("name", GOLDENS)
def test_goldens(name: str) -> None:
    path, source = GOLDEN / f"{name}.py", model_source(published(name))
    if os.environ.get("NASC_UPDATE_GOLDENS"):
        path.write_text(source, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == source


def test_goldens_run() -> None:
    published_ones = [p for p in sorted(GOLDEN.glob("*.py")) if (ROOT / "spaces/networks" / f"{p.stem}.nas").exists()]
    assert len(published_ones) >= 5
    for path in published_ones:
        net = published(path.stem)
        names = executed(path.read_text(encoding="utf-8"))
        with torch.device("meta"):
            module = names[class_name(net.name, ())]()
            result = module.eval()(torch.empty(2, *names["INPUT_SHAPE"]))
        assert {n: tuple(t.shape) for n, t in module.state_dict().items()} == {
            n: t.shape for n, t in network_state(net).items()
        }
        assert result.shape[1] == names.get("CLASSES", 1)


@pytest.mark.parametrize("length", [100, 120])
def test_a_formatter_changes_nothing(length: int, tmp_path: Path) -> None:
    for path in NETWORKS:
        (tmp_path / f"{path.stem}.py").write_text(model_source(network_of(space_of(path))), encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["format", "--diff"], ["check", "--select", "E,F,W,I,UP,B,SIM"]):
        line = [*ruff, *command, "--isolated", "--line-length", str(length), str(tmp_path)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_text_does_not_depend_on_the_process() -> None:
    code = (
        "import sys; from tests.spaces import ROOT, space_of;"
        "from nasc.compiler.lower_torch import model_source; from nasc.compiler.network import network_of;"
        "sys.stdout.write(model_source(network_of(space_of(ROOT / 'spaces' / 'networks' / 'gpunet_0.nas'))))"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.stdout == model_source(published("gpunet_0"))


# ------------------------------------------------------------------------------------------------- names


def imports(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


_WORDS = """forward train training parameters eval to state_dict __class__ __init__ _modules _parameters __dict__ torch
    nn self super x head class None lambda True print load a.b Conv Net CLASSES INPUT_SHAPE"""
NAMES = _WORDS.split()


@pytest.mark.parametrize("name", [n for n in NAMES if n.isidentifier()])
def test_a_stage_may_be_called_anything(name: str) -> None:
    other = "a" if name != "a" else "b"
    stages = {name: [conv(3, 4, 3), conv(4, 4, 3)], other: [conv(4, 4, 5)], f"{name}_": [conv(4, 4, 1)]}
    net = network(stages, head(4))
    source = model_source(net)
    assert imports(source) == {"torch", "torch.nn", "safetensors.torch.load_file"}
    assert_equal(*both(net, source))


@pytest.mark.parametrize("name", NAMES)
def test_a_network_or_block_may_be_called_anything(name: str) -> None:
    for net in (
        network({"a": [conv(3, 4, 3)]}, head(4), block=name),
        network({"a": [conv(3, 4, 3)]}, head(4), name=name),
        network({"a": [conv(3, 4, 3)]}, head(4), name=name, block=name),
    ):
        if not name.isidentifier():
            with pytest.raises(NascError, match="is not made of letters"):
                model_source(net)
            continue
        assert_equal(*both(net, model_source(net)))


HOSTILE = (
    "x\nimport os",
    'x"""\nimport os\n"""',
    "x'); import os; ('",
    "x # y",
    "{{ 7 * 7 }}",
    "{0.__class__}",
    "",
    "ａ",
    "x\u2028",
    "x" + "\n" * 3,
)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_are_not_names_are_refused(name: str) -> None:
    good = [conv(3, 4, 3)]
    for net in (
        network({name: good}, head(4)),
        network({"a": good}, head(4), name=name),
        network({"a": good}, head(4), block=name),
    ):
        with pytest.raises(NascError, match="is not made of letters"):
            model_source(net)
        with pytest.raises(NascError, match="is not made of letters"):
            seeded_weights(net, 0)


def test_names_of_nodes_and_decisions_reach_no_code() -> None:
    net = network({"a": [conv(3, 4, 3)]}, head(4))
    evil = "x\nimport os #"
    text = net.model_dump_json().replace('"relu_1"', '"evil"').replace('"conv2d_1"', '"worse"')
    renamed = Network.model_validate_json(text.replace("evil", "x\\nimport os #").replace("worse", '\\"); import os'))
    assert renamed.stages[0].layers[0].variants[0].graph.output == evil
    assert model_source(renamed) == model_source(net)


def test_every_attribute_of_a_module_is_known() -> None:
    present = {name for name in dir(nn.Module()) if not name.startswith("_")}
    assert present <= MODULE_ATTRIBUTES
    assert {attribute_name(name, ()) for name in present}.isdisjoint(present)


def test_long_names_stay_apart() -> None:
    long = "a" * 500
    first = attribute_name(long, ())
    assert len(first) < 50 and attribute_name(long + "b", {first}) != first


# ------------------------------------------------------------------------------------------------- what is refused


def test_open_decisions_are_refused() -> None:
    net = network({"a": [conv(3, 4, 3)]}, head(4))
    layer = net.stages[0].layers[0]
    twice = layer.model_copy(update={"variants": (*layer.variants, *layer.variants)})
    depth = Decision(address="@a.x", domain=Domain.grid(1, 2), ordered=True)
    for change in (
        {"layers": (twice,)},
        {"layers": (layer.model_copy(update={"skippable": True}),)},
        {"depth": depth},
    ):
        broken = net.model_copy(update={"stages": (net.stages[0].model_copy(update=change),)})
        with pytest.raises(NascError, match="still open"):
            model_source(broken)
    one = depth.model_copy(update={"domain": Domain.grid(1, 1)})
    fixed = net.model_copy(update={"stages": (net.stages[0].model_copy(update={"depth": one}),)})
    assert model_source(fixed) == model_source(net)


def test_what_has_no_code_yet_is_named_with_its_place() -> None:
    choice = Node(name="a", op="any_of", inputs=("in",), output=image(4, 2))
    net = network({"a": [conv(3, 4, 3)]}, Graph(inputs={"in": image(4, 2)}, nodes=(choice,), output="a"))
    with pytest.raises(NotLoweredError, match=r"^head: `any_of` cannot be compiled yet$"):
        model_source(net)
