"""A search for several targets: which of them count, and how a network's latencies at them become one number.

With `w` the targets' weights, `r` what each latency is relative to (the target's limit, else the slowest network's
latency there) and bars for means over the targets:

sum      sum of w_i latency_i / sum of w_i
worst    the largest of (w_i / mean w) (latency_i / r_i), times mean r

so that both are the latency itself where all targets are alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nasc.compiler.ir import Network
from nasc.compiler.manifest import Manifest, Target
from nasc.compiler.member import Member
from nasc.compiler.methods.relax import RelaxedLayer
from nasc.dsl.diagnostics import NascError, did_you_mean
from nasc.runtime.costs import Costs, TargetCosts, reach, table_costs
from nasc.runtime.member_latency import MemberLatency, table_environment
from nasc.runtime.table import LatencyTable

SUM, WORST = "sum", "worst"

AtTargets = list[tuple[str, float, float | None]]
"""A network's latency at each target by its name, and its limit there, in microseconds."""


def targets_for(manifest: Manifest, choice: str) -> tuple[Target, ...]:
    """The targets that a search takes by its option `targets`. Raises `NascError` for a name that none of them has."""
    return manifest.targets if choice in (SUM, WORST) else only_target(manifest, choice).targets


def only_target(manifest: Manifest, name: str) -> Manifest:
    """The manifest with one of its targets. Raises `NascError` for a name that none of them has."""
    named = {target.name: target for target in manifest.targets}
    if name not in named:
        help = did_you_mean(name, named) or f"its targets: {', '.join(named)}"
        raise NascError(f"`{manifest.name}` has no target `{name}`", help=help)
    return manifest.model_copy(update={"targets": (named[name],)})


@dataclass(frozen=True)
class Judge:
    """How latencies at several targets become one: each times its factor, then their sum or the largest of them."""

    factors: tuple[float, ...]
    worst: bool

    @classmethod
    def of(cls, targets: Sequence[Target], choice: str, slowest: Sequence[float]) -> Judge:
        """`slowest`: the latency of the slowest network at each target, in microseconds."""
        weights = [target.weight for target in targets]
        if choice != WORST:
            return cls(tuple(weight / sum(weights) for weight in weights), worst=False)
        limits = [_limit(target) for target in targets]
        bases = [max(us if limit is None else limit, 1e-9) for us, limit in zip(slowest, limits, strict=True)]
        mean, unit = statistics.fmean(weights), statistics.fmean(bases)
        return cls(tuple(w / mean * unit / base for w, base in zip(weights, bases, strict=True)), worst=True)

    def __call__(self, latencies: Sequence[float]) -> float:
        """The one latency of a network, in microseconds."""
        parts = [factor * us for factor, us in zip(self.factors, latencies, strict=True)]
        return max(parts) if self.worst else sum(parts)


def target_costs(layers: Sequence[RelaxedLayer], manifest: Manifest, table: LatencyTable, choice: str) -> Costs:
    """What candidates cost a search by its option `targets`. Raises `NascError` where the table lacks latencies."""
    targets = targets_for(manifest, choice)
    alone = len(targets) == 1
    found = [
        table_costs(layers, manifest.at(target.size), table, table_environment(table, target, alone=alone))
        for target in targets
    ]
    named = tuple(TargetCosts(t.name, costs, _limit(t)) for t, costs in zip(targets, found, strict=True))
    if alone:
        return replace(found[0], targets=named) if targets[0].limit_ms is not None else found[0]
    judge = Judge.of(targets, choice, [reach(costs, layers)[1] for costs in found])
    scaled = [_scaled(costs, factor) for costs, factor in zip(found, judge.factors, strict=True)]
    if judge.worst:
        return replace(scaled[0], others=tuple(scaled[1:]), targets=named)
    return replace(_added(scaled), targets=named)


class MemberPrices:
    """The one latency of members of a space by the option `targets`, and what it is made of.

    `slowest` stands for the slowest network of the space. Raises `NascError` where the table lacks latencies.
    """

    def __init__(self, network: Network, manifest: Manifest, table: LatencyTable, choice: str, slowest: Member) -> None:
        self.targets = targets_for(manifest, choice)
        alone = len(self.targets) == 1
        self.predictions = [
            MemberLatency(network, manifest.at(t.size), table, table_environment(table, t, alone=alone))
            for t in self.targets
        ]
        self.judge = None if alone else Judge.of(self.targets, choice, self._latencies(slowest))

    def __call__(self, member: Member) -> tuple[float, AtTargets]:
        """A member's latency, and the one at each target; none of these where there is one target without a limit."""
        row = self._latencies(member)
        if self.judge is None and self.targets[0].limit_ms is None:
            return row[0], []
        found = [(target.name, us, _limit(target)) for target, us in zip(self.targets, row, strict=True)]
        return row[0] if self.judge is None else self.judge(row), found

    def _latencies(self, member: Member) -> list[float]:
        return [predicted(member).us for predicted in self.predictions]


def latencies_found(latencies: AtTargets) -> dict[str, Any]:
    """What a result says of the latencies of the found network; nothing where there is one target without a limit."""
    rows = [{"name": name, "us": us, "limit_us": limit} for name, us, limit in latencies]
    return {"targets": rows} if rows else {}


def target_lines(details: Mapping[str, Any]) -> list[str]:
    """The same for a person, a line for each target."""
    lines: list[str] = []
    for row in details.get("targets", ()):
        limit = row["limit_us"]
        met = "" if limit is None else f", {'within' if row['us'] <= limit else 'above'} its limit of {limit:.4g} µs"
        lines.append(f"target {row['name']}: {row['us']:.4g} µs{met}")
    return lines


def _limit(target: Target) -> float | None:
    """In microseconds."""
    return None if target.limit_ms is None else target.limit_ms * 1e3


def _scaled(costs: Costs, factor: float) -> Costs:
    blocks = {key: {width: factor * us for width, us in widths.items()} for key, widths in costs.blocks.items()}
    return replace(costs, fixed=factor * costs.fixed, blocks=blocks)


def _added(parts: Sequence[Costs]) -> Costs:
    first = parts[0]
    blocks = {
        key: {width: sum(part.blocks[key][width] for part in parts) for width in widths}
        for key, widths in first.blocks.items()
    }
    return replace(first, fixed=sum(part.fixed for part in parts), blocks=blocks)
