"""`nasc compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasc.commands.common import (
    PATH,
    example,
    file_argument,
    format_option,
    open_checked,
    print_json,
    resumable,
    table,
)
from nasc.completing import methods as method_names

if TYPE_CHECKING:
    from nasc.runtime.compare_table import Comparison


@click.command(
    epilog=example(
        "nasc compare spaces/digits.nas --methods prunet fbnet random --budget 2000steps --data digits --cost macs "
        "--out compared",
        "nasc compare mine.nas --methods prunet,random --budget 10min --data fashion --table latency.db --out compared",
    )
)
@file_argument
@click.option(
    "--methods",
    "first",
    metavar="NAME...",
    shell_complete=method_names,
    help="The methods, behind one another or with commas.  [default: all that can run]",
)
@click.argument("more", nargs=-1, metavar="", shell_complete=method_names)
@click.option(
    "--budget", required=True, metavar="AMOUNT", help="The most that each search may use: 5000steps, 600s, 10min or 2h."
)
@click.option("--data", required=True, help="digits, fashion, fashion:DIR, synthetic, a folder, or package.module:f.")
@click.option("--out", type=PATH, metavar="DIR", help="The comparison's folder.  [default: compared/SPACE]")
@click.option("--seeds", type=click.IntRange(1, 1000), default=3, show_default=True, help="How often all is repeated.")
@click.option(
    "--points",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="Searches of each method and seed, each with another weight of the cost.",
)
@click.option(
    "--cost", type=click.Choice(["latency", "macs", "params"]), default="latency", show_default=True,
    help="What networks are to have little of.",
)  # fmt: skip
@click.option("--table", "latencies", type=PATH, help="Latency table, made by `nasc profile`.")
@click.option("--batch", type=click.IntRange(min=1), help="Images a step.  [default: of the file's first section]")
@click.option(
    "--retrain",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    metavar="STEPS",
    help="Steps that each network found is trained for, rounded to whole epochs.",
)
@click.option(
    "--start",
    type=click.Choice(["scratch", "inherited"]),
    default="scratch",
    show_default=True,
    help="Where that begins: at random weights, or at those that the search left.",
)
@click.option(
    "--train", "training", multiple=True, metavar="NAME=VALUE", help="An option of that training; repeatable."
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="METHOD.NAME=VALUE",
    help="An option of one method, such as prunet.alpha={0.2, 0.6, 2}; repeatable.",
)
@click.option("--reference", metavar="COST,ACCURACY", help="Of the hypervolumes.  [default: 1.1 x the dearest, chance]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.")
@click.option("--workers", type=click.IntRange(min=0), default=0, help="Processes that read images.")
@format_option
def command(
    file: Path,
    first: str | None,
    more: tuple[str, ...],
    out: Path | None,
    form: str,
    **given: Any,
) -> None:
    """Compare search methods on the space of FILE: equal budget, data, latencies and training, several seeds.

    Each method searches with several weights of the cost; every network found is trained alike. Printed are a table by
    method and seed and one by method, with hypervolumes; DIR has the raw numbers, a Pareto picture and a page. A
    comparison that was stopped goes on with the same command.
    """
    from nasc.compiler.opened import space_of
    from nasc.runtime.progress import loading

    if more and first is None:
        raise click.UsageError(f"Got unexpected extra arguments ({' '.join(more)}): methods stand behind --methods.")
    loading(given["data"])
    with resumable("the same command goes on from the last epoch"):
        from nasc.runtime.compare import compare
        from nasc.runtime.compare_report import PAGE

        checked = open_checked(file)
        folder = out or Path("compared", space_of(checked).name)
        comparison = compare(checked, _asked(_names(first, more), given), folder)
    if form == "json":
        print_json(comparison.summary())
    else:
        click.echo(_text(comparison))
        click.echo(f"page: {folder / PAGE}", err=True)


def _names(first: str | None, more: tuple[str, ...]) -> tuple[str, ...]:
    from nasc.compiler.methods.plugins import runnable

    named = [name for text in (first or "", *more) for name in text.replace(",", " ").split()]
    return tuple(dict.fromkeys(named)) or runnable()


def _asked(names: tuple[str, ...], given: dict[str, Any]) -> Any:
    from nasc.compiler.methods.option_text import read_plain
    from nasc.runtime.compare_plan import Asked, Budget

    return Asked(
        methods=names,
        budget=Budget.read(given.pop("budget")),
        seeds=tuple(range(given.pop("seeds"))),
        table=given.pop("latencies"),
        training=dict(map(read_plain, given.pop("training"))),
        reference=_reference(given.pop("reference")),
        **given,
    )


def _reference(text: str | None) -> tuple[float, float] | None:
    """A cost and an accuracy. Raises `NascError` for anything else."""
    from nasc.dsl.diagnostics import NascError

    if text is None:
        return None
    try:
        cost, accuracy = (float(part) for part in text.split(","))
    except ValueError:
        cost, accuracy = 0.0, -1.0
    if not (0 < cost < 1e18 and 0 <= accuracy < 1):
        raise NascError(f"`{text}` is no reference", help="write a cost and an accuracy, such as 2000000,0.1")
    return cost, accuracy


def _text(comparison: Comparison) -> str:
    from nasc.runtime.compare_table import conditions, line_rows, method_rows

    lines = [f"{name}: {value}" for name, value in conditions(comparison)]
    head, rows = line_rows(comparison)
    right = frozenset(range(1, len(head)))
    return "\n".join([*lines, "", table(head, rows, right), "", table(*method_rows(comparison))])
