"""TensorRT's timing cache in a file that several processes share.

The cache holds how fast each kernel was when the builder tried it: with it, building is several times faster, and the
same kernels are chosen again. It belongs to one version of TensorRT on one device.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from nasc.dsl.diagnostics import NascError
from nasc.runtime.user_cache import cache_folder

SAVE_SECONDS = 10.0
"""A process that is killed, or ends, loses the tactics timed since it last saved."""
LOCK_SECONDS = 30.0


@dataclass
class TimingCache:
    """One file. Every save merges what other processes wrote meanwhile, under a lock."""

    path: Path
    saved: float = -math.inf

    def attach(self, config: Any) -> None:
        """Let a builder configuration start from the file; from nothing where it does not fit this device or version.

        Raises `NascError` where the folder cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock():
                stored = self._read()
        except OSError as error:
            raise NascError(
                f"cannot keep TensorRT's timing cache in {self.path.parent}: {error.strerror or error}",
                help="set XDG_CACHE_HOME to a folder that can be written",
            ) from error
        cache = config.create_timing_cache(stored)
        if cache is None or not config.set_timing_cache(cache, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)

    def keep(self, config: Any) -> None:
        """Save, unless it was done within the last seconds."""
        if time.monotonic() - self.saved >= SAVE_SECONDS:
            self.save(config)

    def save(self, config: Any) -> None:
        """Merge a configuration's cache into the file. Where that is impossible it is left: it only saves time."""
        self.saved = time.monotonic()
        with suppress(OSError, TimeoutError), self._lock():
            merged, own = config.create_timing_cache(self._read()), config.get_timing_cache()
            if merged is None or not merged.combine(own, False):
                merged = own
            self._write(bytes(merged.serialize()))

    def _lock(self) -> FileLock:
        return FileLock(f"{self.path}.lock", timeout=LOCK_SECONDS)

    def _read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    def _write(self, blob: bytes) -> None:
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        try:
            with open(descriptor, "wb") as file:
                file.write(blob)
            os.replace(name, self.path)
        except BaseException:
            os.unlink(name)
            raise


def cache_file(engine: str, version: str, device: str) -> Path:
    """Where the timing cache of a version on a device lies: in the user's cache folder (`XDG_CACHE_HOME`)."""
    return cache_folder() / "tensorrt" / f"{engine}-{version}-{device}.cache"
