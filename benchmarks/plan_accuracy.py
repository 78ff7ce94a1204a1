"""What `nasc plan` predicts against what happens: bytes, peak memory and the time of a step.

Run: `python benchmarks/plan_accuracy.py`. "activations" are the bytes that autograd keeps in a step that trains the
weights, with the cross-entropy; "peak" is the largest resident memory of a process that does nothing but three steps
of each kind. Times are for one thread: the device is measured, then the steps of all spaces in turn, round after round,
and the device again. A step's time is its shortest, as the device's ceilings are; the prediction is by the mean of the
two measurements of the device, and "spread" is how far the two are apart. Cells are predicted / measured (ratio).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nasc.commands.plan import make_plan
from nasc.compiler.lower_supernet import supernet_source
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.plan import Plan
from nasc.runtime.calibrate import calibrate, process_bytes
from nasc.runtime.plan_times import Ceilings, full_steps
from nasc.runtime.search_optimizers import make_optimizer
from nasc.runtime.supernet import Prunode, StochasticLayer

SPACES = Path(__file__).resolve().parents[1] / "spaces"
CASES = (("digits", "prunet", 64), ("fashion", "prunet", 32), ("gpunet1", "prunet", 2), ("fbnet", "fbnet", 4))
STEPS = 3


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
        return nn.functional.cross_entropy(self.model(images), torch.zeros(batch, dtype=torch.long))


def case(name: str, method: str, batch: int) -> Case:
    """A SuperNet with the masks that a search starts with."""
    torch.manual_seed(0)
    plan = make_plan(SPACES / f"{name}.nas", method, batch)
    names: dict[str, Any] = {"__name__": name}
    exec(compile(supernet_source(plan.network, plan.layers, find_method(method)), name, "exec"), names)
    model: nn.Module = names[name.capitalize()]().train()
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
    own = {t.untyped_storage().data_ptr() for t in (*found.model.parameters(), *found.model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    found.train(architecture=False)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = found.loss()
    del loss
    return sum(kept.values())


def peak_bytes(number: int) -> int:
    """The peak of a fresh process that runs case `number`, or none for -1."""
    out = subprocess.run([sys.executable, __file__, "--child", str(number)], capture_output=True, text=True, check=True)
    return int(out.stdout)


def child(number: int) -> None:
    if number >= 0:
        found = case(*CASES[number])
        for _ in range(STEPS):
            found.step(False)
            found.step(True)
    print(process_bytes())


def predicted(plan: Plan, measured: list[Ceilings], architecture: bool) -> tuple[float, float]:
    """Seconds of a step by the mean of the measurements of the device, and how far these are apart."""
    steps = [full_steps(plan, ceilings) for ceilings in measured]
    seconds = [each.architecture if architecture else each.weights for each in steps]
    mean = sum(seconds) / len(seconds)
    return mean, (max(seconds) - min(seconds)) / mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.child is not None:
        return child(arguments.child)
    base = peak_bytes(-1)
    peaks = [peak_bytes(number) for number in range(len(CASES))]
    cases = [case(*each) for each in CASES]
    kept = [kept_bytes(found) for found in cases]
    measured = [calibrate("cpu")]
    for number in range(arguments.rounds + 1):
        for found in cases:
            for architecture in (False, True):
                began = time.perf_counter()
                found.step(architecture)
                if number:  # the first is a warm-up
                    found.seconds[architecture].append(time.perf_counter() - began)
        print(f"round {number} of {arguments.rounds}", file=sys.stderr)
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
