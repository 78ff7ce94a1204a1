"""A sweep's page: its table, its Pareto picture, and the way to the pages of its runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from html import escape
from pathlib import Path

from nasc.dsl.diagnostics import NascError
from nasc.runtime.pareto import plot_pareto
from nasc.runtime.report_page import Link, picture, svg_of, table
from nasc.runtime.sweep_table import SWEEP, Sweep, SweepRun, read_sweep, sweep_columns

PAGE = "report.html"


def sweep_sections(folder: Path, out: Path, write_run: Callable[[Path, Path], Path]) -> list[str]:
    """The sections for the page `out`. `write_run(folder, page)` writes a run's page; a page that is younger than all
    in its folder stays, a run that there is no page of is said with why.

    Raises `NascError` for a malformed `sweep.json`.
    """
    sweep = read_sweep(folder / SWEEP)
    pages: dict[str, Link | str] = {run.folder: _run_page(folder, run, out, write_run) for run in sweep.runs}
    columns = sweep_columns(sweep)
    rows = [[*(tell(run) for tell in columns.values()), pages[run.folder]] for run in sweep.ordered()]
    return [
        "<h2>Sweep</h2>",
        table(["", ""], [("space", sweep.space), ("method", sweep.method), ("data", sweep.data)]),
        "<h2>The front</h2>",
        picture(svg_of(plot_pareto(sweep)), _caption(sweep)),
        "<h2>Runs</h2>",
        table([*columns, "page"], rows),
        f"<p>{escape('* is the winner of its alpha: the lambda and seed with the lowest final loss.')}</p>",
    ]


def _caption(sweep: Sweep) -> str:
    done = sum(run.state == "done" for run in sweep.runs)
    return f"{done} of {len(sweep.runs)} runs by {sweep.cost}; the line joins those that no other beats"


def _run_page(folder: Path, run: SweepRun, out: Path, write_run: Callable[[Path, Path], Path]) -> Link | str:
    """The way from `out` to a run's page, or why there is none."""
    where = folder / run.folder
    # A link in a stranger's sweep may lead anywhere, and pages are written where it leads.
    if not where.resolve().is_relative_to(folder.resolve()):
        return "outside the sweep"
    if not where.is_dir():
        return ""
    try:
        page = where / PAGE
        if not _fresh(page):
            write_run(where, page)
    except NascError as error:
        return str(error)
    return Link(run.folder, Path(os.path.relpath(page.resolve(), out.resolve().parent)).as_posix())


def _fresh(page: Path) -> bool:
    """Is a page younger than the other files in its folder?"""
    if not page.is_file():
        return False
    others = [path.stat().st_mtime for path in page.parent.iterdir() if path.is_file() and path != page]
    return page.stat().st_mtime > max(others, default=0.0)
