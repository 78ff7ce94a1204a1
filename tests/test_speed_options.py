"""What makes a search's step faster or smaller changes nothing else: checkpointed activations, channels last, fused."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from nasc.compiler.lower_supernet import supernet_source
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.values import Optimizer
from nasc.compiler.network import network_of
from nasc.runtime.precision import layout_of
from nasc.runtime.search_optimizers import make_optimizer, restore_moments
from nasc.runtime.supernet import seed_noise, stochastic_layers
from tests.searches import NARROW, compiled, run, same_runs
from tests.spaces import in_space, space_of

SPACE = in_space(
    " stage stem conv { kernel 3 } -> 8\n"
    " stage low irb x 2 { kernel {3, 5} expand (1, 4] se {0, 1} } -> 8\n"
    " stage last one of { conv { kernel 1 } irb { kernel 3 hidden 8 } conv { kernel 3 } } -> 8\n"
    " head global_pool | dropout(0.5) | linear\n"
)
Kind = Literal["sgd", "rmsprop", "adam", "adamw"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def supernet(method_name: str = "prunet", text: str = SPACE) -> nn.Module:
    method, network = find_method(method_name), network_of(space_of(text))
    assert method.relax is not None
    names: dict[str, Any] = {"__name__": "small"}
    exec(compile(supernet_source(network, method.relax(network), method), "small", "exec"), names)
    torch.manual_seed(1)
    made: nn.Module = names["Small"]().train()
    return made


def images() -> Tensor:
    return torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(3))


def loss_of(model: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(5)
    seed_noise(7)
    cost = torch.stack([layer.cost for layer in stochastic_layers(model).values()]).sum()
    return nn.functional.cross_entropy(model(x), torch.arange(len(x)) % 3) + cost.detach()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_buffers())


def saved_bytes(forward: Callable[[], Tensor], model: nn.Module) -> int:
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()
    del loss
    return sum(kept.values())


# ------------------------------------------------------------------------------------------ activations recomputed


@pytest.mark.parametrize("method", ["prunet", "fbnet"])
@pytest.mark.parametrize("settled", [False, True])
def test_recomputed_activations_change_no_bit(method: str, settled: bool) -> None:
    plain = supernet(method)
    if settled and method == "prunet":
        for layer in stochastic_layers(plain).values():
            for node in layer.prunodes().values():
                node.settle(node.widths[1])
    again = deepcopy(plain)
    for layer in stochastic_layers(again).values():
        layer.recompute = True
    for _ in range(2):
        losses = [loss_of(model, images()) for model in (plain, again)]
        assert torch.equal(*losses)
        drawn = torch.get_rng_state()
        for loss in losses:
            loss.backward()
        assert torch.equal(torch.get_rng_state(), drawn)
    assert gradients(plain).keys() == gradients(again).keys()
    for name, gradient in gradients(plain).items():
        assert torch.equal(gradient, gradients(again)[name]), name
    for name, buffer in statistics(plain).items():
        assert torch.equal(buffer, statistics(again)[name]), name


def test_recomputed_activations_are_not_kept() -> None:
    model = supernet()
    before = saved_bytes(lambda: loss_of(model, images()), model)
    for layer in stochastic_layers(model).values():
        layer.recompute = True
    assert saved_bytes(lambda: loss_of(model, images()), model) < 0.5 * before


def test_a_search_with_recomputed_activations_ends_the_same(tmp_path: Path) -> None:
    with compiled(NARROW, tmp_path, "prunet") as job:
        few = {"epochs": 3, "warmup": 1, "batch": 16}
        run(job, tmp_path / "plain", options=few)
        run(job, tmp_path / "again", options=few, checkpoint_activations=True)
    same_runs(tmp_path / "plain", tmp_path / "again")


# ------------------------------------------------------------------------------------------ channels last


@pytest.mark.parametrize("method", ["prunet", "fbnet"])
def test_channels_last_is_the_same_step(method: str) -> None:
    plain = supernet(method).double()
    last = deepcopy(plain)
    loss_of(plain, images().double()).backward()
    loss_of(last, images().double().to(memory_format=torch.channels_last)).backward()
    for name, gradient in gradients(plain).items():
        torch.testing.assert_close(gradients(last)[name], gradient, msg=name)
    for name, buffer in statistics(plain).items():
        torch.testing.assert_close(statistics(last)[name], buffer, msg=name)
    assert all(p.is_contiguous() for p in last.parameters())  # what is written to files stays as it was


def test_images_stay_channels_last_from_layer_to_layer() -> None:
    """One operator in between that goes back costs all that is gained."""
    model, kept = supernet(text=SPACE.replace("image 4", "image 1")), []
    for layer in stochastic_layers(model).values():
        layer.register_forward_hook(
            lambda _module, _inputs, y: kept.append(y.is_contiguous(memory_format=torch.channels_last))
        )
    loss_of(model, images()[:, :1].to(memory_format=torch.channels_last))
    assert kept == [True] * 3


@pytest.mark.parametrize(
    ("choice", "device", "precision", "last"),
    [
        ("auto", "cpu", None, True),
        ("auto", "cpu", torch.bfloat16, False),
        ("auto", "cuda", None, False),
        ("on", "cuda", torch.float16, True),
        ("off", "cpu", None, False),
    ],
)
def test_which_layout(choice: Any, device: str, precision: torch.dtype | None, last: bool) -> None:
    wanted = torch.channels_last if last else torch.contiguous_format
    assert layout_of(choice, torch.device(device), precision) is wanted


def test_a_search_channels_last_decides_as_one_that_is_not(tmp_path: Path) -> None:
    with compiled(NARROW, tmp_path, "prunet") as job:
        few = {"epochs": 2, "warmup": 1, "batch": 32}
        on, off = (run(job, tmp_path / c, options=few, channels_last=c) for c in ("on", "off"))
    assert on.cost == pytest.approx(off.cost, rel=1e-3)
    assert on.loss == pytest.approx(off.loss, rel=1e-3)


# ------------------------------------------------------------------------------------------ fused optimisers


def section(kind: Kind) -> Optimizer:
    return Optimizer(kind=kind, rate=0.1, decay=0.01, momentum=0.9, squares=0.99, epsilon=1e-3)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_fused_optimisers_take_the_same_steps(kind: Kind) -> None:
    """Also those whose moments come from a checkpoint of one that was not fused."""
    reference = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    fused = nn.Parameter(reference.detach().clone())
    settings = section(kind)
    plain, quick = make_optimizer(settings, [nn.Parameter(reference)]), make_optimizer(settings, [fused])
    weight = plain.param_groups[0]["params"][0]
    assert quick.param_groups[0]["fused"]
    plain.param_groups[0]["fused"] = False
    for step in range(6):
        weight.grad = torch.sin(weight.detach() * (step + 1))
        fused.grad = torch.sin(fused.detach() * (step + 1))
        if step == 3:
            restore_moments(quick, settings, deepcopy(plain.state_dict()))
            assert quick.param_groups[0]["fused"]
        plain.step()
        quick.step()
        torch.testing.assert_close(fused, weight)
