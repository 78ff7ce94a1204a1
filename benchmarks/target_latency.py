"""Does a search for a target land below it, and is the network as fast as the table said when it is measured whole?

Run: `python benchmarks/target_latency.py --out /tmp/targets` (half an hour; `--spaces digits` for a third of it).
For scikit-learn's digits and for Fashion-MNIST (its first 1,500 images) the space's blocks are measured with ONNX
Runtime here first, and 20 random members whole, which corrects the sum of the blocks. Then PruNet searches for five
targets between the cheapest and the dearest network, from one warm-up, and for one that no network meets. The found
networks are measured whole, interleaved, by the engine that measured the blocks. What is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SHARES = (0.25, 0.35, 0.45, 0.55, 0.65)
"""Targets, as shares of the way from the cheapest to the dearest network's latency."""
IMAGES = 1500
EPOCHS = {"digits": 30, "fashion": 10}


@dataclass(frozen=True)
class Row:
    """A search: its target, the latency by the table with its correction, and that measured whole; microseconds."""

    space: str
    target: float
    predicted: float
    measured: float
    accuracy: float


def nasc(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command. Raises `CalledProcessError` where it fails, unless that is expected."""
    return subprocess.run(
        [sys.executable, "-m", "nasc", *map(str, arguments)],
        check=check,
        stdout=sys.stderr,
        stderr=subprocess.PIPE,
        text=True,
    )


def prepare(out: Path, space: str) -> str:
    """Compile, measure the blocks and some whole members; the data to search on."""
    if not (out / space / "validated").exists():
        nasc(
            "compile", Path(__file__).parent.parent / "spaces" / f"{space}.nas", "-o", out / space / "build", "--force"
        )
        nasc("profile", out / space / "build", "--table", out / space / "latency.db", "--validate", 20)
        (out / space / "validated").touch()
    if space == "digits":
        return "digits"
    from fashion_study import take_images

    if not (out / "images").exists():
        take_images(out / "images", IMAGES)
    return f"fashion:{(out / 'images').resolve()}"


def limits(out: Path, space: str) -> tuple[float, float]:
    """The latencies of the cheapest and the dearest network."""
    from nasc.compiler.methods.relax import relax
    from nasc.compiler.network import network_of
    from nasc.compiler.opened import open_file, space_of
    from nasc.runtime.costs import reach, table_costs
    from nasc.runtime.manifest_file import load_manifest
    from nasc.runtime.member_latency import table_environment
    from nasc.runtime.table import LatencyTable

    layers = relax(network_of(space_of(open_file(out / space / "build" / "space.nas"))))
    with LatencyTable(out / space / "latency.db", readonly=True) as table:
        costs = table_costs(layers, load_manifest(out / space / "build"), table, table_environment(table))
    return reach(costs, layers)


def search(out: Path, space: str, data: str, target: float) -> Path:
    """One search for a target; the first makes the warm-up that the others go on from."""
    warm = out / space / "warmup"
    common = (
        *("search", out / space / "build", "--data", data, "--table", out / space / "latency.db", "--resume"),
        *("--threads", 1, "--epochs", EPOCHS[space]),
    )
    run = out / space / f"target_{target:.1f}"
    if not (run / "result.json").exists():
        start = ("--warmup-from", warm / "warmup.pt") if (warm / "warmup.pt").exists() else ()
        nasc(*common, *start, "--target-latency", f"{target:.1f}us", "--out", run)
    if not (warm / "warmup.pt").exists():
        warm.mkdir(parents=True, exist_ok=True)
        (warm / "warmup.pt").write_bytes((run / "warmup.pt").read_bytes())
    return run


def measured(out: Path, space: str, runs: list[Path]) -> list[float]:
    """Latencies of whole networks, timed interleaved and relative to the table's reference."""
    import onnx

    from nasc.compiler.manifest import Target
    from nasc.runtime.engines import make_engine
    from nasc.runtime.table import LatencyTable
    from nasc.runtime.validate import with_batch

    engine = make_engine("onnxruntime")
    environment = engine.environment(Target())
    with LatencyTable(out / space / "latency.db", readonly=True) as table:
        reference = table.reference(environment)
    models = [with_batch(onnx.load(run / "model.onnx"), 1) for run in runs]
    return [row.median or float("nan") for row in engine.measure(models, environment, reference).measurements]


def rows_of(out: Path, space: str) -> list[Row]:
    """The searches of one space, done or to be done."""
    data = prepare(out, space)
    least, most = limits(out, space)
    targets = [round(least + share * (most - least), 1) for share in SHARES]
    runs = [search(out, space, data, target) for target in targets]
    results = [json.loads((run / "result.json").read_text(encoding="utf-8")) for run in runs]
    return [
        Row(space, target, result["cost"]["found"], us, result["accuracy"])
        for target, result, us in zip(targets, results, measured(out, space, runs), strict=True)
    ]


def refusal(out: Path, space: str) -> str:
    """What is said of a target below the cheapest network."""
    impossible = f"{limits(out, space)[0] * 0.8:.1f}us"
    data = "digits" if space == "digits" else f"fashion:{(out / 'images').resolve()}"
    given = ("--data", data, "--table", out / space / "latency.db", "--target-latency", impossible)
    done = nasc("search", out / space / "build", *given, "--out", out / space / "never", check=False)
    return f"`--target-latency {impossible}` on {space}: exit code {done.returncode}, {done.stderr.strip()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--spaces", nargs="+", default=["digits", "fashion"], choices=["digits", "fashion"])
    given = parser.parse_args()
    print("| space | target, µs | by the table | of the target | measured whole | of the target | accuracy inherited |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for space in given.spaces:
        for row in rows_of(given.out, space):
            print(
                f"| {row.space} | {row.target:.1f} | {row.predicted:.1f} | {row.predicted / row.target:.3f} "
                f"| {row.measured:.1f} | {row.measured / row.target:.3f} | {row.accuracy:.1%} |",
                flush=True,
            )
    print()
    for space in given.spaces:
        print(refusal(given.out, space))


if __name__ == "__main__":
    main()
