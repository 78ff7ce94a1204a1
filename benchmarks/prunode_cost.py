"""What a Prunode costs: against one block of full width, and gpunet1's whole SuperNet against other forms of it.

Run: `python benchmarks/prunode_cost.py` (about a quarter of an hour; `--only blocks`, `--only steps`). Training mode,
one thread. Images are smaller than the space's 288 x 288, at which the literal form keeps 2 GiB an image and a process
that runs all forms in turn grows to about three times that; `--size 288 --batch 1` measures those.

blocks  Each block under search in gpunet1, alone: a Prunode's forward and backward pass with the masks that a search
        starts with ("full": half and all of the hidden width), with masks that have halved ("half": a quarter and
        half), and in the literal form at the start ("literal": a masked copy of the block for each width), all against
        the block itself at full width. Blocks that are alike are timed once and counted as often as they occur. Ratios
        are those of the sums over the blocks of a kind.
steps   A step of gpunet1's search at its start: forward, backward, the optimiser's step; of the weights and of the
        architecture weights. "shared" is what nasc generates; "literal" as above; "one" has every Prunode replaced by
        its block at full width.

Seconds are CPU time; the forms are timed in turn, round after round, and the ratios are medians over the rounds with
their quartiles. Activations are the bytes that autograd keeps for the backward pass, weights not counted, but the
input is.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from measuring import cpu_seconds, saved_bytes, shipped, spread, supernet_of
from torch import nn

from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.relax import relax
from nasc.runtime.costs import formula_costs
from nasc.runtime.methods.masks import Masks, MaskSettings
from nasc.runtime.methods.prunet import Prunet
from nasc.runtime.search_optimizers import make_optimizer
from nasc.runtime.supernet import Prunode

START, HALVED = MaskSettings(), MaskSettings(small=0.25, large=0.5)
Timed = dict[str, list[float]]
"""Seconds of each form, a number for each round."""


def searched(literal: bool = False) -> Prunet:
    """gpunet1 as a search begins with it; both forms start from the same random weights."""
    torch.manual_seed(0)
    network, method = shipped("gpunet1"), find_method("prunet")
    layers = relax(network)
    supernet = supernet_of(network, layers, method, literal=literal).train()
    return Prunet(supernet, layers, formula_costs(layers, "macs"), PrunetOptions(cost="macs"))


def pair() -> tuple[Prunet, Prunet]:
    """Both forms, with the same parameters and statistics in memory."""
    shared, literal = searched(), searched(literal=True)
    literal.supernet.load_state_dict(shared.supernet.state_dict(keep_vars=True), assign=True)
    return shared, literal


def train(method: Prunet, architecture: bool) -> None:
    """Let gradients flow to weights of one kind, as a search does."""
    for parameter in method.weights():
        parameter.requires_grad_(not architecture)
    for parameter in method.architecture():
        parameter.requires_grad_(architecture)


def ratios(over: list[float], under: list[float]) -> list[float]:
    return [a / b for a, b in zip(over, under, strict=True)]


# ---------------------------------------------------------------------------------------------- blocks


@dataclass
class Place:
    """A block that occurs `count` times: as a Prunode in both forms, and the shapes of what goes in and comes out."""

    node: Prunode
    literal: Prunode
    shapes: tuple[torch.Size, torch.Size]
    count: int = 0
    seconds: Timed = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)

    @property
    def gated(self) -> bool:
        return hasattr(self.node.block, "gate")

    @property
    def kind(self) -> str:
        name = "irb" if hasattr(self.node.block, "depthwise") else "fused irb"
        return f"{name}, SE" if self.gated else name

    def forms(self) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
        """How the block can be called."""
        full = self.node.widths[-1]
        return {
            "one": lambda x: self.node.block(x, (full,))[0],
            "full": lambda x: at(self.node, START)(x, 1.0)[0],
            "half": lambda x: at(self.node, HALVED)(x, 1.0)[0],
            "literal": lambda x: at(self.literal, START)(x, 1.0)[0],
        }

    def measure(self) -> None:
        """One round: seconds of all forms, and what each keeps."""
        for form, call in self.forms().items():
            self.node.zero_grad()
            x, towards = torch.randn(self.shapes[0], requires_grad=True), torch.randn(self.shapes[1])
            self.seconds.setdefault(form, []).append(cpu_seconds(lambda: call(x).backward(towards)))  # noqa: B023
            if form not in self.kept:
                own = (*self.node.parameters(), *self.node.buffers())
                self.kept[form] = saved_bytes(lambda: call(x), own)  # noqa: B023


def at(node: Prunode, settings: MaskSettings) -> Prunode:
    """The Prunode with its masks there."""
    masks = Masks(node.widths, settings)
    node.small, node.large = masks.small, masks.large
    return node


def places(batch: int, size: int) -> list[Place]:
    """Every block under search, those that are alike once."""
    shared, literal = pair()
    shapes: dict[nn.Module, tuple[torch.Size, torch.Size]] = {}

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], outputs: tuple[torch.Tensor, ...]) -> None:
        shapes[module] = inputs[0].shape, outputs[0].shape

    nodes = dict(shared.prunodes())
    hooks = [node.register_forward_hook(note) for node in nodes.values()]
    with torch.no_grad():
        shared.supernet(torch.randn(batch, 3, size, size))
    for hook in hooks:
        hook.remove()
    train(shared, architecture=False)
    found: dict[object, Place] = {}
    for key, other in literal.prunodes():
        node = nodes[key]
        # What a module prints is all of its sizes.
        alike = (repr(node.block), node.widths, shapes[node])
        found.setdefault(alike, Place(node, other, shapes[node])).count += 1
    return list(found.values())


def blocks(batch: int, size: int, rounds: int) -> None:
    """Time the blocks and print their table."""
    found = places(batch, size)
    for number in range(rounds + 1):
        for place in found:
            place.measure()
            if not number:  # the first is a warm-up
                place.seconds.clear()
        print(f"blocks, round {number} of {rounds}", file=sys.stderr)
    kinds = ["irb", "fused irb", "irb, SE", "fused irb, SE"]
    rows = {kind: [place for place in found if place.kind == kind] for kind in kinds}
    rows |= {name: [p for p in found if p.gated is gated] for name, gated in (("no SE", False), ("SE", True))}
    rows["all"] = found
    forms = ("full", "half", "literal")
    print(f"\nBatch {batch}, {size} x {size}. Against one block at full width:\n")
    print(f"| blocks | how many | {' | '.join(f'time, {form}' for form in forms)} |", end="")
    print(f" {' | '.join(f'activations, {form}' for form in forms)} |")
    print("| --- | --- |" + " --- |" * 2 * len(forms))
    for name, those in rows.items():
        times = [spread(ratios(summed(those, form), summed(those, "one"))) for form in forms]
        kept = [f"{kept_bytes(those, form) / kept_bytes(those, 'one'):.3f}" for form in forms]
        print(f"| {name} | {sum(p.count for p in those)} | {' | '.join([*times, *kept])} |")


def summed(found: list[Place], form: str) -> list[float]:
    """Seconds of each round over all blocks, as often as they occur."""
    rounds = zip(*(place.seconds[form] for place in found), strict=True)
    return [sum(s * place.count for s, place in zip(each, found, strict=True)) for each in rounds]


def kept_bytes(found: list[Place], form: str) -> int:
    return sum(place.count * place.kept[form] for place in found)


# ---------------------------------------------------------------------------------------------- steps


@dataclass
class Steps:
    """Steps of the whole SuperNet in three forms, over the same weights."""

    batch: int
    size: int

    def __post_init__(self) -> None:
        self.shared, self.literal = pair()
        options = self.shared.options
        self.optimizers = {
            False: make_optimizer(options.weights, self.shared.weights()),
            True: make_optimizer(options.architecture, self.shared.architecture()),
        }
        self.images = torch.randn(self.batch, 3, self.size, self.size)
        self.labels = torch.randint(1000, (self.batch,))

    def forms(self, architecture: bool) -> Iterator[tuple[str, Prunet]]:
        """Every form in turn, made ready."""
        for form, method in (("shared", self.shared), ("literal", self.literal), ("one", self.shared)):
            for _, node in method.prunodes():
                if form == "one":
                    node.settle(node.widths[-1])
                else:
                    at(node, START)
            train(method, architecture)
            yield form, method

    def loss(self, method: Prunet) -> torch.Tensor:
        return method.loss(nn.functional.cross_entropy(method.supernet(self.images), self.labels))

    def step(self, method: Prunet, architecture: bool) -> None:
        optimizer = self.optimizers[architecture]
        optimizer.zero_grad()
        self.loss(method).backward()
        optimizer.step()


def steps(batch: int, size: int, rounds: int) -> None:
    """Time the steps and print their table."""
    found = Steps(batch, size)
    seconds: dict[bool, Timed] = {False: {}, True: {}}
    kept: dict[bool, dict[str, int]] = {False: {}, True: {}}
    for architecture in (False, True):
        for form, method in found.forms(architecture):
            kept[architecture][form] = saved_bytes(
                lambda: found.loss(method),  # noqa: B023
                (*method.supernet.parameters(), *method.supernet.buffers()),
            )
    for number in range(rounds + 1):
        for architecture in (False, True):
            for form, method in found.forms(architecture):
                taken = cpu_seconds(lambda: found.step(method, architecture))  # noqa: B023
                if number:  # the first is a warm-up
                    seconds[architecture].setdefault(form, []).append(taken)
        print(f"steps, round {number} of {rounds}", file=sys.stderr)
    print(f"\nA step of gpunet1's SuperNet, batch {batch}, {size} x {size}:\n")
    print("| step of | form | seconds | of literal | of one | activations, GiB | of literal | of one |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for architecture, name in ((False, "weights"), (True, "architecture")):
        for form, taken in seconds[architecture].items():
            times = [spread(ratios(taken, seconds[architecture][other])) for other in ("literal", "one")]
            own = kept[architecture][form]
            sizes = [f"{own / kept[architecture][other]:.3f}" for other in ("literal", "one")]
            print(
                f"| {name} | {form} | {statistics.median(taken):.2f} | {' | '.join(times)} "
                f"| {own / 2**30:.2f} | {' | '.join(sizes)} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["blocks", "steps"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=160, help="pixels a side; the space has 288")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name, part in (("blocks", blocks), ("steps", steps)):
        if given.only in (None, name):
            part(given.batch, given.size, given.rounds)


if __name__ == "__main__":
    main()
