"""A run's report: one HTML file with its pictures inside, readable without nasc and without a network.

What a run holds is shown, and nothing else is needed: `metrics.jsonl` (any numbers by epoch or step, and what a search
says of its layers), `result.json`, the network (`best.nas` or `network.nas`), and `latencies.json` (`Latency` rows).
A sweep's folder holds `sweep.json`, and runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.write_files import write_file
from nasc.dsl.diagnostics import NascError
from nasc.runtime.compare_report import PAGE as COMPARED
from nasc.runtime.compare_report import RAW
from nasc.runtime.metrics import EVOLUTION, Record, read_metrics
from nasc.runtime.report_latencies import Latency, latencies_section, write_latencies
from nasc.runtime.report_network import network_svg
from nasc.runtime.report_page import page, picture, read_json, said, svg_of, table
from nasc.runtime.report_search import plot_candidates, plot_masks, plot_metrics, plot_remaining
from nasc.runtime.report_sweep import PAGE, sweep_sections
from nasc.runtime.report_widths import plot_widths
from nasc.runtime.search_log import layers_of, read_epochs
from nasc.runtime.sweep_table import SWEEP

__all__ = ["Latency", "write_latencies", "write_report"]

NETWORKS = ("best.nas", "network.nas")
MAX_METRICS = 256 << 20


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the report of the run in a folder, by default as its `report.html`; of a sweep, also those of its runs.

    Raises `NascError` for a folder that holds no run, and for a file in it that is broken.
    """
    path = out or run / PAGE
    if not (run / SWEEP).is_file():
        return _write_run(run, path)
    write_file(path, page(run.resolve().name, sweep_sections(run, path, _write_run)))
    return path


def _write_run(run: Path, path: Path) -> Path:
    sections = _run_sections(run)
    if not sections:
        help = "name the folder of a search, of a sweep or of `nasc train`"
        if (run / RAW).is_file():
            help = f"`nasc compare` has written the page of a comparison: {run / COMPARED}"
        raise NascError(f"{run} holds no run to report on", help=help)
    write_file(path, page(run.resolve().name, sections))
    return path


def _run_sections(run: Path) -> list[str]:
    result = _result(run)
    choices = result.get("choices")
    choices = choices if isinstance(choices, dict) else {}
    records = _records(run / "metrics.jsonl")
    return [
        *_summary(result),
        *_network(run, choices),
        *_progress(records),
        *_progress(_records(run / EVOLUTION / "metrics.jsonl"), "Members looked at", EVOLUTION),
        *_candidate_names(result.get("names")),
        *_search(records, choices),
        *_widths(records, result.get("widest")),
        *latencies_section(run),
    ]


def _result(run: Path) -> dict[str, Any]:
    path = run / "result.json"
    if not path.is_file():
        return {}
    result = read_json(path)
    if not isinstance(result, dict):
        raise NascError(f"{path} is not the result of a run")
    return result


def _records(path: Path) -> list[Record]:
    try:
        if path.is_file() and path.stat().st_size > MAX_METRICS:
            raise NascError(f"{path} is larger than {MAX_METRICS >> 20} MiB")
        return read_metrics(path)
    except (OSError, RecursionError) as error:
        raise NascError(f"{path} cannot be read: {error}") from None


def _summary(result: Mapping[str, Any]) -> list[str]:
    if not result:
        return []
    rows = [(str(name), said(value)) for name, value in result.items() if not isinstance(value, dict | list)]
    cost = result.get("cost")
    if isinstance(cost, dict):
        rows.append(("cost", f"{said(cost.get('found'))} {said(cost.get('unit'))}"))
    return ["<h2>Result</h2>", table(["", ""], rows), *_targets(result.get("targets"))]


def _targets(found: Any) -> list[str]:
    """The latency at each target, where a search was for several or one has a limit."""
    rows = [
        [said(each.get("name")), said(each.get("us")), said(each.get("limit_us")) if each.get("limit_us") else ""]
        for each in (found if isinstance(found, list) else ())
        if isinstance(each, dict)
    ]
    return ["<h3>At each target</h3>", table(["target", "latency, µs", "limit, µs"], rows)] if rows else []


def _network(run: Path, choices: Mapping[str, Any]) -> list[str]:
    found = [run / name for name in NETWORKS if (run / name).is_file()]
    if not found:
        return []
    space = space_of(open_file(found[0]))
    facts = [
        (name, said(value)) for name, value in {"members": count_members(space), **cost_of(space).as_json()}.items()
    ]
    text = found[0].read_text(encoding="utf-8")
    caption = f"layers of {found[0].name}: a box is as wide as the layer's hidden width is to its input's"
    return [
        f"<h2>The network: {escape(space.name)}</h2>",
        table(["", ""], facts),
        picture(network_svg(space, choices), caption),
        f"<details><summary>{escape(found[0].name)}</summary><pre>{escape(text)}</pre></details>",
    ]


def _progress(records: list[Record], title: str = "Over time", folder: str = "") -> list[str]:
    figure = plot_metrics(records)
    if figure is None:
        return []
    caption = f"{len(records)} records of {Path(folder) / 'metrics.jsonl'}"
    return [f"<h2>{title}</h2>", picture(svg_of(figure), caption)]


def _candidate_names(names: Any) -> list[str]:
    """What the numbers of candidates stand for, layers with the same candidates together."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for address, found in names.items() if isinstance(names, dict) else ():
        if isinstance(found, list):
            alike.setdefault(tuple(str(name)[:200] for name in found), []).append(str(address))
    if not alike:
        return []
    rows = [
        [", ".join(layers), "; ".join(f"{i}: {name}" for i, name in enumerate(each))] for each, layers in alike.items()
    ]
    return ["<h2>Candidates</h2>", table(["layers", "candidates by number"], rows)]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _widths(records: list[Record], widest: Any) -> list[str]:
    """What a search with masks expects of its widths."""
    figure = plot_widths(records, widest if isinstance(widest, dict) else {})
    caption = "widths that are expected to stay: each decision's channels, their probabilities summed"
    return ["<h2>Channels going</h2>", picture(svg_of(figure), caption)] if figure is not None else []


def _search(records: list[Record], choices: Mapping[str, Any]) -> list[str]:
    """What a search's log says of its layers; nothing of the log of something else."""
    epochs = read_epochs(records)
    layers = len(layers_of(epochs))
    over = f"of {_counted(layers, 'layer')} over {_counted(len(epochs), 'epoch')}"
    pictures = (
        ("Candidates left", plot_remaining(epochs), f"candidates left {over}, the skip among them"),
        ("Blocks and layers going", plot_candidates(epochs, choices), f"probabilities {over}; the warm-up is grey"),
        ("Masks closing in", plot_masks(epochs, choices), f"widths between the two masks {over}; the warm-up is grey"),
    )
    sections: list[str] = []
    for title, figure, caption in pictures:
        sections += [f"<h2>{title}</h2>", picture(svg_of(figure), caption)] if figure is not None else []
    return sections
