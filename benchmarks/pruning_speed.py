"""What pruning saves: the epochs of a PruNet search after warm-up, pruned against unpruned.

Run: `python benchmarks/pruning_speed.py` (about ten minutes on one core; `--images 512` for twice the steps). Searches
of `spaces/fashion.nas` (nine layers of four blocks each) on some Fashion-MNIST images, by MACs. From one warm-up for
each seed go on, epoch by epoch in turn so that other work on the machine meets all of them alike:

  unpruned   masks stay where they start and no block is removed
  masks      masks move (Algorithm 1), no block is removed
  constant   masks move, blocks fall below a constant threshold: the first of the linear one, as in the paper's B.1
  linear     as the method is: the threshold rises from 0.15 to 0.55 (eq. 6)

All have the same SuperNet, whose Prunodes compute their hidden channels once. Seconds are CPU time of one thread.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from measuring import cpu_seconds, shipped, supernet_of
from torch import nn
from torch.utils.data import Subset

from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.relax import relax
from nasc.compiler.methods.values import Schedule
from nasc.runtime import checkpoint
from nasc.runtime.costs import formula_costs
from nasc.runtime.data import DataSplits, load_data
from nasc.runtime.methods.prunet import Prunet
from nasc.runtime.methods.searched import Decided
from nasc.runtime.prefix import initialise
from nasc.runtime.progress import SilentProgress
from nasc.runtime.search_context import Settings
from nasc.runtime.search_run import KIND, VERSION, WARMUP, SearchRun
from nasc.runtime.seeds import derived_generator

IDENTITY: dict[str, Any] = {"space": "fashion", "method": "prunet"}


class MasksOnly(Prunet):
    """Removes nothing."""

    def end_epoch(self, epoch: int) -> Decided:
        return Decided()


class Unpruned(MasksOnly):
    """Moves no mask either."""

    def after_step(self, progress: float) -> list[nn.Parameter]:
        return []


VARIANTS: dict[str, type[Prunet]] = {"unpruned": Unpruned, "masks": MasksOnly, "constant": Prunet, "linear": Prunet}


@dataclass
class Row:
    """One search: its epochs' seconds, and the candidates and the mean of the large masks that each began with."""

    run: SearchRun
    seconds: list[float] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)

    def epoch(self) -> None:
        self.candidates.append(self.run.method.candidates_left())
        nodes = [node for _, node in self.run.method.prunodes()]
        self.widths.append(sum(node.large / node.widths[-1] for node in nodes) / max(1, len(nodes)))
        self.seconds.append(cpu_seconds(self.run.run_epoch))

    @property
    def total(self) -> float:
        return sum(self.seconds)


def search_run(variant: str, data: DataSplits, options: PrunetOptions) -> SearchRun:
    """A search that has not begun."""
    if variant == "constant":
        first = options.threshold.first  # The section would refuse it: layers may stay undecided.
        options = options.model_copy(update={"threshold": Schedule(first=first, last=first)})
    network, method = shipped("fashion"), find_method("prunet")
    layers = relax(network)
    supernet = supernet_of(network, layers, method)
    initialise(supernet, derived_generator(options.seed, "initialise"))
    mixture = VARIANTS[variant](supernet, layers, formula_costs(layers, options.cost), options)
    return SearchRun(mixture, data, options, torch.device("cpu"), SilentProgress(), Settings(data="fashion"))


def images(number: int, seed: int) -> DataSplits:
    """Some images of Fashion-MNIST."""
    data = load_data("fashion", input_shape=(1, 28, 28), classes=10)
    drawn = torch.randperm(len(data.train), generator=derived_generator(seed, "images"))[:number]  # type: ignore[arg-type]
    return replace(data, train=Subset(data.train, drawn.tolist()))


def searches(seed: int, given: argparse.Namespace) -> Iterator[tuple[str, Row]]:
    """Every variant, gone on from one warm-up to the end."""
    options = PrunetOptions(
        epochs=given.epochs, warmup=given.warmup, batch=given.batch, alpha=(given.alpha,), cost="macs", seed=seed
    )
    data = images(given.images, seed)
    first = search_run("linear", data, options)
    with tempfile.TemporaryDirectory() as folder:
        while first.epoch < options.warmup:
            first.run_epoch()
        path = Path(folder) / WARMUP
        checkpoint.save(path, first.state(IDENTITY), KIND, VERSION)
        rows = {
            variant: Row(search_run(variant, data, options)) for variant in VARIANTS if variant not in given.without
        }
        for row in rows.values():
            row.run.restore_warmup(path, IDENTITY)
    for number in range(options.warmup, options.epochs):
        for row in rows.values():
            row.epoch()
        print(f"seed {seed}, epoch {number + 1} of {options.epochs}", file=sys.stderr)
    yield from rows.items()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=0.6)
    parser.add_argument("--without", choices=["masks", "constant"], nargs="*", default=[])
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {seed: dict(searches(seed, given)) for seed in given.seeds}
    print("| seed | search | seconds after warm-up | of unpruned | of linear | blocks and skips left | cross-entropy |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for seed, rows in found.items():
        for variant, row in rows.items():
            of = [f"{row.total / rows[other].total:.2f}" for other in ("unpruned", "linear")]
            left, last = row.run.method.candidates_left(), row.run.last
            print(f"| {seed} | {variant} | {row.total:.1f} | {' | '.join(of)} | {left} | {last['cross_entropy']:.3f} |")
    print("\nSeconds an epoch, with the candidates and the mean of the large masks that it began with:\n")
    names = [f"{variant}, seed {seed}" for seed, rows in found.items() for variant in rows]
    print(f"| epoch | {' | '.join(names)} |")
    print("| --- |" + " --- |" * len(names))
    columns = [row for rows in found.values() for row in rows.values()]
    for number in range(given.epochs - given.warmup):
        cells = [f"{r.seconds[number]:.1f} ({r.candidates[number]}, {r.widths[number]:.2f})" for r in columns]
        print(f"| {given.warmup + number + 1} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
