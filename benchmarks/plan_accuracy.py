"""What `nasc plan` predicts against what happens: bytes, peak memory and the time of a step.

Run: `python benchmarks/plan_accuracy.py`, or with cases of your own, such as `fashion,prunet,8 fbnet,fbnet,4`.
"activations" are the bytes that autograd keeps in a step that trains the weights, with the cross-entropy; "peak" is the
largest resident memory of a process that does nothing but three steps of each kind. Times are CPU time of one thread:
the device is measured, then some steps of each case in turn, round after round, and the device again. A step's time is
its shortest, as the device's ceilings are; the prediction is by the mean of the two measurements of the device, and
"spread" is how far the two are apart. Cells are predicted / measured (ratio).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from measuring import SPACES, cpu_seconds, saved_bytes, supernet_of
from torch import nn

from nasc.commands.plan import make_plan
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.plan import Plan
from nasc.runtime.calibrate import calibrate, process_bytes
from nasc.runtime.plan_times import Ceilings, full_steps
from nasc.runtime.precision import layout_of
from nasc.runtime.search_optimizers import make_optimizer
from nasc.runtime.supernet import Prunode, StochasticLayer

CASES = ("digits,prunet,64", "fashion,prunet,32", "gpunet1,prunet,2", "fbnet,fbnet,4")
"""Space, method and batch: those that the plan was tuned on."""
STEPS = 3
TURN_SECONDS = 0.5


@dataclass
class Case:
    """A SuperNet, its plan, and the seconds of its steps that train the weights and the architecture weights."""

    name: str
    plan: Plan
    model: nn.Module
    optimizers: dict[bool, torch.optim.Optimizer]
    weights: list[nn.Parameter]
    architecture: list[nn.Parameter]
    seconds: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})

    def step(self, architecture: bool) -> None:
        """A step as a search takes it, on noise."""
        self.train(architecture)
        loss = self.loss()
        self.optimizers[architecture].zero_grad()
        loss.backward()
        self.optimizers[architecture].step()

    def train(self, architecture: bool) -> None:
        """Let gradients flow to weights of one kind."""
        for parameter in self.weights:
            parameter.requires_grad_(not architecture)
        for parameter in self.architecture:
            parameter.requires_grad_(architecture)

    def loss(self) -> torch.Tensor:
        """The cross-entropy of a batch."""
        network, batch = self.plan.network, self.plan.batch
        images = torch.randn(batch, int(str(network.input.channels)), *network.input.spatial)
        images = images.to(memory_format=layout_of("auto", images.device, None))
        return nn.functional.cross_entropy(self.model(images), torch.zeros(batch, dtype=torch.long))


def case(words: str) -> Case:
    """The SuperNet of a space, a method and a batch, with the masks that a search starts with."""
    name, method, batch = words.split(",")
    torch.manual_seed(0)
    plan = make_plan(SPACES / f"{name}.nas", method, int(batch))
    model = supernet_of(plan.network, plan.layers, find_method(method)).train()
    architecture = [m.theta for m in model.modules() if isinstance(m, StochasticLayer | Prunode)]
    ids = {id(parameter) for parameter in architecture}
    weights = [parameter for parameter in model.parameters() if id(parameter) not in ids]
    masks = {
        (layer.address, i): plan.widths(c) for layer in plan.layers for i, c in enumerate(layer.candidates) if c.width
    }
    for layer in (m for m in model.modules() if isinstance(m, StochasticLayer)):
        for number, node in layer.prunodes().items():
            node.small, node.large = masks[layer.address, number]
    optimizers = {
        False: make_optimizer(plan.options.weights, weights),
        True: make_optimizer(plan.options.architecture, architecture),
    }
    return Case(f"{name}, {method}, batch {batch}", plan, model, optimizers, weights, architecture)


def kept_bytes(found: Case) -> int:
    """What autograd keeps of a step that trains the weights, beside weights and statistics."""
    found.train(architecture=False)
    return saved_bytes(found.loss, [*found.model.parameters(), *found.model.buffers()])


def peak_bytes(words: str = "") -> int:
    """The peak of a fresh process that runs a case, or none."""
    out = subprocess.run([sys.executable, __file__, "--child", words], capture_output=True, text=True, check=True)
    return int(out.stdout)


def child(words: str) -> None:
    """Run a case, and print the peak of this process."""
    if words:
        found = case(words)
        for _ in range(STEPS):
            found.step(False)
            found.step(True)
    print(process_bytes())


def turn(step: Callable[[], object]) -> list[float]:
    """The seconds of steps in a row: after another case the first gets its memory from the system, as a search's does
    not."""
    step()
    seconds = [cpu_seconds(step)]
    while sum(seconds) < TURN_SECONDS:
        seconds.append(cpu_seconds(step))
    return seconds


def predicted(plan: Plan, measured: list[Ceilings], architecture: bool) -> tuple[float, float]:
    """Seconds of a step by the mean of the measurements of the device, and how far these are apart."""
    steps = [full_steps(plan, ceilings) for ceilings in measured]
    seconds = [each.architecture if architecture else each.weights for each in steps]
    mean = sum(seconds) / len(seconds)
    return mean, (max(seconds) - min(seconds)) / mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("cases", nargs="*", metavar="SPACE,METHOD,BATCH", default=CASES)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.child is not None:
        return child(arguments.child)
    base = peak_bytes()
    peaks = [peak_bytes(words) for words in arguments.cases]
    cases = [case(words) for words in arguments.cases]
    kept = [kept_bytes(found) for found in cases]
    measured = [calibrate("cpu")]
    for number in range(arguments.rounds):
        for found in cases:
            for architecture in (False, True):
                found.seconds[architecture] += turn(partial(found.step, architecture))
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    measured.append(calibrate("cpu"))
    print("| search | parameters | activations | peak memory | weights step | architecture step | spread |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for found, peak, bytes_kept in zip(cases, peaks, kept, strict=True):
        plan = found.plan
        parameters = sum(p.numel() * p.element_size() for p in found.model.parameters())
        cells = [
            _cell(plan.stored.parameters / 2**20, parameters / 2**20, "MiB"),
            _cell(plan.weights_step.kept.at(plan.batch) / 2**20, bytes_kept / 2**20, "MiB"),
            _cell((plan.peak() + base) / 2**20, peak / 2**20, "MiB"),
        ]
        spread = 0.0
        for architecture in (False, True):
            seconds, spread = predicted(plan, measured, architecture)
            cells.append(_cell(seconds * 1e3, min(found.seconds[architecture]) * 1e3, "ms"))
        print(f"| {found.name} | {' | '.join(cells)} | {spread:.0%} |")


def _cell(predicted: float, measured: float, unit: str) -> str:
    return f"{predicted:.4g} / {measured:.4g} {unit} ({predicted / measured:.3f})"


if __name__ == "__main__":
    main()
