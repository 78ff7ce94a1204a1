"""Time and memory of a search's step as the number of widths per block grows: a Prunode against a mixture.

Run: `python benchmarks/width_scaling.py`. Two inverted residuals whose largest hidden width stays 256 are searched
over 2 to 256 evenly spaced widths. PruNet relaxes each to one Prunode; FBNet's mixture has one block per width. A
step is the forward and backward pass of the cross-entropy and an optimiser's step for weights, on one thread. The
rows are timed in turn, round after round; "activations" are the bytes that autograd keeps for the backward pass. The
mixture stops at 64 candidates a layer, which is as many as nasc relaxes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from measuring import saved_bytes, supernet_of
from torch import nn

from nasc.compiler.methods.plugins import find_method
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of

LARGEST, IMAGES = 256, 8
COUNTS = {"prunet": (2, 4, 8, 16, 32, 64, 128, 256), "fbnet": (2, 4, 8, 16, 32, 64)}
SPACE = """nas 1
space widths {{
  input   image 3 x 16 x 16
  output  classes 10
  stage stem  conv      {{ kernel 3 }}                                       -> 16
  stage body  irb x 2   {{ kernel 3  hidden {first} .. {last} step {first} }} -> 16
  head    global_pool | linear
}}
"""


@dataclass
class Row:
    """One SuperNet."""

    method: str
    widths: int
    step: Callable[[], None]
    parameters: int
    activations: int
    seconds: list[float]


def supernet(method_name: str, widths: int) -> nn.Module:
    """The generated SuperNet of the space with so many widths."""
    method = find_method(method_name)
    text = SPACE.format(first=LARGEST // widths, last=LARGEST)
    network = network_of(space_of(open_file("widths.nas", text)))
    assert method.relax is not None
    return supernet_of(network, method.relax(network), method)


def row(method: str, widths: int) -> Row:
    """A SuperNet, a step of it, and what the step keeps."""
    torch.manual_seed(0)
    model = supernet(method, widths).train()
    images, labels = torch.randn(IMAGES, 3, 16, 16), torch.randint(10, (IMAGES,))
    optimizer = torch.optim.RMSprop(model.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    return Row(method, widths, step, parameters, saved_bytes(lambda: model(images), model.parameters()), [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rows = [row(method, count) for method, counts in COUNTS.items() for count in counts]
    for number in range(rounds + 1):
        for each in rows:
            started = time.perf_counter()
            each.step()
            if number:  # the first is a warm-up
                each.seconds.append(time.perf_counter() - started)
        print(f"round {number} of {rounds}", file=sys.stderr)
    base = next(r for r in rows if r.method == "prunet")
    print("| method | widths a block | step, ms | ratio | activations, MiB | ratio | weights, MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for each in rows:
        seconds = statistics.median(each.seconds)
        ratio = statistics.median(a / b for a, b in zip(each.seconds, base.seconds, strict=True))
        print(
            f"| `{each.method}` | {each.widths} | {seconds * 1e3:.0f} | {ratio:.2f} | {each.activations / 2**20:.1f} "
            f"| {each.activations / base.activations:.2f} | {each.parameters / 2**20:.2f} |"
        )


if __name__ == "__main__":
    main()
