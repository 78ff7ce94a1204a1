"""`nasc show`."""

from __future__ import annotations

from pathlib import Path

import click

from nasc.commands.common import (
    PATH,
    allow_long_numbers,
    example,
    file_argument,
    format_option,
    open_space,
    print_json,
    set_option,
    table,
)


@click.command(epilog=example("nasc show spaces/gpunet1.nas", "nasc show best.nas --svg best.svg"))
@file_argument
@click.option("--svg", type=PATH, metavar="OUT", help="Draw the network into an SVG file instead.")
@format_option
@set_option
def command(file: Path, svg: Path | None, form: str, sets: tuple[str, ...]) -> None:
    """Print FILE layer by layer: block, shapes, what is open, and in how many ways each layer can be built."""
    from nasc.compiler.outline import outline

    allow_long_numbers()
    space = open_space(file, sets)
    rows = outline(space)
    if svg is not None:
        from nasc.compiler.lower_svg import draw
        from nasc.compiler.write_files import write_file

        write_file(svg, draw(space.name, rows).encode())
        click.echo(f"wrote {svg}", err=True)
    elif form == "json":
        print_json([row.as_json() for row in rows])
    else:
        lines = [[r.layer, r.block, r.input, r.output, r.choices, str(r.members)] for r in rows]
        click.echo(table(["layer", "block", "in", "out", "open", "ways"], lines, frozenset({5})))
