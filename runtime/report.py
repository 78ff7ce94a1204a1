"""A run's report: one HTML file with its pictures inside, readable without nasc and without a network.

What a run holds is shown, and nothing else is needed: `metrics.jsonl` (any numbers by epoch or step), `result.json`,
the network (`best.nas` or `network.nas`), and `latencies.json` (`Latency` rows). All names are escaped, and pictures
are images, so that nothing a file says can become a part of the page.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.lower_svg import draw
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.outline import outline
from nasc.compiler.write_files import write_file
from nasc.dsl.diagnostics import NascError
from nasc.runtime.metrics import Record, read_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NETWORKS = ("best.nas", "network.nas")
LATENCIES = "latencies.json"
AXES = ("epoch", "step")
NOT_PLOTTED = frozenset({"seconds", "epoch", "step", "seed"})
COLUMNS = 3
MAX_JSON = 4 << 20


class Latency(BaseModel):
    """A network's latency as the table predicts it and as measured whole, in microseconds; `error_us` of the sum."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    found: bool = False
    predicted_us: float = Field(ge=0, allow_inf_nan=False)
    measured_us: float = Field(ge=0, allow_inf_nan=False)
    accuracy: float | None = None
    params: int | None = None


_LATENCIES = TypeAdapter(list[Latency])


def write_latencies(run: Path, rows: Sequence[Latency]) -> None:
    """Leave latencies in a run's folder for its report."""
    write_file(run / LATENCIES, _LATENCIES.dump_json(list(rows), indent=1) + b"\n")


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the report of the run in a folder, by default as its `report.html`.

    Raises `NascError` for a folder that holds no run, and for a file in it that is broken.
    """
    sections = [*_summary(run), *_progress(run), *_network(run), *_latencies(run)]
    if not sections:
        raise NascError(f"{run} holds no run to report on", help="name the folder of a search or of `nasc train`")
    path = out or run / "report.html"
    write_file(path, _page(run.resolve().name, sections).encode())
    return path


# ------------------------------------------------------------------------------------------------- sections


def _summary(run: Path) -> list[str]:
    path = run / "result.json"
    if not path.is_file():
        return []
    result = _json(path)
    if not isinstance(result, dict):
        raise NascError(f"{path} is not the result of a run")
    rows = [(str(name), _said(value)) for name, value in result.items() if not isinstance(value, dict | list)]
    return ["<h2>Result</h2>", _table(["", ""], rows)]


def _progress(run: Path) -> list[str]:
    records = read_metrics(run / "metrics.jsonl")
    figure = plot_metrics(records)
    if figure is None:
        return []
    return ["<h2>Over time</h2>", _picture(_svg(figure), f"{len(records)} records of metrics.jsonl")]


def _network(run: Path) -> list[str]:
    found = [run / name for name in NETWORKS if (run / name).is_file()]
    if not found:
        return []
    space = space_of(open_file(found[0]))
    cost = cost_of(space).as_json()
    members = count_members(space)
    facts = [(name, _said(value)) for name, value in (("members", members), *cost.items())]
    text = found[0].read_text(encoding="utf-8")
    return [
        f"<h2>The network: {escape(space.name)}</h2>",
        _table(["", ""], facts),
        _picture(draw(space.name, outline(space)), f"layers of {found[0].name}"),
        f"<details><summary>{escape(found[0].name)}</summary><pre>{escape(text)}</pre></details>",
    ]


def _latencies(run: Path) -> list[str]:
    path = run / LATENCIES
    if not path.is_file():
        return []
    try:
        rows = _LATENCIES.validate_python(_json(path))
    except ValidationError as error:
        raise NascError(f"{path} is not a list of latencies: {error.errors(include_url=False)[0]['msg']}") from None
    lines = [
        (
            row.name,
            _said(row.accuracy),
            _said(row.params),
            f"{row.predicted_us:.1f}",
            f"{row.measured_us:.1f}",
            f"{row.predicted_us / row.measured_us - 1:+.1%}" if row.measured_us else "",
        )
        for row in rows
    ]
    head = ["network", "accuracy", "parameters", "predicted us", "measured us", "error"]
    return [
        "<h2>Latency</h2>",
        _picture(_svg(plot_latencies(rows)), "latency predicted from the table against latency measured"),
        _table(head, lines),
    ]


# ------------------------------------------------------------------------------------------------- pictures


def plot_metrics(records: Sequence[Record]) -> Figure | None:
    """Every number of the records against its epoch or step, one small panel each; None where there are none."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(n for r in records for n, v in r.items() if _is_number(v) and n not in NOT_PLOTTED))
    if not names:
        return None
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(11, 2.4 * rows), layout="constrained")
    for place, name in enumerate(names, 1):
        axes = figure.add_subplot(rows, COLUMNS, place)
        there = [(at, r) for at, r in enumerate(records) if _is_number(r.get(name))]
        axis = next((a for a in AXES if all(_is_number(r.get(a)) for _, r in there)), "")
        axes.plot([r[axis] if axis else at for at, r in there], [r[name] for _, r in there], color="#4878a8")
        axes.set_title(_plain(name), fontsize=10)
        axes.set_xlabel(axis, fontsize=9)
        axes.grid(alpha=0.3)
    return figure


def plot_latencies(rows: Sequence[Latency]) -> Figure:
    """Predicted against measured latency in microseconds, with the line on which both are equal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    end = 1.1 * max((max(row.predicted_us, row.measured_us) for row in rows), default=1.0)
    axes.plot([0, end], [0, end], color="#999999", linewidth=1, label="equal")
    for found, color, label in ((False, "#4878a8", "other members"), (True, "#c2554f", "the found network")):
        chosen = [row for row in rows if row.found is found]
        axes.scatter([r.measured_us for r in chosen], [r.predicted_us for r in chosen], color=color, label=label)
    axes.set_xlabel("measured, us")
    axes.set_ylabel("predicted, us")
    axes.set_xlim(0, end)
    axes.set_ylim(0, end)
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def _svg(figure: Figure) -> str:
    """The figure as SVG, the same bytes for the same figure."""
    import matplotlib

    written = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "nasc", "svg.fonttype": "path"}):
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()


# ------------------------------------------------------------------------------------------------- the page


def _page(title: str, sections: list[str]) -> str:
    style = (
        "body{font:15px system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}"
        "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .9em .25em 0;text-align:left;"
        "border-bottom:1px solid #ddd}figure{margin:1em 0}img{max-width:100%}figcaption{color:#777}"
        "pre{background:#f6f6f6;padding:1em;overflow:auto}"
    )
    name = escape(title)
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{style}</style>'
    return "\n".join([head, f"<h1>{name}</h1>", *sections, "</html>", ""])


def _picture(svg: str, caption: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    text = escape(caption, quote=True)
    return f'<figure><img alt="{text}" src="data:image/svg+xml;base64,{data}"><figcaption>{text}</figcaption></figure>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    top = [line(head, "th")] if any(head) else []
    return "\n".join(["<table>", *top, *(line(row, "td") for row in rows), "</table>"])


def _said(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict) and set(value) == {"min", "max"}:
        return f"{_said(value['min'])} .. {_said(value['max'])}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:200]


def _plain(name: str) -> str:
    """A metric's name as a title: matplotlib would read dollars as mathematics."""
    return name.replace("$", "").replace("_", " ")[:60]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_JSON:
            raise NascError(f"{path} is larger than {MAX_JSON >> 20} MiB")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NascError(f"{path} cannot be read: {error}") from None
