"""`nasc fmt`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from nasc.commands.common import PATH, example
from nasc.completing import nas_files


@click.command(epilog=example("nasc fmt spaces/mine.nas", "nasc fmt --check spaces/*.nas"))
@click.argument("files", nargs=-1, required=True, type=PATH, shell_complete=nas_files)
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit with 1 if a file would change.")
def command(files: tuple[Path, ...], only_check: bool) -> None:
    """Lay FILES out in the one canonical way, in place; comments are kept.

    Files with syntax errors are left as they are.
    """
    from nasc.dsl.diagnostics import DiagnosticError, Diagnostics
    from nasc.dsl.format import format_text
    from nasc.dsl.read import read_text

    problems = Diagnostics()
    changed = 0
    for path in files:
        text = read_text(path, problems)
        if text is None:
            continue
        try:
            laid_out = format_text(text, str(path))
        except DiagnosticError as error:
            problems.found += error.diagnostics
            continue
        if laid_out != text:
            changed += 1
            click.echo(f"{'would change' if only_check else 'changed'} {path}", err=True)
            if not only_check:
                _replace(path, laid_out)
    problems.raise_errors()
    if only_check and changed:
        raise click.exceptions.Exit(1)


def _replace(path: Path, text: str) -> None:
    """Write the file in one step and keep its permissions: a kill leaves the old text or the new one."""
    from nasc.dsl.diagnostics import NascError

    target = path.resolve()
    try:
        mode = target.stat().st_mode
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, mode)
        os.replace(name, target)
    except OSError as error:
        raise NascError(f"cannot write {path}: {error.strerror}") from error
