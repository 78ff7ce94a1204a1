"""Mixed precision, and how images lie in memory: what a run computes in."""

from __future__ import annotations

import torch

from nasc.runtime.search_context import Amp, ChannelsLast


def precision_of(amp: Amp, device: torch.device) -> torch.dtype | None:
    """The type of mixed precision, None for none: bfloat16 where the device computes in it, else float16."""
    if amp == "off" or (amp == "auto" and device.type != "cuda"):
        return None
    if device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16


def layout_of(choice: ChannelsLast, device: torch.device, precision: torch.dtype | None) -> torch.memory_format:
    """How images N×C×H×W are to lie in memory; whatever is computed of them follows."""
    last = choice == "on" or (choice == "auto" and device.type == "cpu" and precision is None)
    return torch.channels_last if last else torch.contiguous_format
