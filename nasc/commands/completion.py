"""`nasc completion`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from nasc.commands.common import example

SHELLS = ("bash", "zsh", "fish")


@click.command(epilog=example("nasc completion bash", "nasc completion fish"))
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def command(shell: str | None) -> None:
    """Print what SHELL needs to complete commands, options, .nas files, engines, methods, codes and blocks.

    Without SHELL it is the one that runs, by the variable SHELL. New shells complete after one of

    \b
    nasc completion bash > ~/.local/share/bash-completion/completions/nasc
    nasc completion fish > ~/.config/fish/completions/nasc.fish
    echo 'eval "$(nasc completion zsh)"' >> ~/.zshrc
    """
    from click.shell_completion import get_completion_class

    from nasc.cli import main
    from nasc.dsl.diagnostics import NascError

    name = shell or Path(os.environ.get("SHELL", "")).name
    found = get_completion_class(name) if name in SHELLS else None
    if found is None:
        raise NascError(f"which shell is to complete? `{name}` is not known", help=f"name one: {', '.join(SHELLS)}")
    click.echo(_staying_at_folders(found(main, {}, "nasc", "_NASC_COMPLETE").source()), nl=False)


def _staying_at_folders(script: str) -> str:
    """In bash no blank follows a folder, so that one can go on into it."""
    taken = "COMPREPLY+=($value)"
    return script.replace(taken, f"{taken}; [[ $value == */ ]] && compopt -o nospace")
