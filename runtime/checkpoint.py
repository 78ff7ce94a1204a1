"""Checkpoints and weight files: written atomically, checked when read, and never able to run code.

A checkpoint is one line of JSON (format, kind, version, length and SHA-256 of the rest) and then PyTorch's zip archive,
read with `weights_only=True`. The header is checked before a byte of the archive is looked at.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as format_safetensors
from torch import Tensor, nn

from nasc.compiler.write_files import write_file
from nasc.dsl.diagnostics import NascError

FORMAT = "nasc-checkpoint"
_HEADER_LIMIT = 4096


def save(path: Path, payload: Mapping[str, Any], kind: str, version: int = 1) -> None:
    """Write a checkpoint, replacing an older one at once or not at all.

    `payload` holds tensors, numbers, strings, booleans, None, and lists, tuples and dicts of these.
    Raises TypeError for anything else (it could not be read back), NascError if the file cannot be written.
    """
    _require_plain(payload, "payload")
    buffer = io.BytesIO()
    torch.save(dict(payload), buffer)
    body = buffer.getbuffer()
    header = {
        "format": FORMAT,
        "kind": kind,
        "version": version,
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    write_file(path, json.dumps(header).encode() + b"\n", body)


def load(path: Path, kind: str, version: int = 1) -> dict[str, Any]:
    """Read a checkpoint of this kind and version; its tensors are on the CPU.

    Raises NascError if the file is missing, damaged, no checkpoint, or of another kind or version.
    """
    try:
        with path.open("rb") as file:
            header = _parse_header(path, file.readline(_HEADER_LIMIT))
            _require_same(path, header, kind, version)
            body = file.read()
    except OSError as error:
        raise NascError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    if len(body) != header.get("bytes") or hashlib.sha256(body).hexdigest() != header.get("sha256"):
        raise _damaged(path)
    try:
        payload = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a hostile archive provokes; none of it can have run code
        raise _damaged(path) from error
    if not isinstance(payload, dict):
        raise _damaged(path)
    return payload


def save_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dict as a safetensors file, names kept."""
    # Cloned, because safetensors refuses tensors that share memory (tied weights).
    body = format_safetensors({name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()})
    write_file(path, body)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raises NascError if it is missing or is none."""
    try:
        return parse_safetensors(path.read_bytes())
    except OSError as error:
        raise NascError(f"cannot read the weights {path}: {error.strerror}") from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise NascError(f"{path} is not a valid safetensors file: {error}") from error


def restore_weights(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy a state dict into `model`. Raises NascError naming `source` and the first tensor that does not fit."""
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            raise _misfit(source, f"it has no `{name}`")
        if state[name].shape != tensor.shape:
            raise _misfit(source, f"`{name}` has shape {_shape(state[name])}, the network's has {_shape(tensor)}")
    if extra := sorted(state.keys() - expected.keys()):
        raise _misfit(source, f"the network has no `{extra[0]}`")
    model.load_state_dict(state)


def _parse_header(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise NascError(f"{path} is not a nasc checkpoint")
    return header


def _require_same(path: Path, header: dict[str, Any], kind: str, version: int) -> None:
    if header.get("kind") != kind:
        raise NascError(f"{path} is a checkpoint of {header.get('kind')!r}, not of {kind!r}")
    if header.get("version") != version:
        raise NascError(
            f"{path} is a version {header.get('version')!r} checkpoint; this nasc reads version {version}",
            help="continue with the version of nasc that wrote it, or start a new run",
        )


def _require_plain(value: object, where: str) -> None:
    if isinstance(value, Mapping):
        for key, part in value.items():
            _require_plain(key, f"{where}: key")
            _require_plain(part, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            _require_plain(part, f"{where}[{index}]")
    # By exact type: numpy's float64 is a float, yet could not be read back.
    elif not isinstance(value, Tensor) and type(value) not in (int, float, bool, str, type(None)):
        raise TypeError(f"{where} is a {type(value).__name__}; a checkpoint holds plain data and tensors only")


def _damaged(path: Path) -> NascError:
    return NascError(
        f"the checkpoint {path} is damaged: its content is not what its header states",
        help="delete it and resume from an older copy, or start the run again",
    )


def _misfit(source: str, why: str) -> NascError:
    return NascError(f"{source} does not fit this network: {why}", help="use the file the weights were trained for")


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
