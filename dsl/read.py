"""Reading a `.nas` file from disk: size, encoding and kind are checked before anything is parsed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nasc.dsl.diagnostics import Diagnostics, Span

MAXIMUM_BYTES = 1 << 20


def read_text(path: Path, diagnostics: Diagnostics, span: Span | None = None, shown: str | None = None) -> str | None:
    """Return the file's text; None where something hinders, recorded at `span`, the import that names it as `shown`."""
    name = f"`{shown or path}`"
    try:
        data = _read(path)
    except FileNotFoundError:
        diagnostics.add("E0201", f"there is no file {name}", span)
    except IsADirectoryError:
        diagnostics.add("E0202", f"{name} is a directory, not a file", span)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        diagnostics.add("E0202", f"{name} cannot be read: {reason.lower()}", span)
    else:
        return _decode(data, name, diagnostics, span)
    return None


def _read(path: Path) -> bytes:
    """Read at most one byte more than is allowed; never from a device or a pipe, which might not end."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError
        if not stat.S_ISREG(mode):
            raise OSError("it is not a regular file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(MAXIMUM_BYTES + 1)
    finally:
        os.close(handle)


def _decode(data: bytes, name: str, diagnostics: Diagnostics, span: Span | None) -> str | None:
    if len(data) > MAXIMUM_BYTES:
        diagnostics.add("E0204", f"{name} is larger than {MAXIMUM_BYTES >> 20} MiB", span)
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        where = f"byte 0x{data[error.start]:02x} in line {line}"
        diagnostics.add("E0203", f"{name} is not UTF-8 text: {where}", span, help="save the file as UTF-8")
        return None
