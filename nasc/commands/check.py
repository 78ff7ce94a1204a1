"""`nasc check`."""

from __future__ import annotations

from pathlib import Path

import click

from nasc.cli import colored
from nasc.commands.common import PATH, example, format_option, print_json
from nasc.completing import nas_files


@click.command(epilog=example("nasc check spaces/mine.nas spaces/other.nas"))
@click.argument("files", nargs=-1, required=True, type=PATH, shell_complete=nas_files)
@format_option
def command(files: tuple[Path, ...], form: str) -> None:
    """Find every error and warning in FILES, with the place and, where one is likely, the mend.

    Exits with 1 where there is an error.
    """
    from nasc.compiler.check import check
    from nasc.compiler.opened import load_file
    from nasc.dsl.render import render, to_json

    found = [check(load_file(path)).diagnostics for path in files]
    everything = [diagnostic for diagnostics in found for diagnostic in diagnostics.found]
    errors = sum(len(diagnostics.errors) for diagnostics in found)
    if form == "json":
        print_json(to_json(everything))
    else:
        click.echo(render(everything, color=colored()), err=True, nl=bool(everything))
        click.echo(_summary(len(files), errors, len(everything) - errors), err=True)
    if errors:
        raise click.exceptions.Exit(1)


def _summary(files: int, errors: int, warnings: int) -> str:
    where = "1 file" if files == 1 else f"{files} files"
    what = [f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((errors, "error"), (warnings, "warning")) if n]
    return f"{where}: {' and '.join(what) or 'no errors'}"
