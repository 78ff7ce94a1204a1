"""The folder for what one run finds out of this machine and another may use."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`nasc` in the user's cache folder: in `XDG_CACHE_HOME`, else in ~/.cache. It may not be there yet."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(root) if Path(root).is_absolute() else Path.home() / ".cache"
    return folder / "nasc"
