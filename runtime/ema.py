"""Exponential moving average of a network's weights and BatchNorm statistics."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


def average_of(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of `model` (in `.module`) that follows it at each `update_parameters(model)`.

    The first update copies, the n-th after it uses min(decay, (1 + n) / (10 + n)), as TensorFlow's
    ExponentialMovingAverage does with `num_updates`: else a short run's average would still be its initialisation.
    Integer buffers are copied.
    """

    @torch.no_grad()
    def follow(averages: Any, values: Any, count: Any) -> None:
        n = float(count)
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1.0 - min(decay, (1.0 + n) / (10.0 + n)))
        else:
            torch._foreach_copy_(averages, values)

    return AveragedModel(model, multi_avg_fn=follow, use_buffers=True)
