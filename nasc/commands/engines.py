"""`nasc engines`."""

from __future__ import annotations

import shutil
import sys
import textwrap

import click

from nasc.commands.common import example, format_option, print_json


@click.command(epilog=example("nasc engines"))
@click.option("--measure-ceilings", is_flag=True, help="First measure this machine's speed for the engine `analytic`.")
@format_option
def command(measure_ceilings: bool, form: str) -> None:
    """List the engines that latency can be measured with, and for each that cannot run here why, and what to install.

    The engine `analytic` computes latencies from what a device can do at most. With --measure-ceilings that is measured
    of one core of this machine, in a few seconds, and kept in the user's cache folder.
    """
    from nasc.runtime.engines import ENGINES, load_engine

    if measure_ceilings:
        _measure_ceilings()
    found = {name: load_engine(place).available() for name, place in ENGINES.items()}
    if form == "json":
        print_json([{"engine": name, "available": why is None, "reason": why} for name, why in found.items()])
    else:
        click.echo("\n".join(_lines(found)))


def _lines(found: dict[str, str | None]) -> list[str]:
    """A line for each engine; on a terminal, reasons go on below where the line ends."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    first = max(map(len, found)) + 2
    lines: list[str] = []
    for name, why in found.items():
        room = None if width is None else max(20, width - first)
        parts = [why or "yes"] if room is None else textwrap.wrap(why or "yes", room, break_on_hyphens=False)
        lines += [f"{name if i == 0 else '':<{first}}{part}" for i, part in enumerate(parts)]
    return [f"{'engine':<{first}}here", f"{'-' * (first - 2)}  ----", *lines]


def _measure_ceilings() -> None:
    from nasc.runtime.engines.roofline import measure_roofline, roofline_path, store_roofline

    found, path = measure_roofline(), roofline_path()
    store_roofline(found, path)
    peaks = ", ".join(f"{peak:.1f} GMAC/s in {precision}" for precision, peak in found.gigamacs.items())
    click.echo(
        f"{found.device}, one core: {peaks}, {found.gigabytes:.1f} GB/s, {found.launch_us:.2f} µs a kernel; {path}",
        err=True,
    )
