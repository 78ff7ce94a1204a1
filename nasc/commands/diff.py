"""`nasc diff`."""

from __future__ import annotations

from pathlib import Path

import click

from nasc.commands.common import PATH, example, format_option, open_space, print_json
from nasc.completing import nas_files


@click.command(epilog=example("nasc diff spaces/digits.nas best.nas"))
@click.argument("a", type=PATH, shell_complete=nas_files)
@click.argument("b", type=PATH, shell_complete=nas_files)
@format_option
def command(a: Path, b: Path, form: str) -> None:
    """List what differs between A and B, such as a space and what a search decided in it.

    Exits with 0 where nothing differs and with 1 where something does, as diff(1).
    """
    from nasc.compiler.contains import diff

    lines = diff(open_space(a), open_space(b))
    if form == "json":
        print_json({"differences": lines})
    elif lines:
        click.echo("\n".join(lines))
    else:
        click.echo("no differences", err=True)
    if lines:
        raise click.exceptions.Exit(1)
