"""A sign of life from an engine at work, so that one that hangs is told from one that takes long."""

from __future__ import annotations

import time
from collections.abc import Callable

EVERY_SECONDS = 1.0
"""More often nothing is sent: it would disturb what is timed."""

_send: Callable[[], None] | None = None
_last = 0.0


def listen(send: Callable[[], None] | None) -> None:
    """From now on `send` is called for signs of life; None: nobody listens."""
    global _send, _last
    _send, _last = send, 0.0


def alive() -> None:
    """Say that another model was built, or run for a round. Engines call it between what they time."""
    global _last
    if _send is not None and (now := time.monotonic()) - _last >= EVERY_SECONDS:
        _last = now
        _send()
