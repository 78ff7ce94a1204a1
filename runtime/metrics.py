"""The metrics log of a run: one JSON object per line, in order of epochs, without repeats after a resume."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from nasc.compiler.write_files import write_file

Record = dict[str, Any]
EVOLUTION = "evolution"
"""The folder, in that of a search that trains one SuperNet for all members, with the log of those looked at."""


def append_metrics(path: Path, record: Record) -> None:
    """Add a record. Numbers that JSON has no word for (nan, infinity) become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({name: _finite(value) for name, value in record.items()}) + "\n")


def read_metrics(path: Path) -> list[Record]:
    """All whole records; a line that a kill cut short is left out, and so is all that follows it."""
    records: list[Record] = []
    if not path.exists():
        return records
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(record, dict):
            break
        records.append(record)
    return records


def rewind_metrics(path: Path, epoch: int) -> None:
    """Keep the records of epochs before `epoch`: the resumed run will write the others again."""
    kept = [record for record in read_metrics(path) if type(at := record.get("epoch")) is int and at < epoch]
    write_file(path, "".join(json.dumps(record) + "\n" for record in kept).encode())


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
