"""Mixed precision: which type a run computes in."""

from __future__ import annotations

from typing import Literal

import torch

Amp = Literal["auto", "on", "off"]
"""`auto`: on a GPU only."""


def precision_of(amp: Amp, device: torch.device) -> torch.dtype | None:
    """The type of mixed precision, None for none: bfloat16 where the device computes in it, else float16."""
    if amp == "off" or (amp == "auto" and device.type != "cuda"):
        return None
    if device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16
