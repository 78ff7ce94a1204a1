"""Are the networks that PruNet finds better than random ones of the same latency? On Fashion-MNIST, measured here.

Run: `python benchmarks/fashion_study.py --out /tmp/fashion` (a core for about two hours; what is done already in the
folder is not done again). ONNX Runtime measures every block of a small space on this machine; for each seed a sweep
over alpha searches it, from one warm-up. Each network found is trained from scratch, and so are random members whose
predicted latency lies within 5 % of its own: drawn uniformly, by rejection; the same images, epochs, batches and seed.
Compared are accuracies on the 10,000 test images, which neither search nor training looks at. One random member is
trained with four more seeds: what training alone makes differ.

Prints the tables; writes results.jsonl (every training) and study.svg into the folder. Seeds can run side by side:
`--only SEED` does the searches and trainings of one of them (of these `--part search` or `train` alone), after
`--prepare` has measured.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from nasc.api import Space
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.sample import sample_members
from nasc.runtime.data_arrays import FASHION_DIRECTORIES

SPACE = """nas 1

// Where to look beyond a pixel (kernel 5, not 1) is a choice; three layers have no shortcut round a narrow width.
space garments {
  input       image 1 x 28 x 28
  output      classes 10
  granularity 4
  skip        same_shape

  stage stem  conv      { kernel 3       stride 2                        } -> 4
  stage early irb       { kernel {1, 5}            hidden 4 .. 32 step 4 } -> 8
  stage mid   irb  x 2  { kernel {1, 5}  stride 2  hidden 4 .. 48 step 4 } -> 16
  stage late  irb  x 2  { kernel {1, 5}  stride 2  hidden 4 .. 64 step 4 } -> 24
  head        global_pool | linear
}

search prunet {
  epochs 9  warmup 3  batch 64  augment none
  weights rmsprop { rate 0.004  decay 1e-5 }
}

target cpu { engine onnxruntime  precision fp32  batch 1 }
"""
IMAGES = 20_000
"""Training images taken, the file's first; of these a twelfth is put aside for validation, by the seed."""
TRAINING = ("--epochs", 4, "--batch", 64, "--rate", 0.05, "--warmup-epochs", 0.5, "--ema", 0, "--augment", "none")
WINDOW = 0.05
"""A random member's latency is this near to that of the network found, relative to it."""
ATTEMPTS = 300_000
NOISE_SEEDS = (100, 101, 102, 103)


@dataclass(frozen=True)
class Trained:
    """A training's end. `role` is found, random or noise; `accuracy` a fraction of the test images; `latency` in µs."""

    role: str
    alpha: float
    seed: int
    number: int
    latency: float
    macs: int
    params: int
    accuracy: float


def nasc(*arguments: object) -> None:
    """Run a command. Raises `CalledProcessError` where it fails."""
    subprocess.run([sys.executable, "-m", "nasc", *map(str, arguments)], check=True, stdout=sys.stderr)


# ------------------------------------------------------------------------------------------------ the work


def prepare(out: Path) -> None:
    """Compile the space, measure its blocks, and take the training images. What is there stays."""
    if not (out / "space" / "manifest.json").exists():
        out.mkdir(parents=True, exist_ok=True)
        (out / "space.nas").write_text(SPACE, encoding="utf-8")
        nasc("compile", out / "space.nas", "-o", out / "space")
    nasc("profile", out / "space", "--table", out / "latency.db")
    if not (out / "images").exists():
        take_images(out / "images.part")
        (out / "images.part").rename(out / "images")


def take_images(folder: Path, count: int = IMAGES) -> None:
    """The first training images, and all test images, as IDX files."""
    source = next(directory for directory in FASHION_DIRECTORIES if directory.is_dir())
    folder.mkdir(exist_ok=True)
    for name, header, item in (("train-images-idx3-ubyte", 16, 28 * 28), ("train-labels-idx1-ubyte", 8, 1)):
        content = gzip.decompress((source / f"{name}.gz").read_bytes())
        kept = content[8 : header + count * item]
        (folder / name).write_bytes(content[:4] + struct.pack(">I", count) + kept)
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        (folder / name).write_bytes((source / name).read_bytes())


def search(out: Path, seed: int, alphas: list[float]) -> None:
    """All searches of a seed, from one warm-up."""
    options = ("--alpha", ",".join(map(str, alphas)), "--seed", seed, "--threads", 1, "--resume")
    where = ("--data", data(out), "--table", out / "latency.db", "--out", out / f"search_{seed}")
    nasc("search", out / "space", *where, *options)


def train_all(out: Path, seed: int, alphas: list[float], count: int) -> None:
    """All trainings of a seed, whose searches have ended."""
    for alpha, latency, network in found(out, seed):
        folder = out / f"trained_{seed}" / f"alpha_{alpha:g}"
        train(out, folder / "found", network, seed)
        for number, member in enumerate(random_members(out, folder, latency, count, seed)):
            train(out, folder / f"random_{number}", member, seed)
    if seed == 0:
        member = noise_member(out, alphas)
        for number in NOISE_SEEDS:
            train(out, out / "noise" / f"seed_{number}", member, number)


def data(out: Path) -> str:
    return f"fashion:{(out / 'images').resolve()}"


def found(out: Path, seed: int) -> list[tuple[float, float, Path]]:
    """Of each search of a seed its alpha, and latency and file of what it found."""
    sweep = out / f"search_{seed}"
    runs = json.loads((sweep / "sweep.json").read_text(encoding="utf-8"))["runs"]
    return [(run["alpha"], run["cost"], sweep / run["folder"] / "best.nas") for run in runs]


def random_members(out: Path, folder: Path, latency: float, count: int, seed: int) -> list[Path]:
    """Files of members of about this latency, and their latencies beside them. Raises `NascError` for too few."""
    paths = [folder / f"random_{number}.nas" for number in range(count)]
    if (folder / "latencies.json").exists():
        return paths
    checked = open_file(out / "space.nas")
    space = Space(checked)
    predicted = space.latency(out / "latency.db")
    members = sample_members(
        space_of(checked),
        count,
        seed,
        accept=lambda member: abs(predicted(member) / latency - 1) <= WINDOW,
        attempts=ATTEMPTS,
    )
    for path, member in zip(paths, members, strict=True):
        path.write_text(space.member(member).text, encoding="utf-8")
    (folder / "latencies.json").write_text(json.dumps([predicted(member) for member in members]), encoding="utf-8")
    return paths


def noise_member(out: Path, alphas: list[float]) -> Path:
    """The member trained again and again: the first random one of the middle alpha."""
    return out / "trained_0" / f"alpha_{alphas[len(alphas) // 2]:g}" / "random_0.nas"


def train(out: Path, folder: Path, network: Path, seed: int) -> None:
    """Train from scratch, unless it is done."""
    if not (folder / "result.json").exists():
        options = (*TRAINING, "--seed", seed, "--threads", 1, "--resume")
        nasc("train", network, "--data", data(out), "--out", folder, *options)


# ------------------------------------------------------------------------------------------------ what came out


def results(out: Path, seeds: list[int], alphas: list[float], count: int) -> Iterator[Trained]:
    """Every training."""
    for seed in seeds:
        for alpha, latency, _ in found(out, seed):
            folder = out / f"trained_{seed}" / f"alpha_{alpha:g}"
            yield result(folder / "found", "found", alpha, seed, 0, latency)
            latencies = json.loads((folder / "latencies.json").read_text(encoding="utf-8"))
            for number in range(count):
                yield result(folder / f"random_{number}", "random", alpha, seed, number, latencies[number])
    if 0 in seeds:
        middle = noise_member(out, alphas).parent
        latency = json.loads((middle / "latencies.json").read_text(encoding="utf-8"))[0]
        for seed in NOISE_SEEDS:
            yield result(out / "noise" / f"seed_{seed}", "noise", alphas[len(alphas) // 2], seed, 0, latency)


def result(folder: Path, role: str, alpha: float, seed: int, number: int, latency: float) -> Trained:
    cost = Space.open(folder / "network.nas").cost()
    accuracy = json.loads((folder / "result.json").read_text(encoding="utf-8"))["test_top1"]
    return Trained(role, alpha, seed, number, latency, cost["macs"], cost["params"], accuracy)


@dataclass(frozen=True)
class Pair:
    """A network found and the random members of its latency."""

    found: Trained
    random: tuple[Trained, ...]

    @property
    def difference(self) -> float:
        """Of accuracies, found less the others' mean, in percentage points."""
        return 100 * (self.found.accuracy - statistics.mean(one.accuracy for one in self.random))

    @property
    def beaten(self) -> int:
        return sum(one.accuracy < self.found.accuracy for one in self.random)


def pairs_of(trained: list[Trained]) -> list[Pair]:
    return [
        Pair(one, tuple(r for r in trained if (r.role, r.alpha, r.seed) == ("random", one.alpha, one.seed)))
        for one in trained
        if one.role == "found"
    ]


def table(pairs: list[Pair]) -> str:
    """A row for each network found; accuracies in percent, in brackets the standard deviation of the random ones."""
    lines = ["| alpha | seed | latency | MACs | found | random, the same latency | found - random | beaten |"]
    lines.append("| --- |" + " --- |" * 7)
    for pair in sorted(pairs, key=lambda pair: (pair.found.alpha, pair.found.seed)):
        one, others = pair.found, [100 * r.accuracy for r in pair.random]
        lines.append(
            f"| {one.alpha:g} | {one.seed} | {one.latency:.1f} µs | {one.macs / 1000:.0f}k | {100 * one.accuracy:.2f} "
            f"| {statistics.mean(others):.2f} ± {statistics.stdev(others):.2f} | {pair.difference:+.2f} "
            f"| {pair.beaten} of {len(others)} |"
        )
    return "\n".join(lines)


def conclusions(trained: list[Trained], pairs: list[Pair]) -> str:
    """Mean difference with its interval (Student's t over the networks found), and what it stands against."""
    differences = [pair.difference for pair in pairs]
    lines = [f"found - random, mean of {len(pairs)}: {interval(differences)} percentage points"]
    for seed in sorted({pair.found.seed for pair in pairs}):
        mean = statistics.mean(pair.difference for pair in pairs if pair.found.seed == seed)
        lines.append(f"of seed {seed}: {mean:+.2f}")
    every = sum(len(pair.random) for pair in pairs)
    lines.append(f"random members that the one found beats: {sum(pair.beaten for pair in pairs)} of {every}")
    spread = statistics.mean(statistics.variance(100 * r.accuracy for r in pair.random) for pair in pairs) ** 0.5
    lines.append(f"standard deviation of random members of one latency: {spread:.2f}")
    noise = [100 * one.accuracy for one in trained if one.role == "noise"]
    if noise:
        lines.append(f"of one member's {len(noise)} seeds: {statistics.stdev(noise):.2f}")
    return "\n".join(lines)


def interval(values: list[float]) -> str:
    """Mean and its 95 % interval."""
    from scipy.stats import t

    mean = statistics.mean(values)
    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:+.2f} (95 %: {mean - half:+.2f} .. {mean + half:+.2f})"


def draw(pairs: list[Pair], path: Path) -> None:
    """Latency against accuracy; a colour for each alpha, found networks large and edged."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.add_subplot()
    colors = {alpha: f"C{place}" for place, alpha in enumerate(sorted({pair.found.alpha for pair in pairs}))}
    for pair in pairs:
        color = colors[pair.found.alpha]
        axes.plot(*places(pair.random), "o", color=color, markersize=4, alpha=0.6)
        axes.plot(*places((pair.found,)), "D", color=color, markersize=8, markeredgecolor="black", zorder=3)
    for alpha, color in colors.items():
        axes.plot([], [], "D", color=color, markeredgecolor="black", label=f"found, alpha {alpha:g}")
        axes.plot([], [], "o", color=color, markersize=4, label="random, within 5 % of its latency")
    axes.set_xlabel("predicted latency, µs")
    axes.set_ylabel("accuracy on the test images, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path)


def places(trained: tuple[Trained, ...]) -> tuple[list[float], list[float]]:
    return [one.latency for one in trained], [100 * one.accuracy for one in trained]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.2, 1.0, 4.0])
    parser.add_argument("--members", type=int, default=5, help="random members for each network found  [default: 5]")
    parser.add_argument("--prepare", action="store_true", help="compile and measure, no more")
    parser.add_argument("--only", type=int, help="do this seed's part alone, so that seeds can run side by side")
    parser.add_argument("--part", choices=["search", "train"], help="of each seed do this alone")
    given = parser.parse_args()
    if given.only is None:
        prepare(given.out)
    if given.prepare:
        return
    for seed in given.seeds if given.only is None else [given.only]:
        if given.part != "train":
            search(given.out, seed, given.alphas)
        if given.part != "search":
            train_all(given.out, seed, given.alphas, given.members)
    if given.only is None and given.part is None:
        report(given.out, list(results(given.out, given.seeds, given.alphas, given.members)))


def report(out: Path, trained: list[Trained]) -> None:
    lines = [json.dumps(asdict(one)) + "\n" for one in trained]
    (out / "results.jsonl").write_text("".join(lines), encoding="utf-8")
    pairs = pairs_of(trained)
    draw(pairs, out / "study.svg")
    print(table(pairs), conclusions(trained, pairs), sep="\n\n")


if __name__ == "__main__":
    main()
