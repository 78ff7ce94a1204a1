"""The Lark parser for `nas.lark`, its tables kept in the user's own cache directory.

Building the tables takes some 200 ms, loading them 15 ms. The cache is a pickle, so it is read only from a file that
belongs to the user and that nobody else may write; whatever is wrong with it, the tables are built anew.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nasc import __version__

if TYPE_CHECKING:
    from lark import Lark

GRAMMAR = Path(__file__).parent / "grammar" / "nas.lark"
STARTS = ("start", "setting")


@functools.cache
def parser() -> Lark:
    """Return the parser of `.nas` texts, one per process."""
    import lark

    grammar = GRAMMAR.read_text(encoding="utf-8")
    path = _cache_file(grammar, lark.__version__)
    cached = _load(path)
    if cached is not None:
        return cached
    built = build(grammar)
    _save(built, path)
    return built


def build(grammar: str, strict: bool = False) -> Lark:
    """Build the parser from the grammar's text; `strict` (needs interegular) refuses any conflict or collision."""
    from lark import Lark

    return Lark(grammar, parser="lalr", lexer="basic", start=list(STARTS), propagate_positions=True, strict=strict)


def _cache_file(grammar: str, lark_version: str) -> Path | None:
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(root) if root and Path(root).is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # no home directory
        return None
    key = hashlib.sha256("\0".join([grammar, lark_version, sys.version, *STARTS]).encode()).hexdigest()
    return folder / "nasc" / __version__ / f"grammar-{key[:20]}.pickle"


def _load(path: Path | None) -> Lark | None:
    from lark import Lark

    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return Lark.load(file) if _is_private(os.fstat(file.fileno())) else None
    except Exception:  # a damaged pickle may raise anything
        return None


def _is_private(status: os.stat_result) -> bool:
    """Say whether the file is the user's own and writable by nobody else."""
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _save(parser: Lark, path: Path | None) -> None:
    """Write the tables beside their place and move them there at once, so that no reader sees half a file."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".grammar-")
        try:
            with os.fdopen(handle, "wb") as file:
                parser.save(file)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
