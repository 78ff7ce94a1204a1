"""Which run a checkpoint is of: what a run that goes on may not change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nasc.dsl.diagnostics import NascError
from nasc.runtime.search_context import Settings


def run_of(identity: dict[str, Any], data: str, settings: Settings, options: Any) -> dict[str, Any]:
    """What a checkpoint states as its `run`: its space, method, data and options."""
    seed = settings.split_seed(options)
    return {**identity, "data": data, "data_seed": seed, **options.model_dump(mode="json", by_alias=True)}


def require_same_run(path: Path, state: dict[str, Any], run: dict[str, Any]) -> None:
    """Raise `NascError` where the checkpoint read from `path` is of another run."""
    if changed := changed_settings(path, state, run, run):
        raise NascError(
            f"the run in {path.parent} was started with other settings: {', '.join(changed)}",
            help="resume it with the settings it was started with, or name another folder",
        )


def changed_settings(path: Path, state: dict[str, Any], run: dict[str, Any], names: Iterable[str]) -> list[str]:
    """Which of the settings `names` were other, with the values they had. Raises `NascError` for another checkpoint."""
    before = state.get("run")
    if not isinstance(before, dict):
        raise NascError(f"the checkpoint {path} is not one of this search: it does not say of which run it is")
    return list(_differences(before, {name: run[name] for name in names}))


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for name, value in now.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            yield from (f"{name} {key} {old.get(key)}" for key in value if _differ(old.get(key), value[key]))
        elif _differ(old, value):
            yield f"{name} {old[0] if isinstance(old, list) and len(old) == 1 else old}"


def _differ(old: object, value: object) -> bool:
    """As they are written: a checkpoint from elsewhere may hold tensors, which are neither equal nor unequal."""
    return repr(old) != repr(value)
