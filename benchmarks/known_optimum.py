"""How often PruNet's search ends in the known optimum, by its options and its length.

Run: `python benchmarks/known_optimum.py` (about half an hour; `--seeds 5` for a look). The problems are those of
`tests/test_search_oracle.py`: made-up SuperNets with a separable loss, whose best network brute force knows. "widths"
are three layers with one block each, of 16 widths; "all" has four blocks, 16 widths and the skip in each layer. Right
is a search that ends in the best blocks and skips, and in widths to within one step of the grid. Only the options named
differ from what the paper prints. Steps are those that train architecture weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from nasc.compiler.methods.prunet import PrunetOptions
from tests.synthetic import run_search
from tests.test_search_oracle import is_right, problem

BASE: dict[str, Any] = {"epochs": 16, "warmup": 2, "batch": 1, "split": 0.5, "phi": 1.0, "lambda": 1.0}
SLOW = {"architecture": {"kind": "adam", "rate": 0.03}}
SETTINGS: dict[str, dict[str, Any]] = {
    "as printed": {},
    "rate 0.03": SLOW,
    "reset_moments yes": {"reset_moments": True},
    "rate 0.03, reset_moments yes": {**SLOW, "reset_moments": True},
    "mask_steps architecture": {"mask_steps": "architecture"},
    "removal together": {"removal": "together"},
    "skip_weight initial": {"skip_weight": "initial"},
}
PER_EPOCH = 14
"""Epochs of search, whose halves of the images are one step each."""


def solved(tier: str, seed: int, steps: int, options: dict[str, Any]) -> bool:
    """Does one search end right?"""
    given = problem(tier, seed)
    chosen = PrunetOptions(**{**BASE, "seed": seed, **options})
    return is_right(given, run_search(given, chosen, 2 * steps // PER_EPOCH))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, nargs="+", default=[84, 840])
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| options | steps | widths, of {given.seeds} | all, of {given.seeds} |")
    print("| --- | --- | --- | --- |")
    for steps in given.steps:
        for name in given.settings:
            right = [sum(solved(t, s, steps, SETTINGS[name]) for s in range(given.seeds)) for t in ("widths", "all")]
            print(f"| {name} | {steps} | {right[0]} | {right[1]} |", flush=True)


if __name__ == "__main__":
    main()
