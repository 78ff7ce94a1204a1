"""The found network's weights: the SuperNet reduced to a member against the member's own `model.py`, and mistakes."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from nasc.compiler.inherit import Inherited, chosen_candidates, inherited
from nasc.compiler.ir import Network
from nasc.compiler.lower_onnx import network_onnx
from nasc.compiler.lower_supernet import supernet_source
from nasc.compiler.member import Choices, member_from_choices, member_text
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.relax import RelaxedLayer
from nasc.compiler.network import network_of
from nasc.compiler.weights import network_state
from nasc.dsl.diagnostics import NascError
from nasc.runtime.checkpoint import load_weights, restore_weights, save_weights
from nasc.runtime.inherit import inherited_state, settle
from nasc.runtime.member_model import load_model
from nasc.runtime.prefix import PrefixBatchNorm2d
from nasc.runtime.supernet import Prunode, StochasticLayer, stochastic_layers
from tests.spaces import ROOT, elaborated, in_space, module_of, space_of

TINY = """nas 1
space tiny {
  input       image 1 x 8 x 8
  output      classes 10
  granularity 8
  skip        same_shape

  stage stem  conv      { kernel 3  stride 2 }                                -> 8
  stage class irb  x 3  { kernel {3, 5}  expand (1, 4]  se {0, 1} }           -> 8
  stage mid   fused_irb { kernel 3  stride 2  hidden 8 .. 24 step 8 }         -> 16
  stage last  one of { conv { kernel 1 }  fused_irb { kernel 3  hidden 16 } } -> 16
  head        global_pool | linear
}
"""

VIT = """nas 1
space vit {
  input       image 1 x 8 x 8
  output      classes 10
  granularity 4

  stage patches  patch_embed { patch 4 } -> 12
  stage start    class_token
  stage places   position
  stage body     transformer x 2 { heads 1 .. 4  head_width 3  expand (0, 2] }
  head           layer_norm | first_token | linear
}
"""
"""Layers of two searched widths each."""

GPT = """nas 1
space gpt {
  input       tokens 6
  output      tokens 11
  granularity 4

  stage words   embedding { vocabulary 11 } -> 12
  stage places  position
  stage body    transformer x 3 { heads 1 .. 3  head_width 4  expand [0, 2]  causal yes }
  head          layer_norm | linear(bias = no)
}
"""
"""Layers of two searched widths each, of which one may be 0."""

BLOCKS = {
    "irb": "irb x 3 { kernel {3, 5}  hidden 8 .. 40 step 8  stride 2 }",
    "irb_se": "irb x 3 { kernel 3  hidden 8 .. 40 step 8  se {0, 1}  se_width 3  act swish }",
    "irb_groups": "irb x 2 { kernel 3  hidden {8, 16}  groups {1, 2} }",
    "irb_cut_in_groups": "irb x 2 { kernel 3  hidden 8 .. 24 step 8  groups {1, 2} }",
    "fused_irb": "fused_irb x 3 { kernel 3  hidden 8 .. 40 step 8  se {0, 1}  se_width 2 }",
    "mbv3": "mbv3 x 2 { kernel {3, 5}  hidden 8 .. 40 step 8  se {0, 1}  se_width 4 }",
    "mbv3_derived_se": "mbv3 x 2 { kernel 3  hidden 8 .. 40 step 8  se yes }",
    "mbv3_bypass": "mbv3 x 2 { kernel 3  hidden 8 .. 40 step 8  bypass 5 }",
    "irb_layer_norm": "irb x 2 { kernel 3  hidden 8 .. 24 step 8  norm layer_norm }",
    "mbv3_dw": "mbv3 x 2 { kernel 3  hidden 40  dw 8 .. 40 step 8 }",
    "basic": "basic x 3 { mid 8 .. 40 step 8  stride 2 }",
    "bottleneck_middle": "bottleneck x 2 { reduce 6  mid 8 .. 40 step 8 }",
    "bottleneck": "bottleneck x 2 { reduce 8 .. 40 step 8 }",
    "conv": "conv x 3 { kernel {1, 3}  act {relu, swish}  groups {1, 2} }",
    "depthwise_separable": "depthwise_separable x 2 { kernel {3, 5}  se {0, 1} }",
    "depthwise_separable_dw": "depthwise_separable x 2 { kernel 3  dw 1 .. 4 }",
    "sep_pair": "sep_pair x 3 { kernel {3, 5}  mid 8 .. 24 step 8 }",
    "cross_pair": "cross_pair x 2 { length {3, 5}  mid 8 .. 24 step 8 }",
    "mixed": "one of { basic { mid 8 .. 16 step 8 }  sep_conv { kernel 3 }  skip_or_project } x 3",
}
HEADS = {"mixed": "conv { kernel {1, 3} } -> 8 | global_pool | linear"}

SPACES = {
    **{
        name: in_space(f" skip same_shape\n stage s {block} -> 6\n head {HEADS.get(name, 'global_pool | linear')}")
        for name, block in BLOCKS.items()
    },
    "tiny": TINY,
    "vit": VIT,
    "gpt": GPT,
    "digits": (ROOT / "spaces" / "digits.nas").read_text(),
    "fashion": (ROOT / "spaces" / "fashion.nas").read_text(),
}
SEARCHED_WIDTHS = sorted(SPACES.keys() - {"irb_groups", "conv", "depthwise_separable", "mixed"})


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Searched:
    """A space with a SuperNet whose weights and statistics are different in every channel."""

    text: str
    network: Network
    layers: tuple[RelaxedLayer, ...]
    supernet: nn.Module

    def images(self) -> Tensor:
        shape, noise = (4, *map(int, self.network.input.layout)), torch.Generator().manual_seed(1)
        if self.network.input.ids:
            return torch.randint(0, 10, shape, generator=noise)
        return torch.randn(shape, generator=noise)

    def settled(self, choices: Choices) -> nn.Module:
        supernet = copy.deepcopy(self.supernet)
        settle(supernet, self.layers, choices)
        return supernet.eval()

    def member(self, choices: Choices, folder: Path) -> Path:
        module = module_of(self.text)
        space = elaborated(module)
        path = folder / "best.nas"
        path.write_text(member_text(space, member_from_choices(network_of(space), choices), module))
        return path


@cache
def searched(name: str, method: str = "prunet") -> Searched:
    torch.manual_seed(0)
    text = SPACES[name]
    network = network_of(space_of(text))
    plugin = find_method(method)
    assert plugin.relax is not None
    layers = plugin.relax(network)
    module = ModuleType("supernet")
    exec(compile(supernet_source(network, layers, plugin), "supernet.py", "exec"), module.__dict__)
    (made,) = [c for c in vars(module).values() if isinstance(c, type) and c.__name__.lower() == network.name]
    found = Searched(text, network, layers, made())
    train(found)
    return found


@torch.enable_grad()
def train(found: Searched) -> None:
    """A few steps from weights among which no two channels are alike."""
    for module in found.supernet.modules():
        if isinstance(module, nn.BatchNorm2d | PrefixBatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, 0.0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    optimizer = torch.optim.SGD(found.supernet.parameters(), 0.01)
    for step in range(2):
        optimizer.zero_grad()
        output = found.supernet.train()(found.images() + step)
        output = output.flatten(0, -2)
        nn.functional.cross_entropy(output, torch.arange(len(output)) % output.shape[1]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():  # so that no layer's last cost has a graph, which could not be copied
        found.supernet.eval()(found.images())


def drawn(layers: tuple[RelaxedLayer, ...], seed: int) -> Choices:
    """A member: each layer's candidate and width at random, some layers dropped."""
    draw = random.Random(seed)

    def choice(layer: RelaxedLayer) -> tuple[int, dict[str, int]] | None:
        if layer.skippable and draw.random() < 0.35:
            return None
        candidate = draw.choice(layer.candidates)
        variant, values = candidate.choice(draw.choice(candidate.widths) if candidate.widths else None)
        return variant, {name: int(value) for name, value in values.items()}

    return {layer.address: choice(layer) for layer in layers}


def full(layers: tuple[RelaxedLayer, ...]) -> Choices:
    """The member of the first candidates, nothing dropped, at their second width."""
    chosen = ((layer.address, c, c.widths[1] if c.widths else None) for layer in layers for c in layer.candidates[:1])
    return {address: candidate.choice(width) for address, candidate, width in chosen}


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a part of the largest element."""
    return ((a - b).abs().max() / b.abs().max()).item()


# ------------------------------------------------------------------------------------------------ equality


@pytest.mark.parametrize(("name", "method"), [*((name, "prunet") for name in SPACES), ("tiny", "fbnet")])
@torch.no_grad()
def test_the_member_computes_what_the_reduced_supernet_computes(name: str, method: str, tmp_path: Path) -> None:
    found = searched(name, method)
    for seed in range(4):
        choices = drawn(found.layers, seed)
        path = found.member(choices, tmp_path)
        names = inherited(found.network, found.layers, choices, network_of(space_of(path)))
        state = inherited_state(found.supernet, names)
        save_weights(tmp_path / "best.safetensors", state)
        loaded = load_model(path).module.eval()
        restore_weights(loaded, load_weights(tmp_path / "best.safetensors"), "best.safetensors")
        settled = found.settled(choices)
        assert distance(loaded(found.images()), settled(found.images())) <= 1e-5, (seed, choices)
        assert all(map(torch.equal, inherited_state(settled, names).values(), state.values()))


@torch.no_grad()
def test_the_onnx_file_computes_it_too(tmp_path: Path) -> None:
    found = searched("fashion")
    choices = drawn(found.layers, 11)
    member = network_of(space_of(found.member(choices, tmp_path)))
    state = inherited_state(found.supernet, inherited(found.network, found.layers, choices, member))
    model = network_onnx(member, {name: tensor.numpy() for name, tensor in state.items()})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"input": found.images().numpy()})
    assert distance(torch.from_numpy(np.asarray(output)), found.settled(choices)(found.images())) <= 1e-5


@pytest.mark.parametrize("name", SEARCHED_WIDTHS)
@torch.no_grad()
def test_other_channels_than_the_first_compute_something_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = searched(name)
    choices = full(found.layers)
    path = found.member(choices, tmp_path)
    names = inherited(found.network, found.layers, choices, network_of(space_of(path)))
    whole = found.supernet.state_dict()
    assert any(whole[each.source].shape != each.shape for each in names)
    last = {each.target: whole[each.source][tuple(slice(-n, None) for n in each.shape)] for each in names}
    loaded = load_model(path).module.eval()
    restore_weights(loaded, last, "the last channels")
    assert distance(loaded(found.images()), found.settled(choices)(found.images())) > 1e-2


@torch.no_grad()
def test_a_settled_supernet_is_one_literal_path() -> None:
    """Nothing drawn, scaled or averaged: the chosen blocks one after another, by hand."""
    found = searched("tiny")
    choices = {**full(found.layers), "class.2": None}
    supernet = found.supernet.eval()
    x = supernet.get_submodule("stem")(found.images())
    for layer in stochastic_layers(supernet).values():
        if choices[layer.address] is None:
            continue
        candidate = layer.candidates["0"]
        x = candidate.block(x, (candidate.widths[1],))[0] if isinstance(candidate, Prunode) else candidate(x)
    expected = supernet.get_submodule("head")(x)
    settled = found.settled(choices)
    random_state = torch.get_rng_state()
    torch.testing.assert_close(settled(found.images()), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [layer.alive for layer in stochastic_layers(settled).values()] == [[0], [4], [0], [0], [0]]


def test_a_settled_layers_cost_is_that_of_its_choice() -> None:
    found = searched("mbv3")
    settled = found.settled(full(found.layers))
    layer = next(iter(stochastic_layers(settled).values()))
    (node,) = layer.prunodes().values()
    node.costs = {8: 3.0, 16: 5.0, 40: 11.0}
    settled(found.images())
    assert layer.cost.item() == 5.0 and node.chosen() == 16 and layer.chosen() == 0


# ------------------------------------------------------------------------------------------------ names


def test_names_are_those_of_both_state_dicts(tmp_path: Path) -> None:
    """Every tensor of the member once, in its order; of the SuperNet none twice."""
    found = searched("tiny")
    choices = {**full(found.layers), "class.1": None}
    member = network_of(space_of(found.member(choices, tmp_path)))
    names = inherited(found.network, found.layers, choices, member)
    assert {each.target: each.shape for each in names} == {n: t.shape for n, t in network_state(member).items()}
    assert [each.target for each in names] == list(network_state(member))
    assert len({each.source for each in names}) == len(names)
    by_target = {each.target: each for each in names}
    # `class` is a Python keyword; the first layer is dropped, so the second comes first.
    assert by_target["class_.0.pointwise1.weight"] == Inherited(
        "class_.0.pointwise1.weight", "class_.1.candidates.0.block.pointwise1.weight", (24, 8, 1, 1)
    )
    assert by_target["stem.0.conv.weight"].source == "stem.0.conv.weight"
    assert by_target["last.0.pointwise.weight"].source == "last.0.candidates.0.pointwise.weight"


def test_slices_are_copies() -> None:
    state = inherited_state(nn.Linear(4, 4), [Inherited("w", "weight", (2, 3))])
    layer = nn.Linear(4, 4)
    taken = inherited_state(layer, [Inherited("w", "weight", (2, 3))])["w"]
    before = taken.clone()
    nn.init.zeros_(layer.weight)
    assert torch.equal(taken, before) and taken.is_contiguous() and not taken.requires_grad
    assert state["w"].shape == (2, 3)


# ------------------------------------------------------------------------------------------------ mistakes


WRONG: dict[str, tuple[Choices, str]] = {
    "no such variant": ({"class.1": (9, {})}, r"`class\.1` has no candidate"),
    "a width off the grid": ({"mid.1": (0, {"hidden": 12})}, r"`mid\.1` has no candidate .* 12"),
    "a width too many": ({"last.1": (0, {"hidden": 8})}, r"`last\.1` has no candidate"),
    "a width missing": ({"mid.1": (0, {})}, "no decisions"),
    "a layer that cannot be dropped": ({"mid.1": None}, r"`mid\.1` cannot be dropped"),
    "a layer that is not there": ({"nowhere.1": None}, r"`nowhere\.1`"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_choices(name: str, tmp_path: Path) -> None:
    changes, words = WRONG[name]
    found = searched("tiny")
    choices = {**full(found.layers), **changes}
    member = network_of(space_of(found.member(full(found.layers), tmp_path)))
    with pytest.raises(NascError, match=words):
        inherited(found.network, found.layers, choices, member)
    with pytest.raises(NascError, match=words):
        settle(copy.deepcopy(found.supernet), found.layers, choices)


@pytest.mark.parametrize("change", ["width", "kernel", "dropped"])
def test_a_member_that_is_not_the_chosen_one(change: str, tmp_path: Path) -> None:
    found = searched("tiny")
    first = full(found.layers)
    other: dict[str, Choices] = {
        "width": {"mid.1": (0, {"hidden": 24})},
        "kernel": {"class.1": (found.layers[1].candidates[-1].variant, {"expand": 3})},
        "dropped": {"class.3": None},
    }
    choices = {**first, **other[change]}
    member = network_of(space_of(found.member(choices, tmp_path)))
    with pytest.raises(NascError, match=r"is not the block|layers were chosen"):
        inherited(found.network, found.layers, first, member)


def test_a_member_of_another_space(tmp_path: Path) -> None:
    found, other = searched("tiny"), searched("digits")
    with pytest.raises(NascError, match="differ from the space in the layer `class"):
        chosen_candidates(found.layers, full(other.layers))
    member = network_of(space_of(other.member(full(other.layers), tmp_path)))
    with pytest.raises(NascError, match="not of this search"):
        inherited(found.network, found.layers, full(found.layers), member)


def test_a_space_is_no_member() -> None:
    found = searched("tiny")
    with pytest.raises(NascError, match="still open"):
        inherited(found.network, found.layers, full(found.layers), found.network)


def test_a_supernet_of_another_space(tmp_path: Path) -> None:
    found, other = searched("tiny"), searched("digits")
    choices = full(found.layers)
    names = inherited(found.network, found.layers, choices, network_of(space_of(found.member(choices, tmp_path))))
    with pytest.raises(NascError, match="not of the same space"):
        settle(copy.deepcopy(other.supernet), found.layers, choices)
    with pytest.raises(NascError, match="has no tensor"):
        inherited_state(other.supernet, names)
    with pytest.raises(NascError, match=r"has the shape \(8, 1, 3, 3\)"):
        inherited_state(found.supernet, [replace(names[0], shape=(9, 1, 3, 3))])


def test_a_candidate_that_is_gone_cannot_be_chosen() -> None:
    found = searched("tiny")
    supernet = copy.deepcopy(found.supernet)
    stochastic_layers(supernet)["class.1"].remove(0)
    with pytest.raises(NascError, match=r"class\.1 has no candidate 0"):
        settle(supernet, found.layers, full(found.layers))


def test_a_layer_with_no_width_to_settle() -> None:
    found = searched("mbv3")
    supernet = copy.deepcopy(found.supernet)
    for layer in stochastic_layers(supernet).values():
        layer.candidates["0"] = nn.Identity()
    with pytest.raises(NascError, match="no width under search"):
        settle(supernet, found.layers, full(found.layers))


def test_what_cannot_be_settled() -> None:
    with pytest.raises(ValueError, match="7 is none of the widths"):
        Prunode(nn.Identity(), (8, 16)).settle(7)
    with pytest.raises(ValueError, match="no candidate 1"):
        StochasticLayer("s.1", [nn.Identity()]).settle(1)


def test_choices_by_candidate() -> None:
    found = searched("tiny")
    chosen = chosen_candidates(found.layers, {**full(found.layers), "class.1": None, "mid.1": (0, {"hidden": 16})})
    assert chosen["class.1"] is None and chosen["stem.1"] is not None
    mid = chosen["mid.1"]
    assert mid is not None and (mid.number, mid.width) == (0, 16)
    assert mid.graph().nodes[0].output.channels == 16
