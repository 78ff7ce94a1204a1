"""`nasc count`."""

from __future__ import annotations

from pathlib import Path

import click

from nasc.commands.common import (
    allow_long_numbers,
    example,
    file_argument,
    format_option,
    open_space,
    print_json,
    set_option,
    table,
)


@click.command(epilog=example("nasc count spaces/gpunet1.nas", "nasc count --factors spaces/gpunet1.nas"))
@file_argument
@click.option("--factors", is_flag=True, help="Explain the number layer by layer.")
@format_option
@set_option
def command(file: Path, factors: bool, form: str, sets: tuple[str, ...]) -> None:
    """Print the exact number of members of FILE: one value for every decision that is taken."""
    from nasc.compiler.count import count_members, layer_factors

    allow_long_numbers()
    space = open_space(file, sets)
    count = count_members(space)
    rows = layer_factors(space) if factors else []
    if form == "json":
        layers = [{"layer": a, "ways": n, "skippable": skip} for a, n, skip in rows]
        print_json({"members": count, **({"layers": layers} if factors else {})})
        return
    if factors:
        lines = [[a, str(n), "+ 1" if skip else "", str(n + skip)] for a, n, skip in rows]
        click.echo(table(["layer", "ways to build", "dropped", "factor"], lines, frozenset({1, 3})))
        click.echo(_product(count, [n + skip for _, n, skip in rows]))
        return
    click.echo(count)


def _product(count: int, factors: list[int]) -> str:
    product = 1
    for factor in factors:
        product *= factor
    if product == count:
        return f"\n{count} members, the product"
    return f"\n{count} members (layers depend on one another here: not the product of the factors)"
