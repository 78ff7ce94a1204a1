"""A picture of a search with masks: how much of each width is expected to stay, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nasc.runtime.metrics import Record
from nasc.runtime.report_page import is_number, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 400
_ROW, _LABELLED = 0.17, 120
"""The height of a row in inches, and up to how many of them have their names beside them."""


def plot_widths(records: Sequence[Record], widest: Mapping[str, Any]) -> Figure | None:
    """Expected widths as parts of the widest: a row for each decision, a column for each epoch.

    None where there are none. `widest` is that of a `result.json`, not checked; a decision it does not name counts
    from the largest expected.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    there = (record for record in records if isinstance(record.get("widths"), dict))
    logs = [(record["epoch"], record["widths"]) for record in there if is_number(record.get("epoch"))]
    names = list(dict.fromkeys(name for _, widths in logs for name, width in widths.items() if is_number(width)))
    names = names[:MOST_ROWS]
    if not names:
        return None
    rows = [_shares([widths.get(name) for _, widths in logs], widest.get(name)) for name in names]
    step = _ROW if len(names) <= _LABELLED else _ROW * _LABELLED / len(names)
    figure = Figure(figsize=(11, 1.2 + step * len(names)), layout="constrained")
    axes = figure.add_subplot()
    first, last = int(logs[0][0]) + 1, int(logs[-1][0]) + 1
    image = axes.imshow(
        rows, aspect="auto", interpolation="nearest", cmap="cividis", vmin=0, vmax=1,
        extent=(first - 0.5, last + 0.5, len(names) - 0.5, -0.5),
    )  # fmt: skip
    if len(names) <= _LABELLED:
        axes.set_yticks(range(len(names)), [plain(name) for name in names], fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_xlabel("epoch", fontsize=9)
    axes.set_title("expected width, part of the widest", fontsize=10)
    figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02)
    return figure


def _shares(widths: Sequence[Any], widest: Any) -> list[float]:
    numbers = [float(width) if is_number(width) else float("nan") for width in widths]
    most = float(widest) if is_number(widest) and widest > 0 else max((n for n in numbers if n == n), default=1.0)
    return [number / most if most > 0 else 0.0 for number in numbers]
