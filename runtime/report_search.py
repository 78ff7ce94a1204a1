"""Pictures of a search: masks closing in, blocks and layers going, cost and losses over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nasc.compiler.lower_svg import PALETTE
from nasc.runtime.metrics import Record
from nasc.runtime.report_page import is_number, plain
from nasc.runtime.search_log import (
    SKIP,
    Epoch,
    candidates_of,
    chosen_candidate,
    chosen_width,
    layers_of,
    masked_layers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = ("member", "epoch", "step")
NOT_PLOTTED = frozenset({"seconds", "epoch", "step", "seed", "rate", "threshold", "temperature", "alpha"})
"""Settings and clocks. The threshold stands in the picture of the candidates."""
METRIC_COLUMNS, LAYER_COLUMNS, LEGEND_COLUMNS = 3, 4, 6
MOST_LAYERS, MOST_METRICS = 120, 30
LARGE = 10_000
"""From here on an axis says 20 k, 1.5 M."""
SCALE_ROWS = 8
"""As many as the scale beside the overview needs for its own labels."""
STYLES = ("-", (0, (4, 1)), (0, (1, 1)), (0, (4, 1, 1, 1)))
SKIP_COLOR, THRESHOLD_COLOR, WARMUP_COLOR = "#111111", "#d62728", "#eeeeee"

Choices = Mapping[str, Any]
"""`choices` of a `result.json`, not checked."""


def plot_metrics(records: Sequence[Record]) -> Figure | None:
    """Every number of the records against its epoch or step, one small panel each; None where there are none."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    names = list(dict.fromkeys(n for r in records for n, v in r.items() if is_number(v) and n not in NOT_PLOTTED))
    names = names[:MOST_METRICS]
    if not names:
        return None
    units = {"cost": next((r["unit"] for r in records if isinstance(r.get("unit"), str)), "")}
    expected = "expected " if any("probabilities" in r for r in records) else ""
    rows = -(-len(names) // METRIC_COLUMNS)
    figure = Figure(figsize=(11, 2.4 * rows), layout="constrained")
    for place, name in enumerate(names, 1):
        axes = figure.add_subplot(rows, METRIC_COLUMNS, place)
        there = [(at, r) for at, r in enumerate(records) if is_number(r.get(name))]
        axis = next((a for a in AXES if all(is_number(r.get(a)) for _, r in there)), "")
        first = axis == "epoch"  # which a log counts from 0 and everything else from 1
        axes.plot([r[axis] + first if axis else at for at, r in there], [r[name] for _, r in there], color=PALETTE[0])
        title = f"{expected}cost, {units[name]}" if units.get(name) else name.replace("_", " ")
        axes.set_title(plain(title), fontsize=10)
        axes.set_xlabel(axis, fontsize=9)
        if max(abs(r[name]) for _, r in there) >= LARGE:
            axes.yaxis.set_major_formatter(EngFormatter())
        _whole_ticks(axes)
        axes.grid(alpha=0.3)
    return figure


def plot_masks(epochs: Sequence[Epoch], choices: Choices) -> Figure | None:
    """Tier 1 (3.1): for each layer the widths between a candidate's two masks, until it goes or the search ends.

    A diamond marks the width of the found network. None where there are no Prunodes.
    """
    layers = masked_layers(epochs)
    if not layers:
        return None
    names = candidates_of(masks for epoch in epochs for masks in epoch.masks.values())

    def draw(axes: Axes, address: str) -> None:
        for name in (name for name in names if any(name in epoch.masks.get(address, {}) for epoch in epochs)):
            _band(axes, epochs, address, name)
        width = chosen_width(epochs, address, choices.get(address))
        if width is not None:
            axes.plot([epochs[-1].number], [width], "D", color="#000000", markersize=5, clip_on=False, zorder=5)
            axes.annotate(f" {width}", (epochs[-1].number, width), fontsize=8, va="center", xytext=(3, 0),
                          textcoords="offset points", annotation_clip=False)  # fmt: skip
        axes.set_ylim(bottom=0)

    figure = _panels(layers, epochs, choices, len(names), draw)
    _legend(figure, names, [("width found", {"marker": "D", "color": "#000000", "linestyle": ""})])
    return figure


def _band(axes: Axes, epochs: Sequence[Epoch], address: str, name: str) -> None:
    there = [(epoch.number, *epoch.masks[address][name]) for epoch in epochs if name in epoch.masks.get(address, {})]
    at, small, large = ([row[column] for row in there] for column in range(3))
    color, style = _look(name)
    axes.fill_between(at, small, large, color=color, alpha=0.22, linewidth=0)
    for edge in (small, large):
        axes.plot(at, edge, color=color, linestyle=style, linewidth=1)
    if at[-1] < epochs[-1].number:
        axes.plot([at[-1]] * 2, [small[-1], large[-1]], "x", color=color, markersize=5)


def plot_candidates(epochs: Sequence[Epoch], choices: Choices) -> Figure | None:
    """Tiers 2 and 3 (3.2): for each layer the probability of each candidate, the skip and the threshold (eq. 6)."""
    layers = layers_of(epochs)
    if not layers:
        return None
    names = candidates_of(state for epoch in epochs for state in epoch.probabilities.values())
    thresholds = [(epoch.number, epoch.threshold) for epoch in epochs if epoch.threshold is not None]

    def draw(axes: Axes, address: str) -> None:
        axes.plot(*zip(*thresholds, strict=True), color=THRESHOLD_COLOR, linewidth=0.9, linestyle=(0, (2, 2)))
        states = [(epoch.number, epoch.probabilities.get(address, {})) for epoch in epochs]
        for name in names:
            there = [(at, state[name]) for at, state in states if name in state]
            if not there:
                continue
            color, style = _look(name)
            axes.plot(*zip(*there, strict=True), color=color, linestyle=style, linewidth=1.6, marker=_dot(there))
            if there[-1][0] < epochs[-1].number:
                axes.plot(*there[-1], "x", color=color, markersize=6, markeredgewidth=1.6)
        axes.set_ylim(-0.03, 1.05)

    figure = _panels(layers, epochs, choices, len(names), draw)
    dotted = {"color": THRESHOLD_COLOR, "linestyle": (0, (2, 2)), "linewidth": 0.9}
    _legend(figure, names, [("threshold", dotted)] if thresholds else [])
    return figure


def plot_remaining(epochs: Sequence[Epoch]) -> Figure | None:
    """How many candidates each layer has left (the skip is one) after each epoch; grey where it is dropped."""
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm, ListedColormap, to_hex
    from matplotlib.figure import Figure

    layers = layers_of(epochs)[:MOST_LAYERS]
    if not layers:
        return None
    rows = [[_remaining(epoch, address) for epoch in epochs] for address in layers]
    most = max(1, max(map(max, rows)))
    colors = ["#bbbbbb", *(to_hex(colormaps["viridis_r"](i / most)) for i in range(most))]
    figure = Figure(figsize=(11, 1.1 + 0.22 * max(SCALE_ROWS, len(layers))), layout="constrained")
    axes = figure.add_subplot()
    extent = (epochs[0].number - 0.5, epochs[-1].number + 0.5, len(layers) - 0.5, -0.5)
    norm = BoundaryNorm([i - 0.5 for i in range(most + 2)], most + 1)
    shown = axes.imshow(
        rows, aspect="auto", interpolation="nearest", cmap=ListedColormap(colors), norm=norm, extent=extent
    )
    axes.set_yticks(range(len(layers)), [plain(address) for address in layers], fontsize=8)
    axes.set_xlabel("epoch", fontsize=9)
    _whole_ticks(axes)
    bar = figure.colorbar(shown, ax=axes, fraction=0.03, pad=0.01)
    ticks = list(range(0, most + 1, -(-(most + 1) // 12)))
    bar.set_ticks(ticks, labels=["dropped", *map(str, ticks[1:])])
    return figure


def _remaining(epoch: Epoch, address: str) -> int:
    left = epoch.probabilities.get(address, {})
    return 0 if set(left) == {SKIP} else len(left)


# ------------------------------------------------------------------------------------------------- panels


def _panels(
    layers: Sequence[str], epochs: Sequence[Epoch], choices: Choices, names: int, draw: Callable[[Axes, str], None]
) -> Figure:
    """A small panel for each layer over the epochs, the warm-up shaded, and room for a legend of so many names."""
    from matplotlib.figure import Figure

    layers = layers[:MOST_LAYERS]
    columns = min(LAYER_COLUMNS, len(layers))
    rows = -(-len(layers) // columns)
    figure = Figure(figsize=(11, 0.6 + 0.2 * (names // LEGEND_COLUMNS) + 1.75 * rows), layout="constrained")
    warm = [epoch.number for epoch in epochs if epoch.warmup]
    first, last = epochs[0].number, epochs[-1].number
    for place, address in enumerate(layers, 1):
        axes = figure.add_subplot(rows, columns, place)
        if warm:
            axes.axvspan(first, warm[-1] + 0.5, color=WARMUP_COLOR, linewidth=0, zorder=0)
        draw(axes, address)
        dropped = chosen_candidate(epochs, address) == SKIP or (address in choices and choices[address] is None)
        axes.set_title(plain(address) + (" (dropped)" if dropped else ""), fontsize=9)
        axes.set_xlim(first, max(last, first + 1))
        axes.tick_params(labelsize=7)
        _whole_ticks(axes)
        axes.grid(alpha=0.25)
    figure.supxlabel("epoch", fontsize=9)
    return figure


def _whole_ticks(axes: Axes) -> None:
    """There is no epoch 2.5."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def _look(name: str) -> tuple[str, Any]:
    """A candidate's colour and line style: the same in all layers and pictures, the skip's its own."""
    if name == SKIP:
        return SKIP_COLOR, (0, (5, 1))
    number = int(name)
    return PALETTE[number % len(PALETTE)], STYLES[number // len(PALETTE) % len(STYLES)]


def _dot(points: Sequence[Any]) -> str:
    """The marker of a curve: one point alone makes no line."""
    return "." if len(points) == 1 else ""


def _legend(figure: Figure, names: Sequence[str], others: Sequence[tuple[str, dict[str, Any]]]) -> None:
    from matplotlib.lines import Line2D

    looks = [("skip" if name == SKIP else f"candidate {name}", *_look(name)) for name in names]
    handles = [Line2D([], [], color=color, linestyle=style, label=label) for label, color, style in looks]
    if any(line.get_marker() == "x" for axes in figure.axes for line in axes.lines):
        handles.append(Line2D([], [], color="#555555", marker="x", linestyle="", label="last epoch before it went"))
    handles += [Line2D([], [], label=label, **look) for label, look in others]
    figure.legend(handles=handles, loc="outside upper center", ncols=LEGEND_COLUMNS, fontsize=8, frameon=False)
