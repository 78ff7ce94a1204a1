"""What makes a SuperNet's search step faster or smaller, and what does not: each variant against the plain step.

Run: `python benchmarks/supernet_speed.py --space digits` (or `fashion`, `gpunet1`); `--variants` chooses, `--compile`
adds `torch.compile` (minutes, digits). A step trains the weights or the architecture weights: forward, loss, backward,
optimiser, on noise, with the masks that a search starts with. One thread, CPU time; the variants take their steps in
turn, round after round, and the ratios are of the steps of one round: median (first and third quartile). "activations"
are the bytes that autograd keeps of a step that trains the weights, beside weights and statistics; of a batch in parts,
those of one part.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasc.commands.plan import make_plan
from nasc.compiler.lower_supernet import supernet_source
from nasc.compiler.methods.plugins import find_method
from nasc.runtime import supernet
from nasc.runtime.costs import formula_costs
from nasc.runtime.methods.prunet import Prunet
from nasc.runtime.search_optimizers import make_optimizer

SPACES = Path(__file__).resolve().parents[1] / "spaces"
BATCHES = {"digits": 64, "fashion": 32, "gpunet1": 2}


class Search:
    """A SuperNet, its two optimisers and a batch; the plain step."""

    def __init__(self, space: str, batch: int) -> None:
        torch.manual_seed(0)
        plan = make_plan(SPACES / f"{space}.nas", "prunet", batch)
        names: dict[str, Any] = {"__name__": space}
        exec(compile(supernet_source(plan.network, plan.layers, find_method("prunet")), space, "exec"), names)
        self.model: nn.Module = names[space.capitalize()]().train()
        self.method = Prunet(self.model, plan.layers, formula_costs(plan.layers, "macs"), plan.options)
        self.optimizers = {
            False: make_optimizer(plan.options.weights, self.method.weights()),
            True: make_optimizer(plan.options.architecture, self.method.architecture()),
        }
        source = plan.network.input
        self.images = torch.randn(batch, int(str(source.channels)), *source.spatial)
        self.labels = torch.arange(batch) % 10
        self.forward: Callable[[Tensor], Tensor] = self.model
        self.parts, self.precision = 1, torch.float32
        self.seconds: dict[bool, list[float]] = {False: [], True: []}

    def step(self, architecture: bool) -> None:
        """A step as a search takes it."""
        self.train(architecture)
        self.optimizers[architecture].zero_grad()
        for images, labels in zip(self.images.chunk(self.parts), self.labels.chunk(self.parts), strict=True):
            (self.loss(images, labels, architecture) / self.parts).backward()
        self.optimizers[architecture].step()

    def train(self, architecture: bool) -> None:
        """Let gradients flow to weights of one kind."""
        for parameter in self.method.weights():
            parameter.requires_grad_(not architecture)
        for parameter in self.method.architecture():
            parameter.requires_grad_(architecture)

    def loss(self, images: Tensor, labels: Tensor, architecture: bool) -> Tensor:
        """Eq. 2 or, for the weights, the cross-entropy."""
        with torch.autocast("cpu", self.precision, enabled=self.precision is not torch.float32):
            logits = self.forward(images)
        entropy = nn.functional.cross_entropy(logits.float(), labels)
        return self.method.loss(entropy) if architecture else entropy

    def kept_bytes(self) -> int:
        """What autograd keeps of (a part of) a step that trains the weights."""
        own = {t.untyped_storage().data_ptr() for t in (*self.model.parameters(), *self.model.buffers())}
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        self.train(architecture=False)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = self.loss(self.images.chunk(self.parts)[0], self.labels.chunk(self.parts)[0], False)
        del loss
        return sum(kept.values())


# ------------------------------------------------------------------------------------------------- variants


def plain(search: Search) -> None:
    """Contiguous, single precision."""


def channels_last(search: Search) -> None:
    search.images = search.images.to(memory_format=torch.channels_last)


def stacked(search: Search) -> None:
    """Outputs of candidates copied into one tensor and summed, as the stochastic layer did before."""

    def forward(images: Tensor) -> Tensor:
        with replaced(supernet, "reduce", lambda _, terms: torch.stack(terms).sum(0)):
            logits: Tensor = search.model(images)
        return logits

    search.forward = forward


def stacked_channels_last(search: Search) -> None:
    stacked(search)
    channels_last(search)


def bfloat16(search: Search) -> None:
    search.precision = torch.bfloat16


def bfloat16_channels_last(search: Search) -> None:
    bfloat16(search)
    channels_last(search)


def foreach(search: Search) -> None:
    for optimizer in search.optimizers.values():
        for group in optimizer.param_groups:
            group["foreach"], group["fused"] = True, None


def checkpointed(search: Search) -> None:
    for layer in search.method.layers.values():
        layer.recompute = True


def checkpointed_channels_last(search: Search) -> None:
    checkpointed(search)
    channels_last(search)


def halves(search: Search) -> None:
    """`--accumulate 2`."""
    search.parts = 2


def siblings(search: Search) -> None:
    """The first 1x1 convolutions of a layer's candidates, which read the same images, as one: a prototype."""
    for layer in search.method.layers.values():
        if all(hasattr(node.block, "pointwise1") for node in layer.prunodes().values()) and layer.prunodes():
            layer.register_forward_pre_hook(expand_together)


VARIANTS: dict[str, Callable[[Search], None]] = {
    "plain": plain,
    "channels-last": channels_last,
    "stack": stacked,
    "stack,channels-last": stacked_channels_last,
    "bf16": bfloat16,
    "bf16,channels-last": bfloat16_channels_last,
    "foreach": foreach,
    "checkpoint": checkpointed,
    "checkpoint,channels-last": checkpointed_channels_last,
    "accumulate2": halves,
    "siblings": siblings,
}


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def expand_together(layer: supernet.StochasticLayer, inputs: tuple[Tensor, ...]) -> None:
    """One convolution with the weights of all candidates; each candidate's own then only hands over its part."""
    nodes = list(layer.prunodes().values())
    firsts = [node.block.get_submodule("pointwise1") for node in nodes]
    widths = [node.large for node in nodes]
    weight = torch.cat([first.weight[:width] for first, width in zip(firsts, widths, strict=True)])
    parts = nn.functional.conv2d(inputs[0], weight).split(widths, dim=1)
    for first, part in zip(firsts, parts, strict=True):
        first.forward = lambda x, width=None, part=part: part


# ------------------------------------------------------------------------------------------------- optimisers


def time_optimizers(search: Search, rounds: int) -> None:
    """An optimiser's step over the weights: one tensor after another, by lists, and fused."""
    weights = search.method.weights()
    search.train(architecture=False)
    search.loss(search.images, search.labels, False).backward()
    print("| optimiser | a tensor at a time, ms | `foreach` | `fused` |\n| --- | --- | --- | --- |")
    for kind in (torch.optim.RMSprop, torch.optim.SGD, torch.optim.Adam):
        momentum = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        made = [kind(weights, 1e-5, foreach=False, **momentum), kind(weights, 1e-5, foreach=True, **momentum)]
        if kind is not torch.optim.RMSprop:  # which has no fused form
            made.append(kind(weights, 1e-5, fused=True, **momentum))
        seconds: list[list[float]] = [[] for _ in made]
        for number in range(rounds + 2):
            for each, optimizer in zip(seconds, made, strict=True):
                began = time.process_time()
                optimizer.step()
                if number > 1:
                    each.append(time.process_time() - began)
        cells = [ratio(each, seconds[0]) for each in seconds[1:]] + ["none"] * (3 - len(made))
        print(f"| {kind.__name__} | {statistics.median(seconds[0]) * 1e3:.2f} | {' | '.join(cells)} |", flush=True)


# ------------------------------------------------------------------------------------------------- torch.compile


def time_compiled(search: Search, rounds: int) -> None:
    """`torch.compile` of the whole SuperNet: what the first step costs, then steps, then the masks move."""
    import torch._dynamo

    torch._dynamo.config.recompile_limit = 64
    other = Search("digits", len(search.images))
    other.forward = torch.compile(other.model)
    print("| step | CPU seconds of it | graphs so far |\n| --- | --- | --- |")
    for moved in range(3):
        for each in (search, other) if moved else ():
            for _, node in each.method.prunodes():
                node.small, node.large = node.widths[0], node.widths[-1 - moved]
        before = cpu_seconds()
        other.step(False)
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        print(f"| masks moved {moved} times | {cpu_seconds() - before:.1f} | {graphs} |", flush=True)
        timed({"plain": search, "compiled": other}, rounds, (False,))
        print(f"| later, against plain | {ratio(other.seconds[False], search.seconds[False])} | |", flush=True)
        search.seconds[False].clear()
        other.seconds[False].clear()


def cpu_seconds() -> float:
    """Of this process and those it started."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


# ------------------------------------------------------------------------------------------------- memory


def print_peaks(space: str, batch: int, variants: list[str]) -> None:
    """The largest resident memory of a fresh process that takes two steps of each kind."""
    print(f"| {space}, batch {batch} | peak of the process, MiB |\n| --- | --- |")
    for name in variants:
        words = [sys.executable, __file__, "--space", space, "--batch", str(batch), "--variants", name, "--child"]
        peak = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        print(f"| {name} | {peak / 2**20:.0f} |", flush=True)


def peak_of(search: Search) -> int:
    for _ in range(2):
        search.step(False)
        search.step(True)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# ------------------------------------------------------------------------------------------------- timing


def timed(searches: dict[str, Search], rounds: int, kinds: tuple[bool, ...] = (False, True)) -> None:
    for number in range(rounds + 1):
        for search in searches.values():
            for architecture in kinds:
                began = time.process_time()
                search.step(architecture)
                if number:  # the first is a warm-up
                    search.seconds[architecture].append(time.process_time() - began)
        print(f"round {number} of {rounds}", file=sys.stderr)


def ratio(seconds: list[float], base: list[float]) -> str:
    ratios = [a / b for a, b in zip(seconds, base, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def known(name: str) -> str:
    if name not in VARIANTS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(VARIANTS)}")
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=BATCHES, default="digits")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--variants", nargs="+", type=known, default=list(VARIANTS))
    parser.add_argument("--optimizers", action="store_true", help="time the optimisers alone instead")
    parser.add_argument("--compile", action="store_true", help="time torch.compile on digits instead")
    parser.add_argument("--peak", action="store_true", help="print the peak memory of processes instead")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    batch = arguments.batch or BATCHES[arguments.space]
    if arguments.compile:
        return time_compiled(Search("digits", batch), arguments.rounds)
    if arguments.optimizers:
        return time_optimizers(Search(arguments.space, batch), arguments.rounds)
    if arguments.peak:
        return print_peaks(arguments.space, batch, arguments.variants)
    if arguments.child:
        (name,) = arguments.variants
        VARIANTS[name](alone := Search(arguments.space, batch))
        return print(peak_of(alone))
    searches = {name: Search(arguments.space, batch) for name in dict.fromkeys(["plain", *arguments.variants])}
    for name, search in searches.items():
        VARIANTS[name](search)
    kept = {name: search.kept_bytes() for name, search in searches.items()}
    timed(searches, arguments.rounds)
    base = searches["plain"]
    print(
        f"| {arguments.space}, batch {batch} | weights step, ms | ratio | architecture step, ms | ratio | activations |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name, search in searches.items():
        cells = []
        for architecture in (False, True):
            seconds = search.seconds[architecture]
            cells += [f"{statistics.median(seconds) * 1e3:.0f}", ratio(seconds, base.seconds[architecture])]
        print(f"| {name} | {' | '.join(cells)} | {kept[name] / 2**20:.1f} MiB ({kept[name] / kept['plain']:.2f}) |")


if __name__ == "__main__":
    main()
