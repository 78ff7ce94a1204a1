"""`nasc engines`."""

from __future__ import annotations

import click

from nasc.commands.common import example, format_option, print_json, table


@click.command(epilog=example("nasc engines"))
@format_option
def command(form: str) -> None:
    """List the engines that latency can be measured with, and whether they can run here."""
    from nasc.runtime.engines import ENGINES, load_engine

    found = {name: load_engine(place).available() for name, place in ENGINES.items()}
    if form == "json":
        print_json([{"engine": name, "available": why is None, "reason": why} for name, why in found.items()])
    else:
        click.echo(table(["engine", "here"], [[name, why or "yes"] for name, why in found.items()]))
