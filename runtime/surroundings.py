"""Where training and searching run: the device, the threads, the random state around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nasc.dsl.diagnostics import NascError
from nasc.runtime.train_options import pick_device


@contextmanager
def surroundings(device_name: str, threads: int | None, batch: int) -> Iterator[torch.device]:
    """Pick the device and the number of threads; leave the caller's random state and threads as they were.

    Raises `NascError` for a device that is not there, and where its memory does not suffice for batches of `batch`.
    """
    device, before = pick_device(device_name), torch.get_num_threads()
    try:
        torch.set_num_threads(threads or before)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield device
    except torch.OutOfMemoryError as error:
        raise NascError(
            f"the memory of {device} does not suffice for batches of {batch} images", help="lower the batch"
        ) from error
    finally:
        torch.set_num_threads(before)
