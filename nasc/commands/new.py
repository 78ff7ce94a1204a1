"""`nasc new`."""

from __future__ import annotations

from pathlib import Path

import click

from nasc.commands.common import PATH, example, refuse_replacing

KINDS = ("mobile", "cnn", "vit")


@click.command(epilog=example("nasc new flowers --classes 5 --size 96", "nasc new spaces/mine.nas --kind vit"))
@click.argument("name", type=PATH)
@click.option("--kind", type=click.Choice(KINDS), default="mobile", show_default=True, help="What to build from.")
@click.option("--classes", type=click.IntRange(2, 100_000), default=10, show_default=True, help="Of the images.")
@click.option("--size", type=click.IntRange(8, 1024), default=224, show_default=True, help="Height and width, pixels.")
@click.option("--channels", type=click.IntRange(1, 512), default=3, show_default=True, help="3 colours, 1 for grey.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def command(name: Path, kind: str, classes: int, size: int, channels: int, force: bool) -> None:
    """Write NAME.nas: a small space for images, with a search and a target, that explains itself line by line.

    It can be checked, compiled and searched as it is.
    """
    from nasc.compiler.write_files import write_file
    from nasc.starter import Starter, starter_text

    path = name if name.suffix == ".nas" else name.with_name(f"{name.name}.nas")
    text = starter_text(Starter(path.stem.replace("-", "_"), kind, classes, size, channels))
    refuse_replacing(path, force)
    write_file(path, text.encode())
    click.echo(path)
    click.echo(f"next: nasc check {path} && nasc count {path} && nasc show {path}", err=True)
