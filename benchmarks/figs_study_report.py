"""Tables and the picture of `figs_study.py`: curves of accuracy over size, and how far they are apart.

A curve is linear in the logarithm of the parameters between the networks of one seed (of random networks: the straight
line that fits those of all seeds best). How far two are apart is the mean of their difference over the sizes that both
have, seed by seed; the interval is Student's, over the seeds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLACES = 50
"""Sizes at which two curves are compared."""
PAIRS = (
    ("figs concat", "random"),
    ("figs concat", "width"),
    ("figs concat", "morphnet"),
    ("morphnet", "width"),
    ("figs concat", "figs add"),
    ("figs concat", "figs 2/5"),
    ("figs concat", "figs 1/5"),
)
PANELS = (("figs concat", "random", "width", "morphnet"), ("figs concat", "figs add"),
          ("figs concat", "figs 2/5", "figs 1/5"))  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A network trained from scratch: `point` is lambda, the multiplier or a number; `epochs` those of the search,
    `accuracy` a fraction of the test images, `seconds` those of the training."""

    role: str
    point: float
    epochs: int
    seed: int
    params: int
    macs: int
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Curve:
    """Accuracy in percent by the logarithm of the parameters, and the range that it is known in."""

    at: Callable[[float], float]
    first: float
    last: float


def places(runs: Sequence[Run]) -> list[tuple[float, float]]:
    """Logarithms of sizes with accuracies in percent, ascending; networks of one size as their mean."""
    sizes: dict[float, list[float]] = {}
    for run in runs:
        sizes.setdefault(math.log(run.params), []).append(100 * run.accuracy)
    return sorted((size, statistics.mean(found)) for size, found in sizes.items())


def between(runs: Sequence[Run]) -> Curve | None:
    """The curve through networks; None of fewer than two sizes."""
    points = places(runs)
    if len(points) < 2:
        return None

    def at(size: float) -> float:
        number = max(1, min(len(points) - 1, sum(x < size for x, _ in points)))
        (x0, y0), (x1, y1) = points[number - 1 : number + 1]
        return y0 + (y1 - y0) * (size - x0) / (x1 - x0)

    return Curve(at, points[0][0], points[-1][0])


def line(runs: Sequence[Run]) -> Curve | None:
    """The straight line nearest to networks; None of fewer than three."""
    points = places(runs)
    if len(points) < 3:
        return None
    slope, start = statistics.linear_regression(*zip(*points, strict=True))
    return Curve(lambda size: start + slope * size, points[0][0], points[-1][0])


def curve(runs: Sequence[Run], role: str, seed: int) -> Curve | None:
    own = [run for run in runs if run.role == role]
    return line(own) if role == "random" else between([run for run in own if run.seed == seed])


def gap(one: Curve, other: Curve) -> float | None:
    """The mean difference over the sizes that both have; None where they share none."""
    first, last = max(one.first, other.first), min(one.last, other.last)
    if last <= first:
        return None
    sizes = [first + (last - first) * (k + 0.5) / PLACES for k in range(PLACES)]
    return statistics.mean(one.at(size) - other.at(size) for size in sizes)


def gaps(runs: Sequence[Run], one: str, other: str) -> dict[int, float]:
    """How far two roles are apart, by the seeds that have both."""
    found: dict[int, float] = {}
    for seed in sorted({run.seed for run in runs}):
        curves = curve(runs, one, seed), curve(runs, other, seed)
        if curves[0] is not None and curves[1] is not None:
            apart = gap(curves[0], curves[1])
            found |= {} if apart is None else {seed: apart}
    return found


def interval(values: Sequence[float]) -> str:
    """Mean, and Student's 95 % interval of it."""
    if len(values) < 2:
        return ", ".join(f"{value:+.2f}" for value in values) + " (one seed)"
    from scipy.stats import t

    mean = statistics.mean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:+.2f} ({mean - half:+.2f} .. {mean + half:+.2f})"


def mean_and_spread(values: Sequence[float], form: str) -> str:
    spread = f" ± {statistics.stdev(values):{form}}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{form}}{spread}"


def networks(runs: Sequence[Run]) -> str:
    """A row for each role and point: means and standard deviations over seeds."""
    lines = ["| networks | lambda, multiplier | epochs of search | seeds | parameters | accuracy, % |"]
    lines.append("| --- |" + " --- |" * 5)
    for role, point in dict.fromkeys((run.role, run.point) for run in runs if run.role != "random"):
        own = [run for run in runs if (run.role, run.point) == (role, point)]
        epochs = "" if role.startswith("width") else f"{own[0].epochs}"
        sizes, scores = [run.params / 1000 for run in own], [100 * run.accuracy for run in own]
        cells = [mean_and_spread(sizes, ".1f") + "k", mean_and_spread(scores, ".2f")]
        lines.append(f"| {role} | {point:g} | {epochs} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def comparison(runs: Sequence[Run]) -> str:
    lines = ["| at equal size, percentage points | by seed | mean (95 % over seeds) |", "| --- | --- | --- |"]
    for one, other in PAIRS:
        if found := gaps(runs, one, other):
            each = ", ".join(f"{value:+.2f}" for value in found.values())
            lines.append(f"| {one} - {other} | {each} | {interval(list(found.values()))} |")
    return "\n".join(lines)


def random_networks(runs: Sequence[Run]) -> str:
    """How random networks lie about their line, and how many a FiGS network beats that is no larger."""
    drawn = [run for run in runs if run.role == "random"]
    found = [run for run in runs if run.role == "figs concat"]
    fitted = line(drawn)
    if fitted is None:
        return ""
    rest = [100 * run.accuracy - fitted.at(math.log(run.params)) for run in drawn]
    beaten = [any(f.params <= r.params and f.accuracy > r.accuracy for f in found if f.seed == r.seed) for r in drawn]
    beating = [any(r.params <= f.params and r.accuracy > f.accuracy for r in drawn if f.seed == r.seed) for f in found]
    return (
        f"{len(drawn)} random networks; standard deviation about their line: {statistics.stdev(rest):.2f}. "
        f"Than {sum(beaten)} of these, a FiGS network of the same seed is more accurate and no larger; "
        f"than {sum(beating)} of {len(found)} FiGS networks, a random one is."
    )


def draw(runs: Sequence[Run], path: Path) -> None:
    """Three panels: the networks of all seeds, and lines through their means."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    every: Any = figure.subplots(1, len(PANELS), sharey=True)
    colors = {role: f"C{place}" for place, role in enumerate(dict.fromkeys(r for panel in PANELS for r in panel))}
    for axes, panel in zip(every, PANELS, strict=True):
        for role in panel:
            own = [run for run in runs if run.role == role]
            axes.plot([r.params for r in own], [100 * r.accuracy for r in own], "o", color=colors[role], markersize=4,
                      alpha=0.7, label=role)  # fmt: skip
            points = [[r for r in own if r.point == point] for point in dict.fromkeys(r.point for r in own)]
            if role != "random":
                means = [
                    [statistics.mean(r.params for r in p), statistics.mean(100 * r.accuracy for r in p)] for p in points
                ]
                axes.plot(
                    *zip(*sorted(means), strict=True) if means else ([], []), "-", color=colors[role], linewidth=1
                )
        axes.set_xscale("log")
        axes.set_xlabel("parameters")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    every[0].set_ylabel("accuracy on the test images, %")
    figure.savefig(path)


def report(runs: Sequence[Run], picture: Path) -> str:
    """The tables; the picture goes to a file."""
    draw(runs, picture)
    return "\n\n".join(part for part in (networks(runs), comparison(runs), random_networks(runs)) if part)
