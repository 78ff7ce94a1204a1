"""Compares a generated network with a reference that its weights are copied from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from nasc.compiler.cost import cost_of
from tests.references import REFERENCES
from tests.spaces import ROOT, space_of
from tests.test_public_definitions import generated, images


@dataclass(frozen=True)
class Comparison:
    """Parameters and MACs of a reference; its largest output, and the largest difference of ours from it."""

    parameters: int
    macs: int
    largest: float
    difference: float


@contextmanager
def owners() -> Iterator[list[tuple[nn.Module, torch.Tensor]]]:
    """The modules with parameters of their own that run inside the context, in the order in which they finish."""
    calls: list[tuple[nn.Module, torch.Tensor]] = []

    def note(module: nn.Module, _: object, output: torch.Tensor) -> None:
        if any(True for _ in module.parameters(recurse=False)):
            calls.append((module, output))

    hook = nn.modules.module.register_module_forward_hook(note)
    try:
        yield calls
    finally:
        hook.remove()


def run(module: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[tuple[nn.Module, torch.Tensor]]]:
    with torch.no_grad(), owners() as calls:
        output = module(x)
    return output, calls


def randomise(module: nn.Module) -> None:
    """Weights that keep activations at one scale, and scales, shifts and statistics with nothing at 0 or 1."""
    random = torch.Generator().manual_seed(0)
    for part in module.modules():
        for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            if name == "running_var":
                tensor.data.uniform_(0.5, 2, generator=random)
            elif name.endswith("bias") or name == "running_mean":
                tensor.data.normal_(0, 0.3, generator=random)
            elif tensor.dim() > 1:
                tensor.data.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=random)
            elif tensor.is_floating_point():
                tensor.data.uniform_(0.5, 1.5, generator=random)


def copy_by_order(source: nn.Module, target: nn.Module, side: int) -> None:
    """Give the modules of `target` the tensors of those that run in their turn in `source`, one by one, all of them.

    A 1x1 convolution may take a linear layer's weights. Shapes must agree, so a wrong turn shows at the next width.
    """
    given, taken = ([m for m, _ in run(module, images(1, side))[1]] for module in (source, target))
    for module, parts in ((source, given), (target, taken)):
        assert len(set(parts)) == len(parts)
        own = sum(p.numel() for part in parts for p in part.parameters(recurse=False))
        assert own == sum(p.numel() for p in module.parameters())
    for old, new in zip(tensors(given), tensors(taken), strict=True):
        assert [n for n in old.shape if n > 1] == [n for n in new.shape if n > 1], (old.shape, new.shape)
        new.data.copy_(old.data.reshape(new.shape))


def tensors(modules: list[nn.Module]) -> Iterator[torch.Tensor]:
    """What modules hold of their own, one after another."""
    for module in modules:
        yield from module.parameters(recurse=False)
        yield from module.buffers(recurse=False)


def macs(calls: list[tuple[nn.Module, torch.Tensor]]) -> int:
    """Every element that a convolution or linear layer gives needs one row of its weight."""
    kinds = (nn.Conv2d, nn.Linear)
    return sum(out.numel() * m.weight[0].numel() for m, out in calls if isinstance(m, kinds))


def compare(name: str, side: int | None = None, build: Callable[[], nn.Module] | None = None) -> Comparison:
    """A network of spaces/networks against its reference at the file's image size, or for two images of `side`."""
    theirs, ours = (build or REFERENCES[name][1])().eval(), generated(name)
    randomise(theirs)
    whole = space_of(ROOT / "spaces" / "networks" / f"{name}.nas").header.input.height
    assert whole is not None
    copy_by_order(theirs, ours, side or whole)
    x = images(2, side or whole)
    (expected, calls), (found, _) = run(theirs, x), run(ours, x)
    assert found.shape == expected.shape
    largest = float(expected.abs().max())
    # What the two images give differs a hundred times more than any tolerance: the comparison is of signal.
    assert float((expected[0] - expected[1]).abs().max()) > 1e-3 * largest
    difference = float((found - expected).abs().max())
    return Comparison(sum(p.numel() for p in theirs.parameters()), macs(calls) // 2, largest, difference)


def cost(name: str) -> dict[str, object]:
    return cost_of(space_of(ROOT / "spaces" / "networks" / f"{name}.nas")).as_json()
