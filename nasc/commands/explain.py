"""`nasc explain`."""

from __future__ import annotations

import click

from nasc.commands.common import example
from nasc.completing import codes


@click.command(epilog=example("nasc explain E0312"))
@click.argument("code", shell_complete=codes)
def command(code: str) -> None:
    """Explain an error or warning by its CODE: what it means, an example, the mend."""
    from nasc.dsl.codes import CODES
    from nasc.dsl.diagnostics import NascError, did_you_mean

    name = code.strip().strip("[]").upper()
    info = CODES.get(name)
    if info is None:
        raise NascError(f"there is no code `{code}`", help=did_you_mean(name, CODES) or "docs/errors.md lists them all")
    click.echo(f"{name}: {info.title}\n\n{info.explanation}")
    if info.example:
        click.echo("\n" + "\n".join(f"    {line}".rstrip() for line in info.example.rstrip().splitlines()))
    click.echo(f"\nMend: {info.mend}")
