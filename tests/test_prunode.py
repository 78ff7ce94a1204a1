"""Prunodes: Algorithm 1 against trajectories worked out by hand, blocks against masked copies and smaller networks."""

from __future__ import annotations

import math
from functools import cache
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nasc.compiler.lower_supernet import supernet_source
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.relax import relax
from nasc.compiler.network import network_of
from nasc.runtime.methods.loss import cost_term, threshold_at
from nasc.runtime.methods.masks import Masks, MaskSettings
from nasc.runtime.prefix import PrefixBatchNorm2d, PrefixConv2d
from nasc.runtime.supernet import Prunode, StochasticLayer, gumbel_softmax
from tests.spaces import in_space, space_of


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# ------------------------------------------------------------------------------------------------ Algorithm 1


def test_masks_start_at_half_and_all() -> None:
    masks = Masks(range(32, 193, 32))
    assert (masks.small, masks.large) == (96, 192)


def test_a_trajectory_worked_out_by_hand() -> None:
    """max_channels 256, granularity 32; weights 0.1, -0.3, -0.3 at progress 0, 0.5, 0.6."""
    masks = Masks(range(32, 257, 32))
    # update 0.1; distance 0.6; s = min(0.5 + 0.1, 1 - 0.48) = 0.52; l = 1.12; 133.1 -> 128, 286.7 -> 256
    assert masks.step(0.1, 0.0) == 0.0
    assert (masks.s, masks.l, masks.update) == pytest.approx((0.52, 1.12, 0.1))
    assert (masks.small, masks.large) == (128, 256)
    # update 0.04 - 0.3 = -0.26; distance 0.15; s = 0.26; l = 0.41; 66.6 -> 64, 105.0 -> 96
    assert masks.step(-0.3, 0.5) == 0.0
    assert (masks.s, masks.l, masks.update) == pytest.approx((0.26, 0.41, -0.26))
    assert (masks.small, masks.large) == (64, 96)
    # update -0.104 - 0.3 = -0.404; s = -0.144 -> 0, and the weight stays; distance 0.096; l = 0.096
    assert masks.step(-0.3, 0.6) == -0.3
    assert (masks.s, masks.l, masks.update) == pytest.approx((0.0, 0.096, -0.404))
    assert (masks.small, masks.large) == (32, 64)
    # 0.096 * 256 = 24.6 is not above 32: nothing moves any more
    assert not masks.moving
    assert masks.step(5.0, 0.7) == 5.0
    assert (masks.s, masks.l) == pytest.approx((0.0, 0.096))


@pytest.mark.parametrize(("largest", "stop"), [(192, 0.47), (3584, 0.88)])
def test_when_updates_stop_depends_on_progress_alone(largest: int, stop: float) -> None:
    def last_moving(weight: float) -> float:
        masks, moved = Masks(range(32, largest + 1, 32)), 0.0
        for i in range(1001):
            if masks.moving:
                moved = i / 1000
            masks.step(weight, i / 1000)
        return moved

    assert last_moving(0.01) == last_moving(-0.02) == last_moving(0.0)
    assert last_moving(0.0) == pytest.approx(stop, abs=0.01)


def test_a_steady_preference_leads_to_either_end() -> None:
    up, down = Masks(range(32, 513, 32)), Masks(range(32, 513, 32))
    for i in range(200):
        up.step(0.02, i / 199)
        down.step(-0.02, i / 199)
    assert (up.small, up.large) == (480, 512)
    assert (down.small, down.large) == (32, 64)


@given(
    widths=st.lists(st.integers(1, 2000), min_size=2, max_size=40, unique=True).map(sorted),
    weights=st.lists(st.floats(-3, 3), min_size=1, max_size=30),
)
def test_masks_stay_on_the_grid_and_apart(widths: list[int], weights: list[float]) -> None:
    masks = Masks(widths)
    for i, weight in enumerate(weights):
        after = masks.step(weight, i / len(weights))
        assert after in (0.0, weight)
        assert masks.small in widths and masks.large in widths and masks.small < masks.large
        assert masks.s >= 0


@given(weights=st.lists(st.floats(-1, 1), min_size=2, max_size=20), cut=st.integers(1, 19))
def test_masks_go_on_from_their_state(weights: list[float], cut: int) -> None:
    whole, first = Masks(range(8, 129, 8)), Masks(range(8, 129, 8))
    resumed = Masks(range(8, 129, 8))
    for i, weight in enumerate(weights):
        if i == cut:
            resumed.restore(first.state())
            first = resumed
        whole.step(weight, i / len(weights))
        first.step(weight, i / len(weights))
    assert (first.small, first.large, first.state()) == (whole.small, whole.large, whole.state())


def test_constants_are_settings() -> None:
    masks = Masks(range(32, 513, 32), MaskSettings(small=0.25, large=0.75, c=0.5, max_distance=0.4, momentum=0.0))
    assert (masks.small, masks.large) == (128, 384)
    masks.step(1.0, 0.0)
    assert (masks.s, masks.l) == pytest.approx((0.8, 1.2))


# ------------------------------------------------------------------------------------------------ eq. 2 and 6


def test_threshold_at_its_ends() -> None:
    assert threshold_at(0.15, 0.55, 70, 70, 200) == 0.15
    assert threshold_at(0.15, 0.55, 200, 70, 200) == pytest.approx(0.55)
    assert threshold_at(0.15, 0.55, 135, 70, 200) == pytest.approx(0.35)


@pytest.mark.parametrize(("latency", "alpha"), [(625.0, 2.0), (1000.0, 0.6)])
def test_cost_term_is_eq_2(latency: float, alpha: float) -> None:
    assert cost_term(torch.tensor(latency), alpha, 0.6).item() == pytest.approx(alpha * math.log(latency) ** 0.6)


@pytest.mark.parametrize("cost", [0.0, 0.5, 1.0])
def test_cost_term_of_next_to_nothing_is_finite(cost: float) -> None:
    value = torch.tensor(cost, requires_grad=True)
    term = cost_term(value, 1.0, 0.6)
    term.backward()  # type: ignore[no-untyped-call]
    assert term.item() == pytest.approx(1.0) and value.grad is not None and value.grad.isfinite()


# ------------------------------------------------------------------------------------------------ prefixes

BLOCKS = {
    "irb": "irb { kernel 3  hidden 8 .. 40 step 8 }",
    "irb_residual": "irb { kernel 5  hidden 8 .. 40 step 8  act swish }  -> 4",
    "irb_gated": "irb { kernel 3  hidden 8 .. 40 step 8  se yes  se_width 3 }",
    "fused": "fused_irb { kernel 3  hidden 8 .. 40 step 8  stride 2 }",
    "fused_gated": "fused_irb { kernel 3  hidden 8 .. 40 step 8  se yes  se_width 2  act swish }  -> 4",
    "bottleneck_middle": "bottleneck { reduce 6  mid 8 .. 40 step 8 }",
    "basic": "basic { mid 8 .. 40 step 8 }  -> 4",
}


@cache
def generated(stage: str, literal: bool = False) -> ModuleType:
    text = in_space(f" stage s {stage if '->' in stage else stage + ' -> 6'}\n head global_pool | linear")
    network = network_of(space_of(text))
    source = supernet_source(network, relax(network), find_method("prunet"), literal)
    module = ModuleType("supernet")
    exec(compile(source, "supernet.py", "exec"), module.__dict__)
    return module


def prunode(stage: str, literal: bool = False) -> Prunode:
    torch.manual_seed(0)
    (small,) = [value for name, value in vars(generated(stage, literal)).items() if name == "Small"]
    node = next(m for m in small().modules() if isinstance(m, Prunode))
    for module in node.modules():
        if isinstance(module, nn.BatchNorm2d | PrefixBatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return node


class Masked(nn.Module):
    """The literal candidate: full width, hidden channels behind `width` masked to zero before each that mixes them."""

    def __init__(self, block: nn.Module, width: int) -> None:
        super().__init__()
        self.block, self.width = block, width

    def forward(self, x: Tensor) -> Tensor:
        hooks = [
            module.register_forward_pre_hook(self._mask)
            for module in self.block.modules()
            if isinstance(module, PrefixConv2d) and module.in_channels == 40 and module.groups == 1
        ]
        each = PrefixConv2d.each
        try:
            PrefixConv2d.each = lambda conv, h, widths: [conv(h)]  # type: ignore[method-assign]
            return self.block(x, (40,))[0]  # type: ignore[no-any-return]
        finally:
            PrefixConv2d.each = each  # type: ignore[method-assign]
            for hook in hooks:
                hook.remove()

    def _mask(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        mask = (torch.arange(inputs[0].shape[1]) < self.width).to(inputs[0].dtype)
        return (inputs[0] * mask[:, None, None], *inputs[1:])


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("training", [False, True])
def test_a_prefix_is_what_a_mask_computes(name: str, training: bool) -> None:
    block = prunode(BLOCKS[name]).block.double().train(training)
    x = torch.randn(3, 4, 8, 8, dtype=torch.float64)
    outputs = block(x, (16, 32))
    for output, width in zip(outputs, (16, 32), strict=True):
        torch.testing.assert_close(output, Masked(block, width)(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_are_those_of_two_masked_copies(name: str) -> None:
    block = prunode(BLOCKS[name]).block.double().train()
    x = torch.randn(3, 4, 8, 8, dtype=torch.float64)

    def gradients(outputs: list[Tensor]) -> dict[str, Tensor]:
        block.zero_grad()
        (0.3 * outputs[0].square().sum() + 0.7 * outputs[1].sin().sum()).backward()  # type: ignore[no-untyped-call]
        return {n: p.grad.clone() for n, p in block.named_parameters() if p.grad is not None}

    ours = gradients(block(x, (16, 32)))
    theirs = gradients([Masked(block, 16)(x), Masked(block, 32)(x)])
    assert ours.keys() == theirs.keys()
    for parameter, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[parameter], rtol=1e-8, atol=1e-8)


PAIRS = [(8, 16), (8, 40), (16, 32), (24, 40), (32, 40)]


def results(node: Prunode, pair: tuple[int, int], training: bool, amp: bool) -> tuple[dict[str, Tensor], Tensor]:
    """Outputs, gradients and statistics that a step of a block leaves, and the gradient of its images."""
    block = node.block.train(training)
    block.zero_grad()
    images = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    x = images.to(next(block.parameters()).dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        outputs = block(x, pair)
    (0.3 * outputs[0].float().square().sum() + 0.7 * outputs[1].float().sin().sum()).backward()
    found = {f"output {width}": output.detach() for width, output in zip(pair, outputs, strict=True)}
    found |= {f"gradient {n}": p.grad.clone() for n, p in block.named_parameters() if p.grad is not None}
    statistics = {n: b.clone() for n, b in block.named_buffers() if not n.endswith("num_batches_tracked")}
    found |= {f"statistics {n}": b for n, b in statistics.items()}
    assert x.grad is not None
    return found, x.grad


def first_channels(name: str, tensor: Tensor, width: int) -> Tensor:
    """What both forms have of a tensor: hidden statistics beyond the large width are those of masked channels."""
    return tensor[:width] if name.startswith("statistics") and tensor.shape == (40,) else tensor


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("training", [False, True])
def test_the_literal_form_is_two_masked_copies_of_the_same(name: str, pair: tuple[int, int], training: bool) -> None:
    shared, literal = prunode(BLOCKS[name]), prunode(BLOCKS[name], literal=True)
    literal.load_state_dict(shared.state_dict())
    ours, into = results(shared.double(), pair, training, amp=False)
    theirs, into_theirs = results(literal.double(), pair, training, amp=False)
    assert ours.keys() == theirs.keys() and any(key.startswith("statistics") for key in ours)
    for key, tensor in ours.items():
        expected = first_channels(key, theirs[key], pair[1])
        torch.testing.assert_close(first_channels(key, tensor, pair[1]), expected, rtol=1e-8, atol=1e-8, msg=key)
    torch.testing.assert_close(into, into_theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("pair", [(8, 40), (16, 32)])
def test_the_literal_form_agrees_in_mixed_precision(name: str, pair: tuple[int, int]) -> None:
    """To what bfloat16, of 8 bits, lets one expect: the two sum in another order."""
    shared, literal = prunode(BLOCKS[name]), prunode(BLOCKS[name], literal=True)
    literal.load_state_dict(shared.state_dict())
    ours, _ = results(shared, pair, training=True, amp=True)
    theirs, _ = results(literal, pair, training=True, amp=True)
    for key, tensor in ours.items():
        mine, other = (first_channels(key, each, pair[1]).double() for each in (tensor, theirs[key]))
        assert (mine - other).norm() <= 0.1 * other.norm() + 1e-6, key


@pytest.mark.parametrize("name", BLOCKS)
def test_the_literal_form_computes_all_channels_for_each_width(name: str) -> None:
    """Else it would be no measure of what PruNet's own Prunode costs."""
    node, seen = prunode(BLOCKS[name], literal=True), []
    for module in node.modules():
        if isinstance(module, PrefixBatchNorm2d):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    node.block(torch.randn(2, 4, 8, 8), (8, 16))
    assert seen and set(seen) <= {40} and len(seen) % 2 == 0


@pytest.mark.parametrize("name", ["irb", "irb_gated", "fused"])
@pytest.mark.parametrize("training", [False, True])
def test_a_prefix_is_a_smaller_network(name: str, training: bool) -> None:
    """The block cut to 16 channels against one that has no more, its weights copied."""
    block = prunode(BLOCKS[name]).block.train(training)
    small = prunode(BLOCKS[name].replace("8 .. 40", "8 .. 16")).block.train(training)
    for target, source in zip(small.state_dict().values(), block.state_dict().values(), strict=True):
        target.copy_(source[tuple(slice(0, n) for n in target.shape)])
    x = torch.randn(3, 4, 8, 8)
    torch.testing.assert_close(block(x, (16,))[0], small(x, (16,))[0], rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(widths=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(sorted), bias=st.booleans())
def test_sums_of_prefixes(widths: list[int], bias: bool) -> None:
    conv = PrefixConv2d(9, 5, 3, padding=1, bias=bias)
    x = torch.randn(2, 9, 4, 4)
    for output, width in zip(conv.each(x, widths), widths, strict=True):
        torch.testing.assert_close(output, conv(x[:, :width]), rtol=1e-5, atol=1e-5)


def test_statistics_of_unused_channels_stay() -> None:
    norm = PrefixBatchNorm2d(8).train()
    norm(torch.randn(4, 3, 2, 2) + 5)
    assert norm.running_mean is not None
    assert (norm.running_mean[:3] > 0.2).all() and (norm.running_mean[3:] == 0).all()


# ------------------------------------------------------------------------------------------------ stochastic layers


def test_a_prunode_mixes_its_two_candidates_and_their_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    node = prunode(BLOCKS["irb"]).eval()
    node.small, node.large, node.costs = 16, 32, {16: 10.0, 32: 30.0}
    monkeypatch.setattr("nasc.runtime.supernet.gumbel_softmax", lambda theta, tau: torch.tensor([0.25, 0.75]))
    x = torch.randn(2, 4, 8, 8)
    output, cost = node(x, 1.0)
    small, large = node.block(x, (16,))[0], node.block(x, (32,))[0]
    torch.testing.assert_close(output, 0.25 * small + 0.75 * large, rtol=1e-4, atol=1e-5)
    assert cost.item() == pytest.approx(25.0)


def test_gumbel_softmax_chooses_in_proportion_to_softmax() -> None:
    torch.manual_seed(0)
    theta = torch.tensor([0.0, 1.0, -1.0])
    chosen = torch.stack([gumbel_softmax(theta, 0.7) for _ in range(4000)])
    torch.testing.assert_close(chosen.sum(1), torch.ones(4000))
    found = torch.bincount(chosen.argmax(1), minlength=3) / 4000
    torch.testing.assert_close(found, theta.softmax(0), rtol=0.0, atol=0.03)


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_phi_and_lambda_come_and_go_with_the_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = StochasticLayer("s.1", [Times(2.0), Times(3.0)], skippable=True)
    layer.phi, layer.lambda_, layer.costs = 1.5, 0.5, {0: 7.0, 1: 9.0}
    assert layer.theta.tolist() == [0.5, 0.5, 0.5]
    monkeypatch.setattr("nasc.runtime.supernet.gumbel_softmax", lambda theta, tau: torch.full((len(theta),), 0.5))
    x = torch.ones(1, 1, 1, 1)
    assert layer(x).item() == 2.5 and layer.cost.item() == 8.0
    layer.replace_by_skip(1)
    assert layer.alive == [0, 2] and layer.probabilities() == {0: 0.5, 2: 0.5}
    # lambda 0.5 times the block's 2, phi 1.5 times the skip's 1, each with coefficient 0.5
    assert layer(x).item() == 0.5 * 0.5 * 2 + 0.5 * 1.5 * 1 and layer.cost.item() == 3.5
    layer.remove(2)
    assert layer(x).item() == 2.0 and layer.cost.item() == 7.0
    with pytest.raises(ValueError, match="the last"):
        layer.remove(0)


def test_a_dropped_layer_is_its_input() -> None:
    layer = StochasticLayer("s.1", [Times(2.0)], skippable=True)
    layer.phi = 1.1
    layer.replace_by_skip()
    layer.remove(0)
    assert layer.alive == [1] and layer.chosen() == 1
    assert layer(torch.ones(1)).item() == 1.0 and layer.cost.item() == 0.0
