"""`nasc contains`."""

from __future__ import annotations

from pathlib import Path

import click

from nasc.commands.common import PATH, example, format_option, open_space, print_json
from nasc.completing import nas_files


@click.command(epilog=example("nasc contains spaces/gpunet1.nas spaces/networks/gpunet_1.nas"))
@click.argument("a", type=PATH, shell_complete=nas_files)
@click.argument("b", type=PATH, shell_complete=nas_files)
@format_option
def command(a: Path, b: Path, form: str) -> None:
    """Ask whether every network of B is built by some member of A.

    Prints yes, no or "cannot tell", with the reason; exits with 0 for yes only. Names of stages do not matter, and
    dropped layers leave no trace.
    """
    from nasc.compiler.contains import contains

    answer = contains(open_space(a), open_space(b))
    if form == "json":
        print_json({"contains": answer.yes, "reason": answer.reason})
    else:
        word = {True: "yes", False: "no", None: "cannot tell"}[answer.yes]
        click.echo(f"{word}: {answer.reason}" if answer.reason else word)
    if not answer.yes:
        raise click.exceptions.Exit(1)
