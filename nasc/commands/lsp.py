"""`nasc lsp`."""

from __future__ import annotations

import click

from nasc.commands.common import example


@click.command(epilog=example("nasc lsp", "nasc lsp --tcp 2087"))
@click.option("--stdio", is_flag=True, help="Speak over standard input and output, as editors do; the default.")
@click.option("--tcp", "port", type=click.IntRange(1, 65535), metavar="PORT", help="Wait for an editor at a port.")
def command(stdio: bool, port: int | None) -> None:
    """Serve an editor: errors while one types, hover, completion, definitions, renaming, formatting.

    Speaks the Language Server Protocol; docs/editor.md shows how editors start it.
    """
    from nasc.dsl.diagnostics import NascError

    if stdio and port is not None:
        raise NascError("the server speaks over --stdio or --tcp, not both", help="leave one of them out")
    try:
        from nasc.lsp.server import serve_stdio, serve_tcp
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("pygls", "lsprotocol"):
            raise
        raise NascError("the language server needs the package pygls", help="pip install 'nasc[lsp]'") from error
    raise click.exceptions.Exit(serve_tcp(port) if port is not None else serve_stdio())
