"""`nasc search`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from nasc.commands.common import PATH, example

PATIENCE = 30.0
"""Seconds that an interrupted search may take to end the step it is in."""


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=example(
        "nasc search build/digits --data digits --cost latency --table latency.db --out run",
        "nasc search build/gpunet1 --data synthetic --cost macs --steps 1",
    ),
)
@click.argument("folder", metavar="DIR", type=PATH)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(folder: Path, arguments: tuple[str, ...]) -> None:
    """Run the search module that `nasc compile` wrote into DIR: the same as `python DIR/search.py ARGUMENTS`.

    `nasc search DIR --help` lists its options; without any it prints a command that can be run.
    """
    from nasc.dsl.diagnostics import NascError

    module = folder / "search.py"
    if not module.is_file():
        raise NascError(f"there is no search module {module}", help="`nasc compile FILE -o DIR` writes one for a space")
    # A process of its own, as for whoever runs the module by itself.
    code = _code_of([sys.executable, str(module), *arguments])
    if code:
        raise click.exceptions.Exit(130 if code == -2 else code)


def _code_of(program: list[str]) -> int:
    """The exit code of a program. Control-C reaches it too, and it is left the time to say how it goes on."""
    with subprocess.Popen(program) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            try:
                return process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
