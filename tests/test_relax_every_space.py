"""Every method over a SuperNet on every shipped space: a step of training, or a diagnostic at the place of a choice."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from nasc.compiler.compile import compile_file
from nasc.compiler.fullest import fullest
from nasc.compiler.ir import Network
from nasc.compiler.masks import masked
from nasc.dsl.diagnostics import DiagnosticError
from nasc.runtime.masks import MaskBank, with_masks
from nasc.runtime.supernet import StochasticLayer, seed_noise, stochastic_layers
from tests.spaces import SPACES, space_of

METHODS = ("prunet", "fbnet")
MASKED = ("spos", "morphnet", "figs")

SETTINGS = {
    "vit.nas": ("dim=192", "size=32", "body.x=8"),
    "gpt.nas": ("dim=256", "body.x=4"),
}
"""What must be given one value before there is a SuperNet of a space."""

SIDE = 64
"""Smaller pictures than the files', where a network takes any."""


def choices_of(name: str) -> list[tuple[str, ...]]:
    """A space as it is written, and with what a SuperNet needs."""
    return [(), *([SETTINGS[name]] if SETTINGS.get(name) else [])]


CASES = [(path, sets, method) for path in SPACES for sets in choices_of(path.name) for method in (*METHODS, *MASKED)]


@pytest.mark.parametrize(("path", "sets", "method"), CASES, ids=lambda value: getattr(value, "name", str(value)))
def test_a_step_or_a_place(path: Path, sets: tuple[str, ...], method: str, tmp_path: Path) -> None:
    """Exercises: every supernet."""
    torch.set_num_threads(1)
    try:
        compile_file(path, tmp_path / "out", method=method, sets=sets)
    except DiagnosticError as refused:
        (found,) = refused.diagnostics
        line, _ = found.span.source.position(found.span.start)
        assert found.code == "E0380" and found.help and line > 1, refused
        assert not sets or method in MASKED, refused
        assert (path.name, method) not in RELAXED, refused
        return
    assert (path.name, method) in RELAXED or sets
    network = Network.model_validate_json((tmp_path / "out" / "space.json").read_bytes())
    supernet = supernet_of(tmp_path / "out")
    if method in MASKED:
        if method == "figs":  # the others' SuperNet is the same
            step_with_masks(supernet, network, path)
        return
    before = [p.detach().clone() for p in architecture(supernet)]
    step(supernet, network)
    assert any(not torch.equal(a, b) for a, b in zip(before, architecture(supernet), strict=True))


RELAXED = {
    (name, method)
    for name, methods in {
        "convnext.nas": ("prunet",),
        "digits.nas": (*METHODS, *MASKED),
        "efficientnet_v2.nas": ("prunet", *MASKED),
        "fashion.nas": ("prunet", *MASKED),
        "fbnet.nas": (*METHODS, *MASKED),
        "fbnet_paper.nas": (*METHODS, *MASKED),
        "figs_fbnet.nas": MASKED,
        "figs_oneshot.nas": MASKED,
        "figs_oneshot_add.nas": MASKED,
        "figs_resnet152.nas": MASKED,
        "figs_resnet50.nas": MASKED,
        "gpunet1.nas": ("prunet", *MASKED),
        "gpunet1_product.nas": ("prunet", *MASKED),
        "gpunet1_table1.nas": ("prunet", *MASKED),
        "prunet_table5.nas": (*METHODS, *MASKED),
        "regnet.nas": ("prunet",),
        "tiny_gpt.nas": METHODS,
        "tiny_vit.nas": METHODS,
    }.items()
    for method in methods
}


def supernet_of(folder: Path) -> nn.Module:
    torch.manual_seed(0)
    module = ModuleType("supernet")
    exec(compile((folder / "supernet.py").read_text(), "supernet.py", "exec"), module.__dict__)
    first = ("Every network of", "The fullest network of")
    (made,) = [c for c in vars(module).values() if isinstance(c, type) and (c.__doc__ or "").startswith(first)]
    made_of: nn.Module = made()
    return made_of


def step_with_masks(supernet: nn.Module, network: Network, path: Path) -> None:
    """A step of weights and logits; masks that are drawn nearly all 0 or 1 have little gradient, so tau is large."""
    bank = MaskBank(masked(fullest(space_of(path))), tau=1.0)
    with_masks(supernet, bank)
    before = bank.logits.detach().clone()
    seed_noise(1)
    step(supernet, network)
    assert not torch.equal(before, bank.logits)


def architecture(supernet: nn.Module) -> list[nn.Parameter]:
    return [layer.theta for layer in stochastic_layers(supernet).values()] + [
        node.theta
        for layer in supernet.modules()
        if isinstance(layer, StochasticLayer)
        for node in layer.prunodes().values()
    ]


def inputs(network: Network) -> Tensor:
    shape = (2, *map(int, network.input.layout))
    if network.input.ids:
        return torch.randint(0, 100, shape)
    fixed = any(node.op == "position" for stage in network.stages for node in stage.layers[0].variants[0].graph.nodes)
    return torch.randn(shape if fixed else (*shape[:2], min(SIDE, shape[2]), min(SIDE, shape[3])))


def step(supernet: nn.Module, network: Network) -> None:
    """One step of all weights by the cross-entropy of arbitrary labels."""
    optimizer = torch.optim.SGD(supernet.parameters(), 0.1)
    logits = supernet.train()(inputs(network)).flatten(0, -2)
    loss = nn.functional.cross_entropy(logits, torch.arange(len(logits)) % logits.shape[1])
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    optimizer.step()
