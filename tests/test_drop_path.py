"""Drop path: which branches are dropped, how often, and that nothing else changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from nasc.compiler.identifiers import class_name
from nasc.compiler.ir import Network
from nasc.compiler.lower_torch import model_source
from nasc.compiler.network import network_of
from nasc.compiler.weights import network_state
from nasc.runtime.member_model import load_model
from tests.graphs import GraphMaker, image, network, networks, randomised
from tests.spaces import ROOT, space_of

# Residuals: one in `a`, two in `b` (the first layer has a stride), two projected or plain ones in `c`, two in `d`.
KINDS = """nas 1
network kinds {
  input image 3 x 16 x 16
  output classes 5
  default { act relu }
  stage stem conv          { kernel 3 }                    -> 8
  stage a    irb           { kernel 3  expand 2  se 1 }    -> 8
  stage b    fused_irb x 3 { kernel 3  expand 2  stride 2 } -> 16
  stage c    basic x 2     { stride 2 }                    -> 24
  stage d    bottleneck x 2                                -> 24
  head global_pool | linear
}
"""
RESIDUALS = ["a.0", "b.1", "b.2", "c.0", "c.1", "d.0", "d.1"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def built(net: Network, rate: float) -> tuple[nn.Module, str]:
    """The module with random weights and statistics, in evaluation, and its text."""
    source = model_source(net, rate)
    names: dict[str, Any] = {"__name__": "model"}
    exec(compile(source, "model.py", "exec"), names)
    module = names[class_name(net.name, ())]()
    weights = randomised(network_state(net))
    assert list(module.state_dict()) == list(weights)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return module.eval(), source


def kinds(rate: float) -> nn.Module:
    return built(network_of(space_of(KINDS)), rate)[0]


def dropping(module: nn.Module) -> dict[str, Any]:
    """The layers that drop, by their paths."""
    return {n.removesuffix(".drop_path"): m for n, m in module.named_modules() if type(m).__name__ == "DropPath"}


def drops(rate: float, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    layer = next(iter(dropping(kinds(0.5)).values()))
    layer.rate = rate
    torch.manual_seed(seed)
    return layer.train()(torch.ones(shape))


def test_rates_rise_linearly_over_the_residual_blocks() -> None:
    found = dropping(kinds(0.3))
    assert list(found) == RESIDUALS
    assert [layer.rate for layer in found.values()] == pytest.approx(np.linspace(0, 0.3, 7))


def test_a_lone_residual_is_dropped_at_the_base_rate() -> None:
    text = re.sub(r"stage [bcd].*\n", "", KINDS)
    assert [layer.rate for layer in dropping(built(network_of(space_of(text)), 0.3)[0]).values()] == [0.3]


@pytest.mark.parametrize("name", ["gpunet_1", "resnet50", "fastdepth"])
def test_without_a_rate_the_text_stays(name: str) -> None:
    net = network_of(space_of(ROOT / "spaces" / "networks" / f"{name}.nas"))
    assert model_source(net, 0.0) == model_source(net)
    assert ("DropPath" in model_source(net, 0.1)) == (name != "fastdepth")


@settings(max_examples=40, deadline=None)
@given(net=networks())
def test_evaluation_is_as_without(net: Network) -> None:
    (plain, _), (module, source) = built(net, 0.0), built(net, 0.4)
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 3, 6, 6)).astype(np.float32))
    with torch.no_grad():
        assert torch.equal(plain(x), module(x))
    assert max(map(len, source.splitlines())) <= 100


def test_images_are_dropped_whole_and_the_mean_stays() -> None:
    count, rate = 20_000, 0.3
    values = drops(rate, (count, 2, 3))
    first = values[:, 0, 0]
    assert torch.equal(values, first[:, None, None].expand_as(values))
    assert set(first.tolist()) == {0.0, torch.tensor(1 / 0.7).item()}
    deviation = (rate / (1 - rate) / count) ** 0.5
    assert abs(first.mean().item() - 1) < 4 * deviation
    # One image after another independently: as often twice in a row as chance has it.
    pairs = ((first[:-1] == 0) & (first[1:] == 0)).double().mean().item()
    assert abs(pairs - rate**2) < 0.02


def test_draws_come_from_the_global_generator() -> None:
    assert torch.equal(drops(0.5, (64, 1)), drops(0.5, (64, 1)))
    assert not torch.equal(drops(0.5, (64, 1)), drops(0.5, (64, 1), seed=1))
    assert torch.equal(drops(0.0, (64, 1)), torch.ones(64, 1))


@pytest.mark.parametrize("path", RESIDUALS)
def test_of_a_dropped_block_the_shortcut_is_left(path: str) -> None:
    """For an inverted residual its input, for ResNet's blocks the activation of the shortcut."""
    module = kinds(0.5)
    block = module.get_submodule(path)
    drop = block.get_submodule("drop_path")
    seen: dict[str, Tensor] = {}
    block.register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    block.register_forward_hook(lambda _, inputs, output: seen.update(y=output))
    drop.register_forward_hook(lambda _, inputs, output: seen.update(branch=inputs[0], dropped=output))
    x = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    activation = torch.relu if path[0] in "cd" else nn.Identity()
    with torch.no_grad():
        module(x)
        shortcut = block.shortcut(seen["x"]) if hasattr(block, "shortcut") else seen["x"]  # type: ignore[operator]
        torch.testing.assert_close(seen["y"], activation(seen["branch"] + shortcut))
        drop.train().rate = 0.5  # type: ignore[assignment]
        torch.manual_seed(0)
        module(x)
        shortcut = block.shortcut(seen["x"]) if hasattr(block, "shortcut") else seen["x"]  # type: ignore[operator]
    gone = (seen["dropped"] == 0).flatten(1).all(1)
    assert 0 < gone.sum() < 16
    torch.testing.assert_close(seen["y"][gone], activation(shortcut[gone]))
    torch.testing.assert_close(seen["y"][~gone], activation(2 * seen["branch"][~gone] + shortcut[~gone]))


def test_only_residuals_have_branches_to_drop() -> None:
    """Not the sum of two parallel convolutions, nor a sum with another value than the branch came from."""
    make = GraphMaker(input=image(4, 6))
    left, right = make.add("conv2d", "in", to=4, kernel=3), make.add("conv2d", "in", to=4, kernel=1)
    parallel = make.graph(make.add("add", left, right))
    make = GraphMaker(input=image(4, 6))
    inner = make.add("relu", make.add("conv2d", "in", to=4, kernel=3))
    twice = make.add("add", make.add("conv2d", inner, to=4, kernel=3), inner)
    nested = make.graph(make.add("add", make.add("conv2d", twice, to=4, kernel=1), "in"))
    make = GraphMaker(input=image(4, 6))
    head = make.graph(make.add("linear", make.add("global_pool", "in"), to=3))
    module, source = built(network({"a": [parallel, nested]}, head), 0.2)
    assert list(dropping(module)) == ["a.1"] and source.count("self.drop_path(") == 2


def test_a_block_called_drop_path_is_another_class() -> None:
    make = GraphMaker(input=image(4, 6))
    residual = make.graph(make.add("add", make.add("conv2d", "in", to=4, kernel=3), "in"))
    make = GraphMaker(input=image(4, 6))
    head = make.graph(make.add("linear", make.add("global_pool", "in"), to=3))
    module, source = built(network({"a": [residual]}, head, name="drop_path", block="drop_path"), 0.2)
    assert source.count("class DropPath(") == 1 and [d.rate for d in dropping(module).values()] == [0.2]


def test_a_file_s_module_starts_from_the_same_weights(tmp_path: Path) -> None:
    file = tmp_path / "kinds.nas"
    file.write_text(KINDS)
    states = []
    for rate in (0.0, 0.2):
        torch.manual_seed(0)
        module = load_model(file, rate).module
        assert len(dropping(module)) == (7 if rate else 0)
        states.append(module.state_dict())
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
