"""What the runs of a comparison left in their folders, which may be of another comparison, or a stranger's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasc.dsl.diagnostics import NascError
from nasc.runtime.compare_plan import Plan
from nasc.runtime.report_page import read_json

ELSEWHERE = ("device", "threads", "workers")
"""Options of a training that do not change what it comes to."""


class OthersError(NascError):
    """A run that is not this comparison's."""


def search_result(path: Path, plan: Plan, options: Any) -> dict[str, Any]:
    """A search's result. Raises `OthersError` where it was made with other settings."""
    result = read_result(path)
    wanted = {"space_hash": plan.job.space_hash, "method": plan.method.name}
    given = result.get("options")
    stated = {**(given if isinstance(given, dict) else {}), **{name: result.get(name) for name in wanted}}
    require_same(path.parent, stated, {**wanted, **options.model_dump(mode="json", by_alias=True)})
    return result


def require_same(folder: Path, stated: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise `OthersError` where what a run states differs from what is wanted."""
    changed = [name for name, value in wanted.items() if name not in ELSEWHERE and stated.get(name) != value]
    if changed:
        raise OthersError(
            f"the run in {folder} was made with other settings: {', '.join(changed)}",
            help="continue the comparison with the settings it was started with, or name another folder",
        )


def read_result(path: Path) -> dict[str, Any]:
    """A result. Raises `NascError` for what is none."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise NascError(f"{path} is not a result")
    return found


def number_in(result: dict[str, Any], name: str, folder: Path) -> float:
    """A number that is not negative, of a result in a folder. Raises `NascError` where there is none."""
    value = result.get(name)
    if not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise NascError(f"{folder} holds no search with its {name}", help="remove the folder to search again")
    return float(value)
