"""`nasc demo`."""

from __future__ import annotations

from pathlib import Path

import click

from nasc.commands.common import PATH, example, resumable, table


@click.command(epilog=example("nasc demo --out build/demo", "nasc demo --quick --out /tmp/demo"))
@click.option("--out", type=PATH, default=Path("build/demo"), show_default=True, metavar="DIR", help="Where to write.")
@click.option("--quick", is_flag=True, help="A few epochs only: shows that everything works, not how well.")
def command(out: Path, quick: bool) -> None:
    """Search, train and measure a small network for handwritten digits, from start to end.

    Compiles the space, measures its blocks with ONNX Runtime, runs the generated search, trains the found network and
    random members of about its latency, and prints them side by side. DIR gets best.nas, model.py, model.onnx and
    report.html. A demo that was stopped goes on where it was.
    """
    from nasc.demo import FULL, QUICK, run_demo

    with resumable("the same command goes on"):
        subjects = run_demo(out, QUICK if quick else FULL, lambda text: click.echo(text, err=True))
    head = ["network", "accuracy", "parameters", "predicted us", "measured us"]
    rows = [
        [s.name, f"{s.accuracy:.1%}", f"{s.params:,}", f"{s.predicted_us:.1f}", f"{s.measured_us:.1f}"]
        for s in subjects
    ]
    click.echo(table(head, rows, frozenset({1, 2, 3, 4})))
    click.echo(
        f"\nwritten: {', '.join(str(out / name) for name in ('best.nas', 'model.py', 'model.onnx', 'report.html'))}"
    )
