"""`nasc train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nasc.commands.common import PATH, example, file_argument, format_option, perplexity_text, print_json, resumable

positive = click.FloatRange(min=0, min_open=True)
below_one = click.FloatRange(0, 1, max_open=True)
fraction = click.FloatRange(0, 1, min_open=True)


@click.command(
    epilog=example(
        "nasc train best.nas --data digits --out run --epochs 30",
        "nasc train best.nas --data digits --out run --epochs 30 --resume",
        "nasc train best.nas --data DIR --epochs 450 --batch 1536 --rate 0.06 --schedule exponential --decay-rate 0.97"
        " --decay-epochs 2.4 --ema 0.9999 --drop-path 0.2 --augment policy --out run",
        "nasc train best.nas --data DIR --epochs 450 --out run --teacher efficientnet_b3.onnx --crop 0.904",
    )
)
@file_argument
@click.option(
    "--data", required=True, help="digits, fashion, synthetic, a folder, package.module:function, or text:FILE."
)
@click.option("--out", type=PATH, required=True, metavar="RUN", help="The folder of the run.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training images.  [default: 10]")
@click.option("--batch", type=click.IntRange(min=1), help="Images a step.  [default: 128]")
@click.option("--optimizer", type=click.Choice(["sgd", "rmsprop", "adamw"]), help="[default: sgd]")
@click.option("--rate", type=positive, help="Highest learning rate, after the warm-up.  [default: 0.1]")
@click.option("--weight-decay", type=click.FloatRange(min=0), help="[default: 0.0001]")
@click.option("--clip-norm", type=positive, help="Largest norm of the gradient.  [default: none]")
@click.option("--schedule", type=click.Choice(["cosine", "exponential"]), help="[default: cosine]")
@click.option("--decay-rate", type=fraction, help="Factor of the exponential decay's steps.  [default: 0.97]")
@click.option("--decay-epochs", type=positive, help="Epochs between these steps.  [default: 2.4]")
@click.option("--warmup-epochs", type=click.FloatRange(min=0), help="Linear rise of the rate.  [default: 1]")
@click.option("--ema", type=below_one, help="Decay of averaged weights, 0 for none.  [default: 0.999]")
@click.option("--label-smoothing", type=below_one, help="[default: 0]")
@click.option("--drop-path", type=below_one, help="Rate at which the last residual branch is dropped.  [default: 0]")
@click.option("--augment", type=click.Choice(["standard", "policy", "none"]), help="[default: standard]")
@click.option("--no-augment", is_flag=True, help="Take the images as they are: --augment none.")
@click.option("--magnitude", type=click.FloatRange(0, 10), help="Strength of the policy.  [default: 9]")
@click.option("--deviation", type=click.FloatRange(min=0), help="Of the policy's magnitude.  [default: 0.5]")
@click.option("--crop", type=click.FloatRange(0.1, 1), help="Central part of validation images.  [default: 1]")
@click.option("--class-fraction", type=fraction, help="Part of the classes that is taken.  [default: 1]")
@click.option("--teacher", type=click.Path(), metavar="FILE", help="Learn from a network, .onnx or .pt2.")
@click.option("--distillation-weight", type=click.FloatRange(0, 1), help="Its part of the loss.  [default: 0.5]")
@click.option("--temperature", type=positive, help="Of the distillation.  [default: 1]")
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
    a GPU. The third example is the recipe of PruNet's appendix A.2.2, the fourth adds a teacher: it is given the images
    that the network is given, resized to its own size. RUN gets weights.safetensors, model.py, result.json,
    metrics.jsonl, a copy of the network, a checkpoint after each epoch, and for data of pictures usage.py, which tells
    what is in one.
    """
    from nasc.runtime.progress import loading

    loading(data)
    with resumable("--resume goes on from the last epoch"):
        from nasc.runtime.train_file import train_file

        result = train_file(file, data, out, _options(given), resume=resume)
    if form == "json":
        print_json({"top1": result.top1, "top5": result.top5, "loss": result.loss, "test_top1": result.test_top1})
        return
    click.echo(f"validation accuracy {result.top1:.2%}, loss {result.loss:.4f}{perplexity_text(result.perplexity)}")
    if result.test_top1 is not None:
        click.echo(f"test accuracy       {result.test_top1:.2%}")
    click.echo(f"weights             {out / 'weights.safetensors'}")


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """The options as `TrainOptions` names them; those not given keep its defaults."""
    options = {name: value for name, value in given.items() if value is not None}
    if options.pop("no_augment"):
        options["augment"] = "none"
    if options.pop("no_amp"):
        options["amp"] = "off"
    if options.get("ema") == 0:
        options["ema"] = None
    return options
