"""Does the trend of PruNet's Table 6 show: how many blocks a search keeps, and its loss, over alpha, phi and lambda?

Run: `python benchmarks/layer_skipping.py --out /tmp/layers` (about an hour on two cores; `--seeds 0` for a third). On
scikit-learn's digits, over a space of nine inverted residuals of which seven may be dropped, with latencies that ONNX
Runtime measures here first. For each seed one warm-up is shared by all 20 combinations, as in the paper. What is done
already in the folder is not done again. Prints each cell's loss and number of blocks, mean over the seeds with its
standard deviation, and how the number of blocks goes with alpha and with lambda.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

SPACE = """nas 1

// Nine inverted residuals for 16 x 16 images; all but the two that halve the resolution may be dropped.
space layers {
  input       image 1 x 16 x 16
  output      classes 10
  granularity 8
  skip        same_shape

  stage stem  conv      { kernel 3      }                           -> 8
  stage low   irb  x 3  { kernel {3, 5}            expand (1, 6] }  -> 8
  stage mid   irb  x 3  { kernel {3, 5}  stride 2  expand (1, 4] }  -> 16
  stage high  irb  x 3  { kernel {3, 5}  stride 2  expand (1, 4] }  -> 32
  head        conv      { kernel 1      } -> 64 | global_pool | linear
}

search prunet {
  epochs 24  warmup 8  batch 64
  weights rmsprop { rate 0.004  decay 1e-5 }
}
"""
ALPHAS = (2.0, 1.2, 0.8, 0.4, 0.2)
COLUMNS = ((1.0, 1.0), (1.1, 0.85), (1.1, 0.55), (1.1, 0.4))
"""phi and lambda, as in Table 6."""

Cell = tuple[float, float, float]
"""alpha, phi, lambda."""


def nasc(*arguments: object) -> None:
    """Run a command. Raises `CalledProcessError` where it fails."""
    subprocess.run([sys.executable, "-m", "nasc", *map(str, arguments)], check=True, stdout=sys.stderr)


def prepare(out: Path) -> None:
    """Compile the space and measure its blocks."""
    (out / "space.nas").parent.mkdir(parents=True, exist_ok=True)
    (out / "space.nas").write_text(SPACE, encoding="utf-8")
    nasc("compile", out / "space.nas", "-o", out / "space")
    nasc("profile", out / "space", "--table", out / "latency.db")


def search(out: Path, seed: int) -> None:
    """All 20 searches of a seed: one sweep for phi 1.1, one for phi 1 from the same warm-up."""
    first = out / f"seed_{seed}_phi_1.1"
    alphas = ",".join(map(str, ALPHAS))
    common = ("--data", "digits", "--table", out / "latency.db", "--threads", 1, "--resume", "--seed", seed)
    nasc("search", out / "space", *common, "--alpha", alphas, "--lambda", "0.85,0.55,0.4", "--out", first)
    warmup = ("--warmup-from", first / "warmup" / "warmup.pt")
    options = ("--alpha", alphas, "--lambda", "1", "--set", "phi=1", "--out", out / f"seed_{seed}_phi_1")
    nasc("search", out / "space", *common, *warmup, *options)


def results(out: Path, seeds: list[int]) -> dict[Cell, list[tuple[float, int]]]:
    """Final loss and number of blocks left of every search."""
    found: dict[Cell, list[tuple[float, int]]] = defaultdict(list)
    for seed in seeds:
        for phi in (1.1, 1.0):
            sweep = json.loads((out / f"seed_{seed}_phi_{phi:g}" / "sweep.json").read_text(encoding="utf-8"))
            for run in sweep["runs"]:
                # Besides the layers that may be dropped, both strided ones are searched.
                found[run["alpha"], phi, run["lambda"]].append((run["loss"], run["layers"]))
    return found


def table(found: dict[Cell, list[tuple[float, int]]]) -> str:
    """Table 6's layout: a row for each alpha, loss and blocks for each phi and lambda."""
    lines = ["| alpha | " + " | ".join(f"phi {p:g}, lambda {v:g}: loss | blocks" for p, v in COLUMNS) + " |"]
    lines.append("| --- |" + " --- |" * (2 * len(COLUMNS)))
    for alpha in ALPHAS:
        cells = []
        for phi, lambda_ in COLUMNS:
            losses, blocks = zip(*found[alpha, phi, lambda_], strict=True)
            cells += [spread(losses, 3), spread(blocks, 1)]
        lines.append(f"| {alpha:g} | " + " | ".join(cells) + " |")
    means = [statistics.mean(b for alpha in ALPHAS for _, b in found[alpha, *column]) for column in COLUMNS]
    lines.append("| all | " + " | ".join(f" | {mean:.2f}" for mean in means) + " |")
    return "\n".join(lines)


def spread(values: tuple[float, ...], digits: int) -> str:
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def trends(found: dict[Cell, list[tuple[float, int]]]) -> str:
    """Rank correlations of the number of blocks over all searches of a column, and of a row."""
    lines = []
    for phi, lambda_ in COLUMNS:
        pairs = [(alpha, blocks) for alpha in ALPHAS for _, blocks in found[alpha, phi, lambda_]]
        lines.append(f"phi {phi:g}, lambda {lambda_:g}: blocks against alpha, {correlation(pairs)}")
    for alpha in ALPHAS:
        pairs = [(lambda_, blocks) for phi, lambda_ in COLUMNS for _, blocks in found[alpha, phi, lambda_]]
        lines.append(f"alpha {alpha:g}: blocks against lambda, {correlation(pairs)}")
    return "\n".join(lines)


def correlation(pairs: list[tuple[float, int]]) -> str:
    """Spearman's, in words."""
    from scipy.stats import spearmanr

    if len({blocks for _, blocks in pairs}) == 1:
        return f"all {pairs[0][1]}"
    return f"Spearman {spearmanr(pairs)[0]:+.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", type=int, help="run this seed's searches alone, so that seeds can run side by side")
    given = parser.parse_args()
    if not (given.out / "latency.db").exists():
        prepare(given.out)
    for seed in given.seeds if given.only is None else [given.only]:
        search(given.out, seed)
    if given.only is None:
        found = results(given.out, given.seeds)
        print(table(found), trends(found), sep="\n\n")


if __name__ == "__main__":
    main()
