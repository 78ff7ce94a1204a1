"""`nasc import`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from nasc.commands.common import PATH, amount, example, refuse_replacing

ACTIVATIONS = ["relu", "relu6", "swish", "hard_swish", "gelu"]
FAMILIES = [
    "efficientnet",
    "efficientnetv2",
    "mobilenetv2",
    "mobilenetv3",
    "mobilenetv4",
    "mnasnet",
    "fbnet",
]


@click.command(
    epilog=example(
        "nasc import blocks.txt --family mobilenetv3 --name mobilenet_v3_large -o large.nas",
        "nasc import ds_r1_k3_s1_e1_c16_se0.25 ir_r2_k3_s2_e6_c24_se0.25 ir_r2_k5_s2_e6_c40_se0.25",
        "nasc import --exported model.pt2 -o net.nas --weights net.safetensors",
    )
)
@click.argument("stages", nargs=-1, metavar="FILE|BLOCK...")
@click.option("--exported", type=PATH, metavar="FILE", help="Import a file of torch.export.save (.pt2) instead.")
@click.option("--weights", type=PATH, metavar="FILE", help="With --exported: the safetensors file to write.")
@click.option("-o", "--out", type=PATH, metavar="FILE", help="The .nas file to write.  [default: standard output]")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--name", help="The network's name.  [default: the file's]")
@click.option("--family", type=click.Choice(FAMILIES), default=FAMILIES[0], show_default=True, help="Whose rules.")
@click.option("--size", type=click.IntRange(1, 100_000), default=224, show_default=True, help="Height and width.")
@click.option("--channels", type=click.IntRange(1, 10_000), default=3, show_default=True, help="Of the images.")
@click.option("--classes", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="How many.")
@click.option("--width", type=click.FloatRange(0.01, 100), default=1.0, show_default=True, help="Width multiplier.")
@click.option("--depth", type=click.FloatRange(0.01, 100), default=1.0, show_default=True, help="Depth multiplier.")
@click.option("--fix-stem", is_flag=True, help="The width multiplier leaves the stem as it is.")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Before the last layer.")
@click.option("--act", type=click.Choice(ACTIVATIONS), help="Activation where a block names none.")
@click.option("--stem", type=click.IntRange(1, 10_000), help="Filters of the first convolution.")
@click.option("--head", type=click.IntRange(0, 100_000), help="Filters of the last convolution; 0 for none.")
@click.option("--head-kind", type=click.Choice(["conv", "pooled", "pooled_norm"]), help="Before or after the pooling.")
@click.option("--head-rule", type=click.Choice(["fixed", "scaled", "at_least"]), help="Under the width multiplier.")
@click.option("--se-from", type=click.Choice(["input", "expansion"]), help="What a gate's ratio is of.")
@click.option("--se-divisor", type=click.IntRange(1, 64), help="Gates have multiples of it.")
@click.option("--se-act", type=click.Choice(ACTIVATIONS), help="Activation inside gates.")
@click.option("--se-gate", type=click.Choice(["sigmoid", "hard_sigmoid"]), help="What ends a gate.")
@click.option("--bn-eps", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Of the batch norms.")
@click.option("--round-limit", type=click.FloatRange(0, 1), help="Widths never shrink below it when rounded.")
def command(
    stages: tuple[str, ...],
    exported: Path | None,
    weights: Path | None,
    out: Path | None,
    force: bool,
    name: str | None,
    size: int,
    channels: int,
    classes: int,
    width: float,
    depth: float,
    fix_stem: bool,
    dropout: float,
    **family: Any,
) -> None:
    """Turn block strings in timm's notation, or an exported PyTorch program, into a .nas file with one member.

    FILE has one stage a line, or timm's list of lists; strings on the command line are one stage each. A stage of
    several block strings has blanks or commas between them. A family sets what the strings leave open; the
    options after --dropout change it.

    With --exported, the network is what `torch.export.save` wrote of a module in evaluation: its layers become blocks
    of the library where they are such, and its weights fit the `model.py` that the .nas file compiles to. What comes
    out is compared with the program. Nothing that a file holds is run as code.
    """
    from nasc.import_network import Options, imported

    if exported is not None:
        _program(exported, name, out, weights, force)
        return
    if weights is not None:
        raise click.UsageError("--weights is for --exported: block strings have none")
    if not stages:
        raise click.UsageError("give block strings, a file of them, or --exported with a program")

    label, stages_read = _stages(stages)
    name = _name(name, label)
    options = Options(
        name=name,
        size=size,
        channels=channels,
        classes=classes,
        width=width,
        depth=depth,
        fix_stem=fix_stem,
        dropout=_decimal(dropout),
        family=_family(**family),
    )
    text = imported(stages_read, options, note="Imported from block strings.")
    _write(text, out, force)


_FOR_PROGRAMS = {"exported", "weights", "out", "force", "name"}


def _program(exported: Path, name: str | None, out: Path | None, weights: Path | None, force: bool) -> None:
    """Import a program; nothing is written where it cannot be."""
    from nasc.compiler.weights import write_weights
    from nasc.exported.imported import imported_program

    ctx = click.get_current_context()
    given = [key for key in ctx.params if ctx.get_parameter_source(key) == click.core.ParameterSource.COMMANDLINE]
    for key in given:
        if key not in _FOR_PROGRAMS:
            what = "block strings" if key == "stages" else f"--{key.replace('_', '-')}"
            raise click.UsageError(f"{what} cannot be given with --exported: the program says it all")
    if weights is not None:
        refuse_replacing(weights, force)
    found = imported_program(exported, _name(name, exported))
    _write(found.text, out, force)
    if weights is not None:
        write_weights(found.weights, weights)
        click.echo(weights, err=out is None)  # standard output is the .nas file then
    click.echo(f"outputs for noise differ from the program's by {found.difference:.2g}", err=True)


def _stages(given: tuple[str, ...]) -> tuple[Path | None, Any]:
    """The block strings, and the file that they are from, if they are from one."""
    from nasc.compiler.import_strings import read_stages
    from nasc.dsl.diagnostics import Diagnostics
    from nasc.dsl.read import read_text

    if len(given) > 1 or re.match(r"[a-z]+_[a-z]+\d", given[0]):
        return None, read_stages("<arguments>", "\n".join(given))
    if given[0].endswith(".pt2"):
        raise click.UsageError(f"{given[0]} is an exported program: write --exported {given[0]}")
    problems = Diagnostics()
    text = read_text(Path(given[0]), problems)
    problems.raise_errors()
    assert text is not None
    return Path(given[0]), read_stages(given[0], text)


def _name(name: str | None, file: Path | None) -> str:
    from nasc.dsl.diagnostics import NascError

    if name is None:
        found = re.sub(r"\W", "_", file.stem, flags=re.ASCII).lower() if file is not None else "imported"
        return found if re.match("[a-z]", found) else f"net_{found}"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise NascError(f"`{name}` is no name", help="a name has letters, digits and `_`, and begins with no digit")
    return name


def _family(family: str, **changed: Any) -> Any:
    from nasc import import_network

    given = {key: value for key, value in changed.items() if value is not None}
    if "bn_eps" in given:
        given["bn_eps"] = _decimal(given["bn_eps"])
    return replace(import_network.FAMILIES[family], **given)


def _decimal(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")


def _write(text: str, out: Path | None, force: bool) -> None:
    """Print the file, or write it; what it costs goes to standard error. A file with errors is not written."""
    from nasc.compiler.cost import cost_of
    from nasc.compiler.opened import open_file, space_of
    from nasc.compiler.write_files import write_file

    cost = cost_of(space_of(open_file("<imported>", text))).as_json()
    if out is None:
        click.echo(text, nl=False)
    else:
        refuse_replacing(out, force)
        write_file(out, text.encode())
        click.echo(out)
    params, macs = cost["params"], cost["macs"]
    click.echo(f"{params:,} ({amount(params)}) parameters and {macs:,} ({amount(macs)}) MACs", err=True)
