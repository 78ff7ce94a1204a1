"""Random seeds derived from where a run stands: a resumed run draws what the undisturbed one would have drawn."""

from __future__ import annotations

from hashlib import blake2b

import torch


def derive_seed(seed: int, *position: int | str) -> int:
    """A 63-bit seed for one use (`position`: a purpose, an epoch, a step, …) of a run's one seed."""
    text = "\x1f".join(str(part) for part in (seed, *position))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def derived_generator(seed: int, *position: int | str) -> torch.Generator:
    """A CPU generator seeded with `derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(seed, *position))
