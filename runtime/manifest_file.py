"""Reading a benchmark manifest, which may come from a stranger: parsed and checked, never believed."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from pydantic import ValidationError

from nasc.compiler.domain import Domain
from nasc.compiler.manifest import MANIFEST_SCHEMA, Manifest, entry_key
from nasc.dsl.diagnostics import NascError

MAX_BYTES = 64 << 20


def load_manifest(path: str | Path) -> Manifest:
    """The manifest in a file, or in a folder that `nasc compile` wrote.

    Raises `NascError` for a missing, malformed or foreign file and for one of another schema version.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "manifest.json"
    text = _read(file)
    try:
        value = json.loads(text)
        _check_schema(file, value)
        manifest = Manifest.model_validate(value)
        _check_entries(manifest)
    except ValidationError as error:
        raise _malformed(file, _first_problem(error)) from None
    except json.JSONDecodeError as error:
        raise _malformed(file, f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise _malformed(file, str(error)) from None
    return manifest


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise NascError(f"{file} is larger than {MAX_BYTES >> 20} MiB, which no manifest is")
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NascError(f"there is no manifest {file}", help="`nasc compile FILE -o DIR` writes one") from None
    except UnicodeDecodeError:
        raise _malformed(file, "it is not UTF-8 text") from None
    except OSError as error:
        raise NascError(f"cannot read {file}: {error.strerror}") from error


def _check_schema(file: Path, value: object) -> None:
    schema = value.get("schema") if isinstance(value, dict) else None
    if schema == MANIFEST_SCHEMA:
        return
    if isinstance(schema, str) and schema.startswith("nasc.manifest/"):
        raise NascError(
            f"{file} has the schema {schema[:40]}; this nasc reads {MANIFEST_SCHEMA}",
            help="compile the space again with this version",
        )
    raise NascError(f"{file} is not a manifest of nasc", help="`nasc compile FILE -o DIR` writes one")


def _check_entries(manifest: Manifest) -> None:
    """Raise `ValueError` for a key that is shared or not its graph's, and for widths without orderly values."""
    keys = [entry.key for entry in manifest.entries]
    if len(set(keys)) < len(keys):
        raise ValueError("two entries have one key")
    for entry in manifest.entries:
        addresses = [width.address for width in entry.widths]
        if len(set(addresses)) < len(addresses):
            raise ValueError(f"entry `{entry.block}`: two widths have one address")
        for width in entry.widths:
            if not _orderly(width.domain):
                raise ValueError(f"entry `{entry.block}`: width `{width.address}` has no orderly values")
        if entry.key != entry_key(entry.graph):  # or another block's latencies could be written under it
            raise ValueError(f"entry `{entry.block}`: its key is not that of its graph")


def _orderly(domain: Domain) -> bool:
    if domain.listed:
        ascending = all(a < b for a, b in pairwise(domain.listed))
        return ascending and (domain.first, domain.last) == (domain.listed[0], domain.listed[-1])
    return domain.step > 0 and domain.first <= domain.last


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, problem["loc"])) or "the top level"
    return f"{place}: {problem['msg']}"


def _malformed(file: Path, why: str) -> NascError:
    return NascError(f"{file} is not a well-formed manifest: {why[:500]}", help="`nasc compile FILE -o DIR` writes one")
