"""The weights that a network keeps of its SuperNet of masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nasc.compiler.masked_weights import Gathered
from nasc.dsl.diagnostics import NascError


def gathered_state(supernet: nn.Module, names: Sequence[Gathered]) -> dict[str, Tensor]:
    """The state dict of a network's `model.py`: copies of the channels that it keeps, contiguous.

    Raises `NascError` where a tensor is not there or has another shape.
    """
    state = supernet.state_dict()
    return {name.target: _gathered(state.get(name.source), name) for name in names}


def _gathered(source: Tensor | None, name: Gathered) -> Tensor:
    if source is None:
        raise NascError(f"the SuperNet has no tensor `{name.source}` for the network's `{name.target}`")
    found = source.detach()
    for axis, channels in enumerate((name.first, name.second)):
        if channels:
            found = found.index_select(axis, torch.tensor(channels, device=found.device))
    if tuple(found.shape) != name.shape:
        raise NascError(f"`{name.target}` is {name.shape}, and what is kept of `{name.source}` is {tuple(found.shape)}")
    return found.clone().contiguous()
