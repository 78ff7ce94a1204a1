"""Latencies in a report: a run's `latencies.json`, its table and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from nasc.compiler.write_files import write_file
from nasc.dsl.diagnostics import NascError
from nasc.runtime.report_page import picture, read_json, said, svg_of, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LATENCIES = "latencies.json"


class Latency(BaseModel):
    """A network's latency as the table predicts it and as measured whole, in microseconds."""

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


def latencies_section(run: Path) -> list[str]:
    """The section, empty without latencies. Raises `NascError` for a malformed file."""
    path = run / LATENCIES
    if not path.is_file():
        return []
    try:
        rows = _LATENCIES.validate_python(read_json(path))
    except ValidationError as error:
        raise NascError(f"{path} is not a list of latencies: {error.errors(include_url=False)[0]['msg']}") from None
    lines = [
        (
            row.name,
            said(row.accuracy),
            said(row.params),
            f"{row.predicted_us:.1f}",
            f"{row.measured_us:.1f}",
            f"{row.predicted_us / row.measured_us - 1:+.1%}" if row.measured_us else "",
        )
        for row in rows
    ]
    head = ["network", "accuracy", "parameters", "predicted us", "measured us", "error"]
    return [
        "<h2>Latency</h2>",
        picture(svg_of(plot_latencies(rows)), "latency predicted from the table against latency measured"),
        table(head, lines),
    ]


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


def plot_validation(networks: Sequence[tuple[float, float, float]]) -> Figure:
    """Networks' latencies as measured, as the sum of their blocks and as corrected, in microseconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    measured = [one[0] for one in networks]
    ends = [min(map(min, networks), default=0.0), max(map(max, networks), default=1.0)]
    axes.plot(ends, ends, color="#999999", linewidth=1, label="equal")
    for place, color, label in ((1, "#c2554f", "sum of the blocks"), (2, "#4878a8", "corrected")):
        axes.scatter(measured, [one[place] for one in networks], color=color, label=label)
    axes.set_xlabel("measured, us")
    axes.set_ylabel("predicted, us")
    axes.legend()
    axes.grid(alpha=0.3)
    return figure
