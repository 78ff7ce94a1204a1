"""`nasc widen`."""

from __future__ import annotations

from pathlib import Path

import click

from nasc.commands.common import (
    PATH,
    allow_long_numbers,
    example,
    file_argument,
    open_checked,
    refuse_replacing,
)


@click.command(
    epilog=example(
        "nasc widen spaces/networks/gpunet_1.nas -o around.nas",
        "nasc widen runs/digits/best.nas --range 0.5..2 --only mid --only high.2 --only hidden -o next.nas",
        "nasc widen spaces/networks/resnet50.nas --granularity 16 --outputs",
    )
)
@file_argument
@click.option("--range", "shares", default="0.5..1.5", show_default=True, metavar="LOW..HIGH", help="Times a width.")
@click.option(
    "--granularity", type=click.IntRange(1, 100_000), default=8, show_default=True, help="Widths are multiples of it."
)
@click.option("--only", multiple=True, metavar="NAME", help="Open this stage, layer or parameter alone; repeatable.")
@click.option("--outputs", is_flag=True, help="Open the stages' widths too; those that additions tie stay equal.")
@click.option("-o", "--out", type=PATH, metavar="FILE", help="The .nas file to write.  [default: standard output]")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def command(
    file: Path, shares: str, granularity: int, only: tuple[str, ...], outputs: bool, out: Path | None, force: bool
) -> None:
    """Open the inner widths of the network in FILE again: each becomes a range around it.

    The result is a space that contains the network, for a search that goes on from where one ended; comments and the
    sections of searches and targets are kept. What cannot be opened stays as it is, and standard error says what.
    """
    from nasc.compiler.count import count_members
    from nasc.compiler.open_widths import Opening, parse_shares
    from nasc.compiler.opened import open_file, space_of
    from nasc.compiler.widen import widen
    from nasc.compiler.write_files import write_file

    allow_long_numbers()
    checked = open_checked(file)
    note = f"Widened from {file.name}: {shares.strip()} times its widths, in multiples of {granularity}."
    widened = widen(checked, Opening(*parse_shares(shares), granularity), only, outputs, note)
    members = count_members(space_of(open_file(out or file, widened.text)))
    if out is None:
        click.echo(widened.text, nl=False)
    else:
        refuse_replacing(out, force)
        write_file(out, widened.text.encode())
        click.echo(out)
    for line in widened.notes:
        click.echo(f"note: {line}", err=True)
    click.echo(f"opened {widened.opened} width{'s' * (widened.opened != 1)}; members: {members:,}", err=True)
