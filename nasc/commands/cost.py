"""`nasc cost`."""

from __future__ import annotations

from pathlib import Path

import click

from nasc.commands.common import amount, example, file_argument, format_option, open_space, print_json, set_option


@click.command(epilog=example("nasc cost spaces/networks/resnet50.nas", "nasc cost --format json spaces/gpunet1.nas"))
@file_argument
@format_option
@set_option
def command(file: Path, form: str, sets: tuple[str, ...]) -> None:
    """Print the parameters of FILE, and the multiply-accumulates for one image.

    Exact for one member; for a space the smallest and the largest of all members. Multiply-accumulates are those of
    convolutions and linear layers.
    """
    from nasc.compiler.cost import cost_of

    cost = cost_of(open_space(file, sets))
    if form == "json":
        print_json(cost.as_json())
        return
    for name, span in (("parameters", cost.params), ("MACs", cost.macs)):
        if span.min == span.max:
            click.echo(f"{name:<12}{span.min:,} ({amount(span.min)})")
        else:
            click.echo(f"{name:<12}{span.min:,} .. {span.max:,} ({amount(span.min)} .. {amount(span.max)})")
