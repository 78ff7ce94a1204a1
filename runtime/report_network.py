"""The found network in the manner of PruNet's Figure 3: one box per layer, as wide as its expansion ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasc.compiler.elaborate import Space
from nasc.compiler.lower_svg import PALETTE, draw
from nasc.compiler.network import network_of
from nasc.compiler.parts import by_layer
from nasc.dsl.diagnostics import NascError
from nasc.runtime.network_facts import LayerFacts, layer_facts
from nasc.runtime.report_page import plain, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LAYERS = 400
NARROWEST = 0.03
"""Of the widest box."""
BOX, ROW = 0.66, 0.27
"""A box's height in rows, a row's in inches."""
COLUMNS = {"kernel": 0.62, "hidden": 0.80, "ratio": 0.92, "out": 1.06, "stride": 1.18}
"""Where the columns of numbers end, in widths of the widest box from its middle."""
SHADES = {3: 0.5, 5: 0.0, 7: -0.45}
"""By kernel: how far the block's colour is mixed with white, or (negative) with black."""


@dataclass(frozen=True)
class Row:
    """A place in the space: the layer found there, or None where it was dropped."""

    address: str
    facts: LayerFacts | None


def network_svg(space: Space, choices: Mapping[str, Any]) -> str:
    """The picture of a network; of a space with open decisions, or without one graph per layer, its outline."""
    try:
        rows = place_layers(layer_facts(network_of(space)), choices)
    except NascError:
        rows = ()
    return svg_of(plot_network(rows)) if 0 < len(rows) <= MOST_LAYERS else draw(space)


def place_layers(facts: Sequence[LayerFacts], choices: Mapping[str, Any]) -> tuple[Row, ...]:
    """The layers found, with the places of the space between them that `choices` (of a `result.json`) dropped.

    A found network counts its layers anew, so a stage's layers take the places that were kept, in order. Choices that
    do not tell of these layers are left aside.
    """
    found = [Row(layer.address, None if layer.empty else layer) for layer in facts]
    choices = {address: parts[0] for address, parts in by_layer(choices)}
    kept = [address for address, choice in choices.items() if choice is not None]
    if [_stage(address) for address in kept] != [layer.stage for layer in facts]:
        return tuple(found)
    places = iter(found)
    return tuple(
        Row(str(address), next(places).facts if choice is not None else None) for address, choice in choices.items()
    )


def plot_network(rows: Sequence[Row]) -> Figure:
    """Boxes coloured by block, thick-edged for squeeze-and-excitation, darker for larger kernels; a gap is dropped."""
    from matplotlib.figure import Figure

    colors = _colors(rows)
    figure = Figure(figsize=(9, 1.1 + ROW * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(-0.85, 1.2)
    axes.set_ylim(len(rows) - 0.4, -1.4)
    axes.set_axis_off()
    axes.plot([0, 0], [-0.6, len(rows) - 0.5], color="#bbbbbb", linewidth=1, zorder=0)
    for name, x in COLUMNS.items():
        axes.text(x, -1, name, ha="right", va="center", fontsize=8, color="#777777")
    widest = max((row.facts.ratio for row in rows if row.facts is not None), default=1.0) or 1.0
    stage = ""
    for at, row in enumerate(rows):
        if _stage(row.address) != stage:
            stage = _stage(row.address)
            axes.text(-0.83, at, plain(stage)[:18], va="center", fontsize=8, weight="bold")
            axes.plot([-0.84, 1.19], [at - 0.5] * 2, color="#e4e4e4", linewidth=0.7, zorder=0)
        if "." in row.address:
            axes.text(-0.55, at, plain(row.address.rsplit(".", 1)[1])[:4], ha="right", va="center", fontsize=8)
        if row.facts is None:
            axes.text(0.04, at, "dropped", va="center", fontsize=7, color="#999999", style="italic")
        else:
            _box(axes, at, row.facts, row.facts.ratio / widest, colors[row.facts.block])
    _legend(figure, colors, [row.facts for row in rows if row.facts is not None])
    return figure


def _box(axes: Axes, at: int, facts: LayerFacts, part: float, color: str) -> None:
    """A layer's box, `part` of the widest wide, and its numbers."""
    from matplotlib.patches import Rectangle

    width = max(part, NARROWEST)
    edge = 2.4 if facts.squeeze_excite else 0.6
    place = (-width / 2, at - BOX / 2)
    axes.add_patch(
        Rectangle(place, width, BOX, facecolor=_shade(color, facts.kernel), edgecolor="#222222", linewidth=edge)
    )
    texts = {
        "kernel": "{}×{}".format(*facts.kernel) if facts.kernel else "",
        "hidden": f"{facts.hidden}" if facts.hidden is not None else "",
        "ratio": f"×{facts.ratio:.2f}" if facts.hidden is not None else "",
        "out": f"{facts.output}",
        "stride": f"/{facts.stride}" if facts.stride > 1 else "",
    }
    for name, x in COLUMNS.items():
        axes.text(x, at, texts[name], ha="right", va="center", fontsize=8)


def _colors(rows: Sequence[Row]) -> dict[str, str]:
    blocks = dict.fromkeys(row.facts.block for row in rows if row.facts is not None)
    return {block: PALETTE[i % len(PALETTE)] for i, block in enumerate(blocks)}


def _shade(color: str, kernel: tuple[int, int] | None) -> str:
    """A block's colour for the larger side of a kernel: the nearest of `SHADES` that is not above it."""
    from matplotlib.colors import to_hex, to_rgb

    mix = SHADES[max((size for size in SHADES if size <= max(kernel or (0,))), default=3)]
    target = 1.0 if mix > 0 else 0.0
    red, green, blue = (part + (target - part) * abs(mix) for part in to_rgb(color))
    return to_hex((red, green, blue))


def _legend(figure: Figure, colors: Mapping[str, str], layers: Sequence[LayerFacts]) -> None:
    """What the boxes mean, as far as there are such."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=_shade(c, None), edgecolor="#222222", label=plain(b)[:28]) for b, c in colors.items()]
    for size, label in ((5, "darker: kernel 5"), (7, "darkest: kernel 7 or more")):
        if any(_shade("#888888", layer.kernel) == _shade("#888888", (size, size)) for layer in layers):
            handles.append(Patch(facecolor=_shade("#888888", (size, size)), label=label))
    if any(layer.squeeze_excite for layer in layers):
        label = "squeeze and excitation"
        handles.append(Patch(facecolor="#ffffff", edgecolor="#222222", linewidth=2.4, label=label))
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=8, frameon=False)


def _stage(address: object) -> str:
    """A layer's stage; the head is its own."""
    return str(address).rsplit(".", 1)[0]
