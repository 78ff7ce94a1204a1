"""`nasc doc`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasc.commands.common import example
from nasc.completing import blocks

if TYPE_CHECKING:
    from nasc.dsl import syntax


@click.command(epilog=example("nasc doc", "nasc doc irb", "nasc doc myblocks.nas"))
@click.argument("name", required=False, shell_complete=blocks)
def command(name: str | None) -> None:
    """Print the documentation of blocks: the library's, one block's by NAME, or those of a .nas file."""
    from nasc.dsl.diagnostics import NascError, did_you_mean
    from nasc.dsl.loader import standard_library

    library = standard_library()
    if name is None:
        click.echo("\n\n".join(_entry(block) for block in library.values()))
    elif name in library:
        click.echo(f"{_entry(library[name])}\n\n{_body(library[name])}")
    elif name.endswith(".nas") or Path(name).exists():
        click.echo("\n\n".join(_entry(block) for block in _blocks_of(Path(name))) or "no blocks", err=False)
    else:
        raise NascError(
            f"the library has no block `{name}`", help=did_you_mean(name, library) or "`nasc doc` lists them all"
        )


def _blocks_of(path: Path) -> list[syntax.Block]:
    from nasc.dsl import syntax
    from nasc.dsl.parser import parse_file

    file, diagnostics = parse_file(path)
    diagnostics.raise_errors()
    return [item for item in file.items if isinstance(item, syntax.Block)]


def _entry(block: syntax.Block) -> str:
    """The signature as written, and the comment above the block."""
    text = block.span.source.text[block.span.start : block.span.end]
    head = text[: text.index("{")] if "{" in text else text
    signature = " ".join(head.split())
    doc = "\n".join(f"    {line}".rstrip() for line in block.doc.splitlines())
    return f"{signature}\n{doc}" if doc else signature


def _body(block: syntax.Block) -> str:
    return block.span.source.text[block.span.start : block.span.end]
