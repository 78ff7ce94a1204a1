"""Files written in one step each, into folders that are nasc's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from nasc.dsl.diagnostics import NascError

MARKS = ("manifest.json", "space.json")
"""A folder with one of these was written by `compile`."""
CODE = ("supernet.py", "search.py", "model.py", "model.onnx")
"""What `compile` makes for one kind of file only, and takes away where the folder becomes one of the other kind."""


def write_folder(folder: Path, files: Mapping[str, bytes], *, force: bool = False) -> None:
    """Write files into a folder that is new, empty, or was written so before.

    Generated code that a former compilation left there and that is not among `files` is removed.
    Raises `NascError` for a folder that holds something else (unless `force`) and where writing fails.
    """
    require_own(folder, force=force)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NascError(f"cannot make the folder {folder}: {error.strerror}") from error
    for name, data in files.items():
        write_file(folder / name, data)
    for name in CODE:
        if name not in files:
            (folder / name).unlink(missing_ok=True)


def require_own(folder: Path, *, force: bool = False) -> None:
    """Raise `NascError` for a folder that `compile` should not write into."""
    if folder.exists() and not folder.is_dir():
        raise NascError(f"{folder} is a file, not a folder", help="name another folder with -o")
    if force or not folder.exists() or any((folder / mark).exists() for mark in MARKS):
        return
    if any(folder.iterdir()):
        raise NascError(
            f"{folder} holds files that nasc did not write", help="name another folder with -o, or use --force"
        )


def write_file(path: Path, *parts: bytes | memoryview) -> None:
    """Replace a file's content in one step: a reader, or a kill at any moment, finds the old content or the new one.

    Raises `NascError` where writing fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise NascError(f"cannot write {path}: {error.strerror or error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
