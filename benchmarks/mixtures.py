"""What a search's step costs over one space: PruNet's Prunodes, FBNet's mixture, and NNI's DARTS (PruNet's Table 3).

Run: `python benchmarks/mixtures.py`. Four inverted residuals, each with two kernels, squeeze-and-excitation or not, and
eight hidden widths. PruNet makes four Prunodes of a layer, a mixture 32 blocks. "one width" is the same space with the
largest width only, over which a mixture has as many candidates as PruNet. A step is the forward and backward pass of
the cross-entropy, with gradients of weights and of architecture weights, and the optimisers' steps; CPU time of one
thread. The rows take turns, round after round; ratios are of one round, median (quartiles). "activations" are the bytes
that autograd keeps for the backward pass. NNI (https://nni.readthedocs.io) mixes the very blocks that nasc generates
for `fbnet`; where it is not installed (`pip install nni 'pytorch-lightning<2.1' 'setuptools<70'`) its rows are missing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from measuring import cpu_seconds, saved_bytes, spread, supernet_of
from torch import nn

from nasc.compiler.count import count_members
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.runtime.supernet import StochasticLayer, stochastic_layers

IMAGES, DARTS = 8, "NNI's DARTS"
SPACE = """nas 1
space mixtures {{
  input   image 3 x 24 x 24
  output  classes 10
  stage stem  conv     {{ kernel 3 }}                                         -> 16
  stage low   irb x 2  {{ kernel {{3, 5}}            se {{0, 1}}  hidden {low} }} -> 16
  stage mid   irb x 2  {{ kernel {{3, 5}}  stride 2  se {{0, 1}}  hidden {mid} }} -> 32
  head    global_pool | linear
}}
"""
WIDTHS = {"one width": ("64", "128"), "eight widths": ("8 .. 64 step 8", "16 .. 128 step 16")}


@dataclass
class Row:
    """A SuperNet over one of the two spaces, and a step of it."""

    name: str
    widths: str
    model: nn.Module
    step: Callable[[], None]
    activations: int
    seconds: list[float] = field(default_factory=list)


def relaxed(method_name: str, widths: str) -> nn.Module:
    """The SuperNet that nasc generates."""
    method = find_method(method_name)
    network = network_of(space_of(open_file("mixtures.nas", text_of(widths))))
    assert method.relax is not None
    return supernet_of(network, method.relax(network), method)


def text_of(widths: str) -> str:
    """The file of one of the spaces."""
    low, mid = WIDTHS[widths]
    return SPACE.format(low=low, mid=mid)


def darts(widths: str) -> nn.Module:
    """NNI's SuperNet: the mixture's layers made into choices, and these mixed. Raises `ImportError` without NNI."""
    from nni.nas.nn.pytorch import LayerChoice, ModelSpace
    from nni.nas.strategy import DARTS as Strategy

    class Space(ModelSpace):
        def __init__(self) -> None:
            super().__init__()
            self.network = relaxed("fbnet", widths)
            for path, layer in [x for x in self.network.named_modules() if isinstance(x[1], StochasticLayer)]:
                parent, _, name = path.rpartition(".")
                choice = LayerChoice(list(layer.candidates.values()), label=layer.address)
                setattr(self.network.get_submodule(parent), name, choice)

        def forward(self, x: torch.Tensor) -> Any:
            return self.network(x)

    made: nn.Module = Strategy().mutate_model(Space())
    return made


def row(name: str, widths: str) -> Row:
    """A SuperNet, a step of it, and what the step keeps. Raises `ImportError` for one of NNI where that is not."""
    torch.manual_seed(0)
    model = (darts(widths) if name == DARTS else relaxed(name, widths)).train()
    images, labels = torch.randn(IMAGES, 3, 24, 24), torch.randint(10, (IMAGES,))
    weights, architecture = (
        [p for name, p in model.named_parameters() if name.endswith(("theta", "_arch_alpha")) is wanted]
        for wanted in (False, True)
    )
    optimizers = [torch.optim.RMSprop(weights, 1e-4), torch.optim.Adam(architecture, 1e-3)]

    def loss() -> torch.Tensor:
        return nn.functional.cross_entropy(model(images), labels)

    def step() -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss().backward()
        for optimizer in optimizers:
            optimizer.step()

    return Row(name, widths, model, step, saved_bytes(loss, [*model.parameters(), *model.buffers()]))


def rows() -> list[Row]:
    """PruNet's over the whole space first: the others are compared with it."""
    found = [row("prunet", "eight widths")]
    for widths in WIDTHS:
        found.append(row("fbnet", widths))
        try:
            found.append(row(DARTS, widths))
        except ImportError as error:
            print(f"without NNI: {error}", file=sys.stderr)
    return found


def blocks(model: nn.Module) -> int:
    """The candidates of all layers."""
    layers = stochastic_layers(model)
    if layers:
        return sum(layer.count for layer in layers.values())
    return sum(len(module.names) for module in model.modules() if type(module).__name__ == "DifferentiableMixedLayer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    compared = rows()
    for number in range(rounds + 1):
        for each in compared:
            seconds = cpu_seconds(each.step)
            if number:  # the first is a warm-up
                each.seconds.append(seconds)
        print(f"round {number} of {rounds}", file=sys.stderr)
    base = compared[0]
    print("| method | space | members | candidates | weights, MiB | activations, MiB | ratio | step, ms | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for each in compared:
        members = count_members(space_of(open_file("mixtures.nas", text_of(each.widths))))
        parameters = sum(p.numel() * p.element_size() for p in each.model.parameters())
        ratios = [a / b for a, b in zip(each.seconds, base.seconds, strict=True)]
        print(
            f"| {each.name} | {each.widths} | {members:,} | {blocks(each.model)} | {parameters / 2**20:.2f} "
            f"| {each.activations / 2**20:.1f} | {each.activations / base.activations:.2f} "
            f"| {statistics.median(each.seconds) * 1e3:.0f} | {spread(ratios)} |"
        )


if __name__ == "__main__":
    main()
