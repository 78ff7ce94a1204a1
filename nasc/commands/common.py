"""What several commands share: their arguments, how they open a file, and how they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasc.cli import colored
from nasc.completing import nas_files

if TYPE_CHECKING:
    from nasc.compiler.check import Checked
    from nasc.compiler.elaborate import Space

PATH: click.Path = click.Path(path_type=Path)

file_argument = click.argument("file", type=PATH, shell_complete=nas_files)

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="For whom to print.",
)

set_option = click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change a value first, such as irb3.x=6; repeatable."
)


def example(*lines: str) -> str:
    """The epilog that shows how a command is called."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def open_checked(path: Path, sets: tuple[str, ...] = ()) -> Checked:
    """Load and check a file; its warnings go to standard error. Raises `DiagnosticError` where there are errors."""
    from nasc.compiler.opened import open_file

    checked = open_file(path, sets=sets)
    warn(checked)
    return checked


def open_space(path: Path, sets: tuple[str, ...] = ()) -> Space:
    """The space or network of a file. Raises `DiagnosticError` for errors, `NascError` for a file without one."""
    from nasc.compiler.opened import space_of

    return space_of(open_checked(path, sets))


def warn(checked: Checked) -> None:
    """Print a file's warnings."""
    if checked.diagnostics.found:
        from nasc.dsl.render import render

        click.echo(render(checked.diagnostics.found, color=colored()), err=True)


def refuse_replacing(file: Path, force: bool) -> None:
    """Raise `NascError` for a file that is there, unless `force`."""
    from nasc.dsl.diagnostics import NascError

    if not force and (file.exists() or file.is_symlink()):
        raise NascError(f"{file} is there already", help="take another name, or --force to replace it")


@contextmanager
def resumable(how: str) -> Iterator[None]:
    """Let Control-C end the command with `how` it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(how) from None


def allow_long_numbers() -> None:
    """Let Python print counts of any length: by itself it stops at 4300 digits."""
    sys.set_int_max_str_digits(0)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


def table(head: list[str], rows: list[list[str]], right: frozenset[int] = frozenset()) -> str:
    """Columns two blanks apart; those in `right` aligned to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        .rstrip()
        for line in lines
    )  # fmt: skip


def amount(value: float) -> str:
    """A large number as people say it: 3.31G, 12.7M, 843."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def perplexity_text(perplexity: float | None) -> str:
    """What is said of a language model behind its loss."""
    return "" if perplexity is None else f", perplexity {perplexity:.2f}"
