"""Masks at run time: their distribution and gradient against closed forms, and what they are put together from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.compiler.full_layer import Open
from nasc.compiler.segments import Derived, Masked, Plain, Segments, Taken
from nasc.runtime.masks import ChannelMask, MaskBank, MaskedBatchNorm2d, fix, masking_modules, with_masks
from nasc.runtime.supernet import seed_noise
from tests.masked import relaxed, supernet_of
from tests.spaces import in_space

SIMPLE = in_space("stage s conv { kernel 1 } -> 1 .. 8\n head global_pool | linear")
SAMPLES = 20_000
KOLMOGOROV = 1.63 / math.sqrt(SAMPLES)
"""What the largest distance of two distributions exceeds in one of a hundred samples."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def bank_of(
    sizes: Mapping[str, int], masks: Mapping[str, Segments] | None = None, tau: float = 0.001, logit: float = 2.5
) -> MaskBank:
    """A bank of decisions of these sizes."""
    opens = {name: Open(name, name, tuple(range(1, size + 1))) for name, size in sizes.items()}
    each = {name: (Masked(name, size),) for name, size in sizes.items()}
    return MaskBank(replace(relaxed(SIMPLE).masks, opens=opens, masks=masks or each), logit, tau)


def sample(logit: float, tau: float, seed: int = 0, size: int = SAMPLES) -> Tensor:
    bank = bank_of({"w": size}, tau=tau, logit=logit).double()
    seed_noise(seed)
    bank.draw()
    return bank.mask("w").detach()


# ------------------------------------------------------------------------------------------------ distribution


@pytest.mark.parametrize("tau", [1.0, 0.6, 0.4])
@pytest.mark.parametrize("logit", [-1.5, 0.0, 2.5])
def test_samples_have_the_logistic_sigmoid_distribution(logit: float, tau: float) -> None:
    """P(m <= x) = sigmoid(tau logit(x) - nu): of all x at once, by the Kolmogorov distance."""
    masks = np.sort(sample(logit, tau).numpy())
    exact = 1 / (1 + np.exp(logit - tau * np.log(masks / (1 - masks))))
    steps = np.arange(SAMPLES + 1) / SAMPLES
    distance = max(np.abs(exact - steps[1:]).max(), np.abs(exact - steps[:-1]).max())
    assert distance < KOLMOGOROV
    for wrong in (logit + 0.1, logit - 0.1):  # the test can tell
        other = 1 / (1 + np.exp(wrong - tau * np.log(masks / (1 - masks))))
        assert np.abs(other - steps[1:]).max() > KOLMOGOROV


@pytest.mark.parametrize("logit", [-4.0, -1.0, 0.0, 2.5])
def test_a_cold_mask_is_on_with_its_probability(logit: float) -> None:
    """P(m > 1/2) = sigmoid(nu) at any tau; at the printed one nearly all masks are 0 or 1."""
    probability = 1 / (1 + math.exp(-logit))
    spread = 3 * math.sqrt(probability * (1 - probability) / SAMPLES)
    for tau in (0.001, 0.5):
        assert abs((sample(logit, tau) > 0.5).double().mean().item() - probability) < spread
    cold = sample(logit, 0.001)
    between = ((cold > 0.01) & (cold < 0.99)).double().mean().item()
    assert between < 0.005 and ((cold >= 0) & (cold <= 1)).all()


def test_channels_are_drawn_apart() -> None:
    """Two channels of one bank agree as often as independent ones do."""
    bank = bank_of({"w": 2, "v": 1}, logit=0.0)
    rows = []
    for seed in range(4000):
        seed_noise(seed)
        bank.draw()
        rows.append((torch.cat([bank.mask("w"), bank.mask("v")]) > 0.5).tolist())
    found = np.array(rows)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert abs((found[:, i] == found[:, j]).mean() - 0.5) < 3 * 0.5 / math.sqrt(4000)


def test_noise_depends_on_its_seed_alone() -> None:
    bank = bank_of({"w": 50}, tau=0.5)

    def drawn(seed: int) -> list[float]:
        seed_noise(seed)
        bank.draw()
        return bank.mask("w").tolist()  # type: ignore[no-any-return]

    torch.manual_seed(3)
    first = drawn(7)
    torch.rand(1000)
    assert drawn(8) != first and drawn(7) == first
    bank.draw()
    assert bank.mask("w").tolist() != first


# ------------------------------------------------------------------------------------------------ gradient


@pytest.mark.parametrize("tau", [1.0, 0.3])
def test_the_gradient_of_a_mask(tau: float) -> None:
    """dm/dnu = m (1 - m) / tau for the noise that was drawn, by the formula and by finite differences."""
    bank = bank_of({"w": 40}, tau=tau).double()

    def masks(shift: float = 0.0) -> Tensor:
        with torch.no_grad():
            bank.logits.fill_(0.4 + shift)
        seed_noise(5)
        bank.draw()
        return bank.mask("w")

    weights = torch.linspace(-1, 2, 40, dtype=torch.float64)
    (masks() * weights).sum().backward()
    m = masks().detach()
    assert bank.logits.grad is not None
    torch.testing.assert_close(bank.logits.grad, weights * m * (1 - m) / tau)
    step = 1e-6
    difference = (masks(step).detach() - masks(-step).detach()) / (2 * step)
    torch.testing.assert_close(bank.logits.grad, weights * difference, rtol=1e-6, atol=1e-8)


def test_the_gradient_through_a_supernet() -> None:
    """Of the task's loss in the logits, by finite differences with the noise held."""
    text = in_space("stage s irb { kernel 3  hidden 8 .. 16 step 8  se 1 } -> 1 .. 3\n head global_pool | linear")
    given = relaxed(text)
    supernet, bank = supernet_of(given), MaskBank(given.masks, 0.2, tau=0.8).double()
    with_masks(supernet, bank)
    supernet.train()
    images = torch.randn(3, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def loss() -> Tensor:
        seed_noise(11)
        return functional.cross_entropy(supernet(images), torch.tensor([0, 1, 2]))

    loss().backward()  # type: ignore[no-untyped-call]
    gradient = bank.logits.grad
    assert gradient is not None and (gradient.abs() > 1e-9).float().mean() > 0.7  # channels behind a ReLU may be silent
    step = 1e-5
    for i in range(len(bank.logits)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                bank.logits[i] += sign * step
                values.append(loss().item())
                bank.logits[i] -= sign * step
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(gradient[i].item(), rel=1e-4, abs=1e-9)


# ------------------------------------------------------------------------------------------------ composition


COMPOSED: dict[str, Segments] = {
    "all": (
        Plain(3),
        Masked("w", 6),
        Derived(4, "w", (0, 1, 1, 2, 2, 4, 4), "w / 2"),
        Taken(Masked("w", 6), "t", 6),
        Taken(Plain(5), "t", 5),
    )
}


@pytest.mark.parametrize("seed", range(10))
def test_a_mask_is_its_segments_side_by_side(seed: int) -> None:
    """Against a loop over channels: plain ones stay, derived ones are the first, taken ones the most probable."""
    bank = bank_of({"w": 6, "t": 8}, COMPOSED, tau=0.0001)
    with torch.no_grad():
        bank.logits.copy_(torch.randn(14, generator=torch.Generator().manual_seed(seed)))
    seed_noise(seed)
    bank.draw()
    w, t = bank["w"].tolist(), bank["t"].tolist()
    logits = bank.logits[:6].tolist()
    expected = [1.0] * 3 + list(w)
    count = COMPOSED["all"][2].counts[round(sum(w))]  # type: ignore[union-attr]
    expected += [1.0] * count + [0.0] * (4 - count)
    expected += [w[i] * t[sum(other > logits[i] for other in logits)] for i in range(6)]
    expected += t[:5]
    assert bank.mask("all").tolist() == pytest.approx(expected)


def test_equally_probable_channels_are_taken_from_the_first_on() -> None:
    bank = bank_of({"w": 6, "t": 6}, {"m": (Taken(Masked("w", 6), "t", 6),)}, logit=1.0)
    bank.drawn = torch.tensor([1.0] * 6 + [1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    assert bank.mask("m").tolist() == [1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("training", [True, False])
def test_modes(training: bool) -> None:
    bank = bank_of({"w": 4}, tau=0.5).train(training)
    with torch.no_grad():
        bank.logits.copy_(torch.tensor([-3.0, -0.1, 0.0, 3.0]))
    bank.mode = "ones"
    bank.draw()
    assert bank.mask("w").tolist() == [1, 1, 1, 1]
    bank.mode = "likely"
    bank.draw()
    assert bank.mask("w").tolist() == [0, 0, 1, 1]
    bank.mode = "sample"
    bank.draw()
    between = [0 < m < 1 for m in bank.mask("w").tolist()]
    assert all(between) if training else bank.mask("w").tolist() == [0, 0, 1, 1]


def test_probabilities_and_expected_widths() -> None:
    bank = bank_of({"w": 3, "v": 2})
    with torch.no_grad():
        bank.logits.copy_(torch.tensor([0.0, 1.0, -2.0, 4.0, -4.0]))
    sigmoid = [1 / (1 + math.exp(-x)) for x in (0.0, 1.0, -2.0, 4.0, -4.0)]
    assert bank.probabilities().tolist() == pytest.approx(sigmoid)
    assert bank.expected().tolist() == pytest.approx([sum(sigmoid[:3]), sum(sigmoid[3:])], rel=1e-6)
    assert bank.widths() == pytest.approx({"w": sum(sigmoid[:3]), "v": sum(sigmoid[3:])}, rel=1e-6)
    assert bank.widths(50.0) == pytest.approx({"w": 3, "v": 2})
    assert bank.widths(-50.0) == pytest.approx({"w": 0, "v": 0})
    assert bank.ranked() == {"w": (1, 0, 2), "v": (0, 1)}
    assert bank_of({"w": 1}).probabilities().item() == pytest.approx(0.924, abs=1e-3)  # as printed (4.1)


# ------------------------------------------------------------------------------------------------ modules


def test_a_masked_batch_norm_is_a_batch_norm_and_then_a_mask() -> None:
    """Outputs, gradients and statistics, in training and in evaluation: where it is masked a channel is 0."""
    draw = torch.Generator().manual_seed(0)
    plain, masked = nn.BatchNorm2d(5), MaskedBatchNorm2d(5, mask="w")
    for name in ("weight", "bias", "running_mean"):
        getattr(plain, name).data.normal_(generator=draw)
    masked.load_state_dict(plain.state_dict())
    factor = torch.tensor([0.0, 1.0, 0.3, 0.0, 1.0])
    masked.fixed = factor
    for training in (True, True, False):
        x = torch.randn(4, 5, 3, 3, generator=draw)
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        outputs = [plain.train(training)(inputs[0]) * factor[:, None, None], masked.train(training)(inputs[1])]
        torch.testing.assert_close(outputs[1], outputs[0])
        assert (outputs[1][:, [0, 3]] == 0).all()
        for output in outputs:
            output.square().sum().backward()
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
        for name, tensor in plain.state_dict().items():
            torch.testing.assert_close(masked.state_dict()[name], tensor)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 5, 3), (2, 3)])
def test_a_channel_mask_by_shape(shape: tuple[int, ...]) -> None:
    """Images have their channels second, sequences and vectors last."""
    module = ChannelMask(3, "w")
    x = torch.ones(shape)
    assert module(x) is x
    module.fixed = torch.tensor([0.0, 1.0, 0.5])
    axis = 1 if len(shape) == 4 else len(shape) - 1
    found = module(x).movedim(axis, -1)
    assert (found == torch.tensor([0.0, 1.0, 0.5])).all()


def test_masks_are_drawn_once_a_forward_pass() -> None:
    """The modules of one mask agree within a pass, and the next pass has another."""
    given = relaxed(in_space("stage s irb { kernel 3  hidden 8 .. 64 step 8 } -> 4\n head global_pool | linear"))
    supernet, bank = supernet_of(given), MaskBank(given.masks, 0.0, tau=0.5)
    with_masks(supernet, bank)
    name = next(iter(bank.places))
    users = [m for m in masking_modules(supernet).values() if m.key == name]
    assert len(users) == 2  # behind the expansion and behind the depthwise convolution
    seen = []
    for _ in range(2):
        supernet.train()(torch.randn(2, 4, 8, 8, dtype=torch.float64))
        factors = [user.factor() for user in users]
        assert factors[0] is not None and factors[0] is factors[1]
        seen.append(factors[0].tolist())
    assert seen[0] != seen[1]
    assert not any("_bank" in key or "fixed" in key for key in supernet.state_dict())
    assert sum("logits" in key for key in supernet.state_dict()) == 1


@pytest.mark.parametrize("stage", ["t irb { kernel 3  hidden 8 .. 64 step 8 } -> 4", "s conv { kernel 1 } -> 1 .. 9"])
def test_a_supernet_of_another_space_is_noticed(stage: str) -> None:
    """A mask that the bank has not, and one of another size."""
    supernet = supernet_of(relaxed(in_space(f"stage {stage}\n head global_pool | linear")))
    with pytest.raises(KeyError):
        with_masks(supernet, MaskBank(relaxed(SIMPLE).masks))


def test_a_presence_masks_its_operator_as_a_whole() -> None:
    """One number for all channels, drawn anew each time; both the loss and the cost move its logit."""
    given = relaxed(
        in_space("stage s one of { conv { kernel 3 }  conv { kernel 1 } } -> 4\n head global_pool | linear")
    )
    supernet, bank = supernet_of(given), MaskBank(given.masks, 0.0, tau=0.5).double()
    with_masks(supernet, bank)
    images = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seed_noise(1)
    supernet.train()(images).square().sum().backward()
    assert bank.logits.grad is not None and (bank.logits.grad != 0).all()
    first, second = (bank[name].item() for name in bank.places)
    assert 0 < first < 1 and 0 < second < 1 and first != second
    with torch.no_grad():
        bank.logits.copy_(torch.tensor([3.0, -3.0]))
        supernet.eval()
        alone = supernet(images)
        bank.logits.copy_(torch.tensor([-3.0, -3.0]))
        assert (supernet(images)[0] == supernet(images)[1]).all()  # nothing of the images is left
        assert (alone[0] != alone[1]).any()


def test_fixed_masks_do_not_move() -> None:
    given = relaxed(SIMPLE)
    supernet = supernet_of(given)
    paths = list(masking_modules(supernet))
    fix(supernet, {paths[0]: (1, 4)})
    with_masks(supernet, MaskBank(given.masks))
    assert masking_modules(supernet)[paths[0]].factor().tolist() == [0, 1, 0, 0, 1, 0, 0, 0]  # type: ignore[union-attr]
    assert all(m.factor().sum() == 0 for p, m in masking_modules(supernet).items() if p != paths[0])  # type: ignore[union-attr]
