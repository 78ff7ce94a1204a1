"""`nasc eval`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from nasc.commands.common import PATH, example, file_argument, format_option, perplexity_text, print_json


@click.command(epilog=example("nasc eval best.nas --weights run/weights.safetensors --data digits --split test"))
@file_argument
@click.option("--weights", type=PATH, required=True, metavar="FILE", help="Trained weights (.safetensors).")
@click.option("--data", required=True, help="As for `nasc train`.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="val", show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=256, show_default=True, help="Images at once.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the data's random split.")
@click.option("--crop", type=click.FloatRange(0.1, 1), default=1.0, show_default=True, help="Central part looked at.")
@click.option(
    "--class-fraction",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Part of the classes that is taken.",
)
@format_option
def command(file: Path, weights: Path, data: str, form: str, **settings: Any) -> None:
    """Measure how well the one network of FILE classifies images."""
    from nasc.runtime.progress import loading

    loading(data)
    from nasc.runtime.train_file import evaluate_file

    result = evaluate_file(file, weights, data, **settings)
    if form == "json":
        print_json(asdict(result))
        return
    five = f", top 5 {result.top5:.2%}" if result.top5 is not None else ""
    what = "images" if result.perplexity is None else "sequences"
    loss = f"loss {result.loss:.4f}{perplexity_text(result.perplexity)}"
    click.echo(f"accuracy {result.top1:.2%}{five}, {loss} on {result.count} {what}")
