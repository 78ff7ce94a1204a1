"""What it costs to price a sampled member: many together as arrays, against one by one.

Run: `python benchmarks/pricing.py` (a few minutes; `--spaces digits`, `--members 1000`, `--rounds 3`). One thread.

price    parameters and multiply-accumulates of members that are there: `Pricer.cost` of their codes, against
         `MemberCost`, whose memory is warm (it has priced these members before).
latency  their latencies from a table with a made-up latency for every point: `TableLatency` against `MemberLatency`.
         "-" where the space has too many points for a table.
draw     drawing uniform members: `CodeSampler` (codes) against `Sampler` (`Member`s).
encode   from `Member`s to codes.

Microseconds of CPU time for one member: medians over the rounds, in which the ways are timed in turn; all members
together, but only `--single` of them one by one. Ratios are medians of the rounds' ratios, with their quartiles.
"before" is what a pricer needs once for a space, in milliseconds: its formulas, and the sampler's counts. "first" is
the first batch of latencies, which reads the table, in microseconds for one member.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from measuring import SPACES, cpu_seconds, spread

from nasc.compiler.build_manifest import manifest_of
from nasc.compiler.elaborate import Space
from nasc.compiler.manifest import Manifest
from nasc.compiler.member_cost import MemberCost
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.pricing import Pricer
from nasc.compiler.pricing_codes import Coding
from nasc.compiler.pricing_sample import CodeSampler
from nasc.compiler.sample import Sampler, sample_members
from nasc.runtime.device import Device, Environment
from nasc.runtime.measurement import Measurement
from nasc.runtime.member_latency import MemberLatency
from nasc.runtime.pricing import TableLatency
from nasc.runtime.profile import points_of
from nasc.runtime.table import LatencyTable

NAMES = ("digits", "fashion", "gpunet1", "fbnet", "tiny_vit", "figs_resnet50")
ENVIRONMENT = Environment(
    device=Device(kind="cpu", model="made up", cores=1, features=(), system="any"),
    engine="made up", engine_version="1", precision="fp32", batch=1, threads=1, timing_mode="plain", protocol_version=1,
)  # fmt: skip
MOST_POINTS = 20_000


@dataclass
class Way:
    """One of the compared ways: what it does, for how many members, and its microseconds for one, round after round."""

    run: Callable[[], object]
    members: int
    us: list[float] = field(default_factory=list)

    def time(self) -> None:
        self.us.append(cpu_seconds(self.run) / self.members * 1e6)


def made_up(manifest: Manifest, path: Path) -> LatencyTable | None:
    """A table with a latency for every point; None for too many points."""
    if sum(entry.points for entry in manifest.entries) > MOST_POINTS:
        return None
    table = LatencyTable(path)
    for entry in manifest.entries:
        for number, point in enumerate(points_of(entry)):
            row = Measurement(status="ok", median=10.0 + number % 97, identity=4.0)
            table.put(entry.key, point, ENVIRONMENT, row)
    return table


def cells(slow: Way, fast: Way) -> list[str]:
    ratios = [a / b for a, b in zip(slow.us, fast.us, strict=True)]
    return [f"{statistics.median(slow.us):.0f}", f"{statistics.median(fast.us):.2f}", spread(ratios)]


def row(name: str, space: Space, table_path: Path, members: int, single: int, rounds: int) -> list[str]:
    """A line of the table."""
    network = network_of(space)
    coding = Coding(network)
    pricer = Pricer(coding)
    before = cpu_seconds(lambda: (CodeSampler(space, coding), pricer.price(coding.empty(1))))
    sampler, cost = CodeSampler(space, coding), MemberCost(network)
    codes, some = sampler.draw(members, 0), sample_members(space, single, 0)
    every, one_by_one = coding.members(codes), Sampler(space, Random(1))
    ways = {
        "price": Way(lambda: [(cost(m, "params"), cost(m, "macs")) for m in some], single),
        "price together": Way(lambda: pricer.price(codes), members),
        "draw": Way(lambda: [one_by_one.draw() for _ in range(single)], single),
        "draw together": Way(lambda: sampler.draw(members, 1), members),
        "encode": Way(lambda: coding.encode(every), members),
    }
    manifest = manifest_of(network)
    table, first = made_up(manifest, table_path), 0.0
    if table is not None:
        predict = MemberLatency(network, manifest, table, ENVIRONMENT)
        latency = TableLatency(coding, predict)
        first = cpu_seconds(lambda: latency(codes)) / members * 1e6
        ways["latency"] = Way(lambda: [predict(m).us for m in some], single)
        ways["latency together"] = Way(lambda: latency(codes), members)
    ways["price"].run()  # fills its memory
    for _ in range(rounds):
        for way in ways.values():
            way.time()
    timed = ["-"] * 3 if table is None else cells(ways["latency"], ways["latency together"])
    if table is not None:
        table.close()
    return [
        name, *cells(ways["price"], ways["price together"]), *timed, *cells(ways["draw"], ways["draw together"]),
        f"{statistics.median(ways['encode'].us):.1f}", f"{before * 1e3:.0f}", f"{first:.1f}" if first else "-",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", default=NAMES)
    parser.add_argument("--members", type=int, default=10_000)
    parser.add_argument("--single", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=11)
    given = parser.parse_args()
    print(
        "| space | price one by one | together | ratio | latency one by one | together | ratio "
        "| draw one by one | together | ratio | encode | before, ms | first latency |"
    )
    print("|---|" + "---:|" * 12)
    with tempfile.TemporaryDirectory() as folder:
        for name in given.spaces:
            space = space_of(open_file(SPACES / f"{name}.nas"))
            path = Path(folder) / f"{name}.db"
            print(
                "| " + " | ".join(row(name, space, path, given.members, given.single, given.rounds)) + " |", flush=True
            )


if __name__ == "__main__":
    main()
