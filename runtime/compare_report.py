"""A comparison's files: its raw numbers, its picture, and the page with both."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from nasc.compiler.write_files import write_file
from nasc.runtime.compare_table import Comparison, conditions, line_rows, method_rows, places
from nasc.runtime.pareto import LOG_RANGE
from nasc.runtime.progress import counted
from nasc.runtime.report_page import page, picture, plain, svg_of, table
from nasc.runtime.sweep_table import pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RAW, SUMMARY, PICTURE, PAGE = "compare.jsonl", "summary.json", "pareto.svg", "report.html"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, without the yellow, which is hardly seen on white: to be told apart by the colour-blind too."""
MARKERS = "osD^vP*X<>"
LINES = ("-", "--", "-.", ":")
AXES = {"latency": "latency, µs", "macs": "multiply-accumulates", "params": "parameters"}


def write_numbers(comparison: Comparison, out: Path) -> None:
    """Write the raw numbers that are known by now, and what is worked out of them."""
    write_file(out / RAW, comparison.jsonl().encode())
    write_file(out / SUMMARY, json.dumps(comparison.summary(), indent=1).encode() + b"\n")


def write_comparison(comparison: Comparison, out: Path) -> None:
    """Write the numbers, the picture and the page."""
    write_numbers(comparison, out)
    svg = svg_of(plot_comparison(comparison))
    write_file(out / PICTURE, svg.encode())
    write_file(out / PAGE, page(f"Comparison on {comparison.space}", _sections(comparison, svg)))


def _sections(comparison: Comparison, svg: str) -> list[str]:
    head = ["method", "seed", "strength", "state", f"cost, {comparison.unit}", "accuracy", "as found", "folder"]
    networks = [
        [
            one.method,
            str(one.seed),
            f"{one.strength:g}",
            one.why or one.state,
            "" if one.cost is None else f"{one.cost:,.5g}",
            "" if one.accuracy is None else f"{one.accuracy:.2%}",
            "" if one.found_accuracy is None else f"{one.found_accuracy:.2%}",
            one.folder,
        ]
        for one in comparison.found
    ]
    caption = "every network found, trained alike; a line joins those of a method that no other of its own beats"
    return [
        table(["", ""], conditions(comparison)),
        "<h2>By method</h2>",
        table(*method_rows(comparison)),
        "<h2>Cost against accuracy</h2>",
        picture(svg, caption),
        "<h2>By method and seed</h2>",
        table(*line_rows(comparison)),
        "<h2>Networks</h2>",
        table(head, networks),
        f"<p>{escape('As found: with the weights that the search left, on validation images.')}</p>",
    ]


def plot_comparison(comparison: Comparison) -> Figure:
    """Cost against accuracy of every network; colour, marker and line say the method, the line is its own front."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    if not any(comparison.of_method(method) for method in comparison.methods):
        figure.text(0.5, 0.5, "no search has ended yet", ha="center", va="center")
        return figure
    axes = figure.add_subplot()
    for number, method in enumerate(comparison.methods):
        _draw(axes, comparison, method, number)
    tested = any(one.tested for one in comparison.found)
    axes.set_xlabel(AXES[comparison.asked.cost])
    axes.set_ylabel(f"accuracy on {'test' if tested else 'validation'} images, %")
    costs = [one.cost for one in comparison.found if one.cost]
    if costs and max(costs) / min(costs) >= LOG_RANGE:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    return figure


def _draw(axes: Axes, comparison: Comparison, method: str, number: int) -> None:
    points = places(comparison.of_method(method))
    if not points:
        return
    color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
    front = [points[at] for at in pareto_front(points)]
    axes.plot(*_scaled(front), color=color, linestyle=LINES[number % len(LINES)], linewidth=1.4, zorder=1)
    label = f"{plain(method)}, {counted(len(points), 'network')}"
    axes.plot(*_scaled(points), linestyle="", color=color, marker=marker, markersize=6, alpha=0.85, label=label)


def _scaled(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [cost for cost, _ in points], [100 * accuracy for _, accuracy in points]
