"""What a shell is offered where a file, an engine, a method, a code or a block is to be named."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from click import Context, Parameter
from click.shell_completion import CompletionItem


def nas_files(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The `.nas` files and folders (with a slash) whose paths begin so; hidden ones only where a dot is given."""
    folder, prefix = os.path.split(incomplete)
    try:
        entries = sorted(os.scandir(Path(folder or ".").expanduser()), key=lambda entry: entry.name)
    except OSError:
        return []
    found = []
    for entry in entries:
        if entry.name.startswith(prefix) and entry.name.startswith(".") == prefix.startswith("."):
            path = os.path.join(folder, entry.name)
            if entry.is_dir():
                found.append(CompletionItem(f"{path}/"))
            elif entry.name.endswith(".nas"):
                found.append(CompletionItem(path))
    return found


def engines(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The engines that `nasc engines` lists."""
    from nasc.runtime.engines import ENGINES

    return _beginning(incomplete, ((name, "") for name in ENGINES))


def methods(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """nasc's own methods, and those of installed packages."""
    from nasc.compiler.methods.plugins import OWN, method_names

    return _beginning(incomplete, ((name, OWN[name].about if name in OWN else "") for name in method_names()))


def codes(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The codes of errors and warnings, however they are written."""
    from nasc.dsl.codes import CODES

    return _beginning(incomplete.strip("[").upper(), ((code, info.title) for code, info in sorted(CODES.items())))


def blocks(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The library's blocks, and `.nas` files, whose blocks can be asked for too."""
    from nasc.dsl.loader import standard_library

    library = ((name, block.doc.split("\n")[0]) for name, block in standard_library().items())
    return [*_beginning(incomplete, library), *nas_files(ctx, param, incomplete)]


def _beginning(incomplete: str, names: Iterable[tuple[str, str]]) -> list[CompletionItem[str]]:
    return [CompletionItem(name, help=about or None) for name, about in names if name.startswith(incomplete)]
