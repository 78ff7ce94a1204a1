"""`nasc report`."""

from __future__ import annotations

from pathlib import Path

import click

from nasc.commands.common import PATH, example


@click.command(epilog=example("nasc report run", "nasc report sweep"))
@click.argument("run", type=PATH)
@click.option("-o", "--out", type=PATH, metavar="FILE", help="The file to write.  [default: RUN/report.html]")
def command(run: Path, out: Path | None) -> None:
    """Write the report of the run in folder RUN: one HTML file with its pictures inside.

    It shows the network found, the run over time, what a search removed and how its widths closed in, and predicted
    against measured latency where both are known. Of a sweep: its table, its Pareto picture, and its runs' reports.
    """
    from nasc.runtime.report import write_report

    click.echo(write_report(run, out))
