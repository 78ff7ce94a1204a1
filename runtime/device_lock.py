"""One timing at a time on one device: a file lock that every process of a user finds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Device
from nasc.runtime.user_cache import cache_folder

PATIENCE_SECONDS = 2.0
"""How often a process that waits is told so."""
POLL_SECONDS = 0.02


@contextmanager
def device_lock(device: Device, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep others from timing on a device; they wait, and `waiting` is called now and then.

    The lock goes with the process that holds it, however that ends. Raises `NascError` where no lock file can be made.
    """
    lock = FileLock(_lock_file(device))
    while not _taken(lock):
        waiting()
    try:
        yield
    finally:
        lock.release()


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=PATIENCE_SECONDS, poll_interval=POLL_SECONDS)
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        raise _impossible(Path(lock.lock_file), error) from error
    return True


def _lock_file(device: Device) -> Path:
    """The lock's file, in the user's cache folder: a CPU has one for the core that timing is pinned to."""
    core = f"-core{max(os.sched_getaffinity(0))}" if device.kind == "cpu" and hasattr(os, "sched_getaffinity") else ""
    path = cache_folder() / "locks" / f"{device.fingerprint}{core}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _impossible(path, error) from error
    return path


def _impossible(path: Path, error: Exception) -> NascError:
    return NascError(
        f"cannot lock the device with {path}: {getattr(error, 'strerror', None) or error}",
        help="set XDG_CACHE_HOME to a folder on a local disk that can be written",
    )
