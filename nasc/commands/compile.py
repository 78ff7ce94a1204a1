"""`nasc compile`."""

from __future__ import annotations

from pathlib import Path

import click

from nasc.commands.common import PATH, example, file_argument, set_option, warn
from nasc.completing import methods


@click.command(
    epilog=example(
        "nasc compile spaces/gpunet1.nas -o build/gpunet1",
        "nasc compile best.nas --weights run/weights.safetensors -o build/best",
    )
)
@file_argument
@click.option("-o", "--out", type=PATH, metavar="DIR", help="The folder to write.  [default: build/NAME]")
@click.option(
    "--method", shell_complete=methods, help="Search with this method.  [default: the file's first that can run]"
)
@click.option("--target", help="List the blocks for this target of the file only.")
@set_option
@click.option("--weights", type=PATH, metavar="FILE", help="Weights of one member (.safetensors).")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights that are not given.")
@click.option(
    "--prunode",
    type=click.Choice(["shared", "literal"]),
    default="shared",
    show_default=True,
    help="Compute a Prunode's hidden channels once, or as PruNet prints it in two masked copies, for comparison: the "
    "same results at about twice the time and memory.",
)
@click.option("--force", is_flag=True, help="Write into a folder that holds other files.")
def command(
    file: Path,
    out: Path | None,
    method: str | None,
    target: str | None,
    sets: tuple[str, ...],
    weights: Path | None,
    seed: int,
    prunode: str,
    force: bool,
) -> None:
    """Compile FILE into a folder; the paths of the written files are printed.

    A space becomes a SuperNet with its search module: supernet.py, search.py, manifest.json (the blocks to measure)
    and space.json. One member becomes model.py, model.onnx, manifest.json and space.json; without --weights its
    weights are drawn from the seed and written to weights.safetensors.
    """
    from nasc.compiler.compile import compile_checked
    from nasc.compiler.opened import open_file, space_of

    checked = open_file(file, sets=sets)
    warn(checked)
    folder = out or Path("build", space_of(checked).name)
    result = compile_checked(
        checked,
        folder,
        method=method,
        target=target,
        weights=weights,
        seed=seed,
        force=force,
        literal=prunode == "literal",
    )
    for name in result.files:
        click.echo(folder / name)
