"""`nasc train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nasc.commands.common import PATH, example, file_argument, format_option, print_json

positive = click.FloatRange(min=0, min_open=True)


@click.command(
    epilog=example(
        "nasc train best.nas --data digits --out run --epochs 30",
        "nasc train best.nas --data digits --out run --epochs 30 --resume",
    )
)
@file_argument
@click.option("--data", required=True, help="digits, fashion, synthetic, a folder, or package.module:function.")
@click.option("--out", type=PATH, required=True, metavar="RUN", help="The folder of the run.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training images.  [default: 10]")
@click.option("--batch", type=click.IntRange(min=1), help="Images a step.  [default: 128]")
@click.option("--optimizer", type=click.Choice(["sgd", "rmsprop", "adamw"]), help="[default: sgd]")
@click.option("--rate", type=positive, help="Highest learning rate, after the warm-up.  [default: 0.1]")
@click.option("--weight-decay", type=click.FloatRange(min=0), help="[default: 0.0001]")
@click.option("--warmup-epochs", type=click.FloatRange(min=0), help="Linear rise of the rate.  [default: 1]")
@click.option("--ema", type=click.FloatRange(0, 1, max_open=True), help="Decay of averaged weights, 0 for none.")
@click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), help="[default: 0]")
@click.option("--no-augment", is_flag=True, help="Take the images as they are.")
@click.option("--no-amp", is_flag=True, help="No mixed precision on a GPU.")
@click.option("--seed", type=click.IntRange(min=0), help="Of initial weights, order and augmentation.  [default: 0]")
@click.option("--device", help="auto, cpu, cuda or cuda:N.  [default: auto]")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that read images.  [default: 0]")
@click.option("--resume", is_flag=True, help="Go on with the run in RUN, or start it.")
@format_option
def command(file: Path, data: str, out: Path, resume: bool, form: str, **given: Any) -> None:
    """Train the one network of FILE from scratch.

    A cosine schedule after a linear warm-up, averaged weights (EMA), the data's usual augmentation, mixed precision on
    a GPU. RUN gets weights.safetensors, result.json, metrics.jsonl, a copy of the network, and a checkpoint after each
    epoch.
    """
    from nasc.runtime.train_file import train_file

    result = train_file(file, data, out, _options(given), resume=resume)
    if form == "json":
        print_json({"top1": result.top1, "top5": result.top5, "loss": result.loss, "test_top1": result.test_top1})
        return
    click.echo(f"validation accuracy {result.top1:.2%}, loss {result.loss:.4f}")
    if result.test_top1 is not None:
        click.echo(f"test accuracy       {result.test_top1:.2%}")
    click.echo(f"weights             {out / 'weights.safetensors'}")


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """The options as `TrainOptions` names them; those not given keep its defaults."""
    options = {name: value for name, value in given.items() if value is not None}
    if options.pop("no_augment"):
        options["augment"] = False
    if options.pop("no_amp"):
        options["amp"] = "off"
    if options.get("ema") == 0:
        options["ema"] = None
    return options
