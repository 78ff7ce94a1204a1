"""The IDX format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist/), plain or compressed with gzip."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import torch
from torch import Tensor

from nasc.dsl.diagnostics import NascError

_UNSIGNED_BYTE = 0x08
_SIZE_LIMIT = 1 << 30


def read_idx(path: Path) -> Tensor:
    """The file's unsigned bytes as a uint8 tensor of the shape it states.

    Raises NascError if the file cannot be read, is not IDX of unsigned bytes, states no data or more than 1 GiB, or is
    longer or shorter than it states.
    """
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return _parse(path, cast(BinaryIO, gzip.GzipFile(fileobj=file)) if compressed else file)
    except (OSError, EOFError, zlib.error) as error:
        raise NascError(f"cannot read {path}: {error}") from error


def _parse(path: Path, file: BinaryIO) -> Tensor:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != _UNSIGNED_BYTE or not magic[3]:
        raise NascError(f"{path} is not an IDX file of unsigned bytes")
    lengths = file.read(4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise NascError(f"{path} ends inside its header")
    shape = [int.from_bytes(lengths[i : i + 4], "big") for i in range(0, len(lengths), 4)]
    count = math.prod(shape)
    if not 0 < count <= _SIZE_LIMIT:
        raise NascError(f"{path} states {count} bytes of data, not between 1 and {_SIZE_LIMIT}")
    content = file.read(count + 1)
    if len(content) != count:
        raise NascError(f"{path} holds {'more' if len(content) > count else 'less'} data than the {count} bytes stated")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(shape)
