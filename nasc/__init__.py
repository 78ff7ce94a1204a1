"""nasc: a compiler for neural-architecture-search spaces.

>>> import nasc
>>> space = nasc.load("spaces/gpunet1.nas")
>>> space.count()
110966074150861980032677153370819002368000
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["NascError", "Space", "__version__", "load"]

if TYPE_CHECKING:
    from nasc.api import Space, load
    from nasc.dsl.diagnostics import NascError


def __getattr__(name: str) -> Any:
    # Imported when asked for: the command line needs the version alone, and starts twice as fast without the rest.
    if name in ("Space", "load"):
        from nasc import api

        return getattr(api, name)
    if name == "NascError":
        from nasc.dsl.diagnostics import NascError

        return NascError
    raise AttributeError(f"module `nasc` has no attribute `{name}`")
