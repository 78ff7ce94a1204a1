"""The two optimisers of a search, and how they let go of what is pruned."""

from __future__ import annotations

import torch
from torch import nn

from nasc.compiler.methods.values import Optimizer


def make_optimizer(settings: Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of a section, such as `rmsprop { rate 0.002  decay 1e-5 }`. RMSprop as timm sets it for
    EfficientNet and GPUNet: decay 0.9 of the squares, eps 1e-3."""
    assert settings.rate is not None
    rate, decay, momentum = settings.rate, settings.decay or 0.0, settings.momentum or 0.0
    match settings.kind:
        case "rmsprop":
            return torch.optim.RMSprop(parameters, rate, alpha=0.9, eps=1e-3, momentum=momentum, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(parameters, rate, momentum, weight_decay=decay, nesterov=momentum > 0)
        case "adam":
            return torch.optim.Adam(parameters, rate, betas=(momentum, 0.999), weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(parameters, rate, betas=(momentum, 0.999), weight_decay=decay)


def forget(optimizer: torch.optim.Optimizer, gone: set[int]) -> None:
    """Let go of parameters (by id) that were removed, and of their moments."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) in gone:
                optimizer.state.pop(parameter, None)
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone]
