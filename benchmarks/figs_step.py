"""What FiGS' masks cost a step: the SuperNet of ResNet-50 at 224 x 224 against the same network without masks.

Run: `python benchmarks/figs_step.py` (about ten minutes on one core; `--space`, `--batch`, `--rounds`). Both have the
shapes of the space's fullest network, the same weights and images, channels last as searches have them. A step is as
FiGS takes it: forward, loss, backward, the optimiser's step over the weights; with masks also their drawing, the
expected cost with its gradient, and the optimiser's step over the logits. CPU time of one thread; the two take turns,
round after round, and ratios are of one round: median (first and third quartile). "activations" are the bytes that
autograd keeps for the backward pass. The parts are timed alone, as many times as there are rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace

import torch
from measuring import SPACES, cpu_seconds, saved_bytes, spread
from torch import Tensor, nn

from nasc.compiler.expected import cost_formulas
from nasc.compiler.fullest import fullest
from nasc.compiler.identifiers import class_name
from nasc.compiler.lower_masked import masked_source, widest
from nasc.compiler.masks import MaskedNetwork, masked
from nasc.compiler.methods.figs import FigsOptions
from nasc.compiler.opened import open_file, space_of
from nasc.runtime.expected_cost import ExpectedCost
from nasc.runtime.masks import MaskBank, masking_modules
from nasc.runtime.member_model import imported, module_of
from nasc.runtime.methods.figs import Figs
from nasc.runtime.search_optimizers import make_optimizer


class Step:
    """A network, a batch of noise and a step of training; with masks where there is `figs`."""

    def __init__(self, model: nn.Module, figs: Figs | None, images: Tensor, options: FigsOptions) -> None:
        self.model, self.figs, self.images = model.train(), figs, images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.arange(len(images)) % 10
        logits = figs.architecture() if figs else []
        own = {id(logit) for logit in logits}
        self.optimizers = [make_optimizer(options.weights, [p for p in model.parameters() if id(p) not in own])]
        self.optimizers += [make_optimizer(options.architecture, logits)] if figs else []
        self.seconds: list[float] = []

    def loss(self) -> Tensor:
        entropy = nn.functional.cross_entropy(self.model(self.images), self.labels)
        return self.figs.loss(entropy) if self.figs else entropy

    def take(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.loss().backward()
        for optimizer in self.optimizers:
            optimizer.step()

    def kept_bytes(self) -> int:
        return saved_bytes(self.loss, [*self.model.parameters(), *self.model.buffers(), self.images])


def without_masks(network: MaskedNetwork, weights: dict[str, Tensor]) -> nn.Module:
    """The same network, of the same shapes and weights, without masks."""
    bare = replace(network, layers=tuple(replace(layer, graph=layer.layer.graph) for layer in network.layers))
    model = module_of(widest(bare))
    assert not masking_modules(model)
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    return model


def steps(space: str, batch: int, size: int) -> dict[str, Step]:
    """The step without masks first: the other is compared with it."""
    torch.manual_seed(0)
    network = masked(fullest(space_of(open_file(SPACES / f"{space}.nas"))))
    options = FigsOptions(batch=batch, cost="macs", weights={"kind": "adam", "rate": 1e-4})
    supernet = imported(masked_source(network, "FiGS"), class_name(network.fullest.network.name, ()))
    plain = without_masks(network, supernet.state_dict())
    names, most = list(network.opens), [each.widths[-1] for each in network.opens.values()]
    figs = Figs(supernet, network, ExpectedCost(names, most, cost_formulas(network, "macs")), options)
    figs.begin()
    figs.start_epoch(0)
    images = torch.randn(batch, int(str(network.fullest.network.input.channels)), size, size)
    return {"plain": Step(plain, None, images, options), "masks": Step(supernet, figs, images, options)}


def parts(step: Step) -> dict[str, Callable[[], object]]:
    """What a step with masks does beside that without, one by one."""
    figs = step.figs
    assert figs is not None

    def gathered() -> None:
        draw(figs.bank)

    def price() -> None:
        figs.price(figs.bank.expected()).backward()

    return {"drawing": gathered, "expected cost": price, "optimiser of logits": step.optimizers[1].step}


def draw(bank: MaskBank) -> None:
    """Draw every mask as a forward pass does, with the gradient of all."""
    bank.draw()
    torch.cat([bank.mask(key) for key in bank.masks]).sum().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="figs_resnet50")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    compared = steps(given.space, given.batch, given.size)
    kept = {name: step.kept_bytes() for name, step in compared.items()}
    for number in range(given.rounds + 1):
        for step in compared.values():
            seconds = cpu_seconds(step.take)
            if number:  # the first is a warm-up
                step.seconds.append(seconds)
        print(f"round {number} of {given.rounds}", file=sys.stderr)
    base = compared["plain"]
    print(f"| {given.space}, batch {given.batch} | step, ms | ratio | activations, MiB | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for name, step in compared.items():
        ratios = [a / b for a, b in zip(step.seconds, base.seconds, strict=True)]
        print(
            f"| {name} | {statistics.median(step.seconds) * 1e3:.0f} | {spread(ratios)} "
            f"| {kept[name] / 2**20:.1f} | {kept[name] / kept['plain']:.3f} |"
        )
    print("\n| part of the step with masks | ms |\n| --- | --- |")
    for name, part in parts(compared["masks"]).items():
        part()
        print(f"| {name} | {statistics.median(cpu_seconds(part) for _ in range(given.rounds)) * 1e3:.2f} |")


if __name__ == "__main__":
    main()
