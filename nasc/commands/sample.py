"""`nasc sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nasc.commands.common import PATH, example, file_argument, format_option, print_json, set_option


@click.command(
    epilog=example(
        "nasc sample spaces/gpunet1.nas -n 8 --seed 1 -o members",
        "nasc sample spaces/gpunet1.nas -n 4 --macs 3G..3.5G -o members",
        "nasc sample spaces/digits.nas -n 4 --latency 40us..60us --table latency.db -o members",
    )
)
@file_argument
@click.option("-n", "count", type=click.IntRange(min=1), default=1, show_default=True, help="How many members.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Equal seeds, equal members.")
@click.option("-o", "--out", type=PATH, default=Path("samples"), show_default=True, help="The folder to write into.")
@click.option("--macs", metavar="LOW..HIGH", help="Only members of so many multiply-accumulates.")
@click.option("--params", metavar="LOW..HIGH", help="Only members of so many parameters.")
@click.option("--latency", metavar="LOW..HIGH", help="Only members of such a predicted latency; needs --table.")
@click.option("--table", type=PATH, metavar="FILE", help="The latency table to predict with.")
@click.option("--attempts", type=click.IntRange(min=1), default=2000, show_default=True, help="Draws before giving up.")
@format_option
@set_option
def command(
    file: Path,
    count: int,
    seed: int,
    out: Path,
    macs: str | None,
    params: str | None,
    latency: str | None,
    table: Path | None,
    attempts: int,
    form: str,
    sets: tuple[str, ...],
) -> None:
    """Draw members of FILE uniformly, each written as a .nas file; the paths are printed.

    Bounds are met by drawing again and again; where no member meets them, nothing is written and the exit code is 1.
    """
    from nasc.api import Space

    space = Space.open(file, sets)
    members = space.sample(
        count, seed, macs=macs, params=params, latency=latency, table=table, attempts=attempts
    )  # fmt: skip
    rows = [_write(out / f"{space.name}_{seed}_{number}.nas", member) for number, member in enumerate(members, 1)]
    if form == "json":
        print_json(rows)
    else:
        for row in rows:
            click.echo(row["file"])


def _write(path: Path, member: Any) -> dict[str, Any]:
    from nasc.compiler.write_files import write_file

    write_file(path, member.text.encode())
    return {"file": str(path), **member.cost()}
