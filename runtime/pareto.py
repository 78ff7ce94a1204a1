"""A sweep's picture: which of its runs no other beats. Also where to import a sweep and its table from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nasc.runtime.report_page import plain, svg_of
from nasc.runtime.sweep_table import Sweep, SweepRun, pareto_front, read_sweep, sweep_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Sweep", "SweepRun", "pareto_front", "plot_pareto", "read_sweep", "svg_of", "sweep_table"]

MARKERS = "osD^vP*X<>"
LOG_RANGE = 10
"""From this ratio of the largest to the smallest, an axis is logarithmic."""
TITLES = {"accuracy": "accuracy of the retrained", "cross_entropy": "cross-entropy at the search's end"}


def plot_pareto(sweep: Sweep) -> Figure:
    """Cost against accuracy of the retrained networks where there are any, and against the search's cross-entropy.

    Colour says alpha, the marker lambda; winners are large and edged; the line is the front.
    """
    from matplotlib.figure import Figure

    names = [name for name in TITLES if sweep.points(name)]
    figure = Figure(figsize=(max(6.5, 5.5 * len(names)), 4.6), layout="constrained")
    for place, name in enumerate(names, 1):
        axes = figure.add_subplot(1, len(names), place)
        _draw_front(axes, sweep, name)
        axes.set_title(TITLES[name], fontsize=10)
        unit = plain(sweep.unit)
        axes.set_xlabel(f"latency, {unit}" if sweep.cost == "latency" else unit, fontsize=9)
        axes.grid(alpha=0.3)
    if names:
        _legend(figure, sweep)
    else:
        figure.text(0.5, 0.5, "no run has ended yet", ha="center", va="center")
    return figure


def _draw_front(axes: Axes, sweep: Sweep, name: str) -> None:
    found = sweep.points(name)
    points = [point for _, point in found]
    higher = name == "accuracy"
    front = [points[at] for at in pareto_front(points, higher=higher)]
    colors, markers = _looks(sweep)
    axes.plot(*zip(*front, strict=True), color="#555555", linewidth=1.2, zorder=1)
    for run, (cost, value) in found:
        size, edge = (11, "#111111") if run.winner else (6, "none")
        look = {"color": colors[run.alpha], "marker": markers[run.lambda_], "markeredgecolor": edge}
        axes.plot([cost], [value], markersize=size, zorder=2 + run.winner, alpha=0.9, **look)
    if _wide([cost for cost, _ in points]):
        axes.set_xscale("log")
    if not higher and _wide([value for _, value in points]):
        axes.set_yscale("log")


def _wide(values: Sequence[float]) -> bool:
    """Does the range ask for a logarithmic axis?"""
    return min(values) > 0 and max(values) / min(values) >= LOG_RANGE


def _looks(sweep: Sweep) -> tuple[dict[float, Any], dict[float | None, str]]:
    """A colour for each alpha, from dark to light as it grows, and a marker for each lambda."""
    from matplotlib import colormaps

    alphas = sorted({run.alpha for run in sweep.runs})
    lambdas = sorted({run.lambda_ for run in sweep.runs}, key=lambda value: value or 0.0)
    # The lightest end of the map is hardly seen on white.
    colors = {alpha: colormaps["viridis"](0.9 * i / max(1, len(alphas) - 1)) for i, alpha in enumerate(alphas)}
    return colors, {lambda_: MARKERS[i % len(MARKERS)] for i, lambda_ in enumerate(lambdas)}


def _legend(figure: Figure, sweep: Sweep) -> None:
    from matplotlib.lines import Line2D

    colors, markers = _looks(sweep)
    alphas = [Line2D([], [], marker="o", linestyle="", color=c, label=f"alpha {a:g}") for a, c in colors.items()]
    lambdas = [
        Line2D([], [], marker=m, linestyle="", color="#777777", label=f"lambda {v:g}")
        for v, m in markers.items()
        if v is not None
    ]
    winner = Line2D([], [], marker="o", markersize=11, linestyle="", color="#ffffff", markeredgecolor="#111111")
    winner.set_label("winner of its alpha")
    front = Line2D([], [], color="#555555", linewidth=1.2, label="Pareto front")
    handles = [*alphas[:40], *lambdas[:20], winner, front]
    figure.legend(handles=handles, loc="outside right upper", fontsize=8, frameon=False)
