"""`nasc show`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from nasc.compiler.elaborate import Space
    from nasc.compiler.prunodes import PrunodeForm


@click.command(epilog=example("nasc show spaces/gpunet1.nas", "nasc show best.nas --svg best.svg"))
@file_argument
@click.option("--svg", type=PATH, metavar="OUT", help="Draw the network into an SVG file instead.")
@format_option
@set_option
def command(file: Path, svg: Path | None, form: str, sets: tuple[str, ...]) -> None:
    """Print FILE layer by layer: block, shapes, what is open, and in how many ways each layer can be built.

    Of a space with searched hidden widths it also says whether PruNet's Prunodes compute the hidden channels once for
    both of their widths, and where they cannot, why.
    """
    from nasc.compiler.outline import outline

    allow_long_numbers()
    space = open_space(file, sets)
    if svg is not None:
        from nasc.compiler.lower_svg import draw
        from nasc.compiler.write_files import write_file

        write_file(svg, draw(space).encode())
        click.echo(f"wrote {svg}", err=True)
        return
    rows = outline(space)
    prunodes = _prunodes(space)
    if form == "json":
        forms = _by_layer(prunodes)
        print_json([{**row.as_json(), "prunodes": forms.get(row.layer, [])} for row in rows])
        return
    lines = [[r.layer, r.block, r.input, r.output, r.choices, str(r.members)] for r in rows]
    click.echo(table(["layer", "block", "in", "out", "open", "ways"], lines, frozenset({5})))
    if prunodes:
        click.echo("\n" + "\n".join(_prunode_lines(prunodes)))


def _prunodes(space: Space) -> Sequence[PrunodeForm]:
    """None where no SuperNet can be made: `nasc compile` says why."""
    from nasc.compiler.network import network_of
    from nasc.compiler.prunodes import prunode_forms
    from nasc.dsl.diagnostics import NascError

    try:
        return prunode_forms(network_of(space))
    except NascError:
        return ()


def _by_layer(prunodes: Sequence[PrunodeForm]) -> dict[str, list[dict[str, object]]]:
    forms: dict[str, list[dict[str, object]]] = {}
    for p in prunodes:
        forms.setdefault(p.layer, []).append({"block": p.block, "shared": p.why is None, "why": p.why})
    return forms


def _prunode_lines(prunodes: Sequence[PrunodeForm]) -> list[str]:
    shared = sum(p.why is None for p in prunodes)
    lines = [f"Prunodes: {len(prunodes)}, of which {shared} compute their hidden channels once for both widths"]
    alone: dict[tuple[str, str], list[str]] = {}
    for prunode in prunodes:
        if prunode.why is not None:
            alone.setdefault((prunode.block, prunode.why), []).append(prunode.layer)
    for (block, why), layers in alone.items():
        places = dict.fromkeys(layers)
        where = next(iter(places)) + (f" and {len(places) - 1} more" if len(places) > 1 else "")
        lines.append(f"  {block} in {where}: each width from the start, because {why}")
    return lines
