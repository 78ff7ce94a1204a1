"""The two optimisers of a search, and how they let go of what is pruned."""

from __future__ import annotations

import torch
from torch import nn

from nasc.compiler.methods.values import Optimizer


def make_optimizer(settings: Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of a section, such as `rmsprop { rate 0.002  decay 1e-5 }`, with every constant stated."""
    rate, decay, momentum = settings.rate, settings.decay, settings.momentum
    assert rate is not None and decay is not None and momentum is not None
    if settings.kind == "sgd":
        return torch.optim.SGD(parameters, rate, momentum, weight_decay=decay, nesterov=momentum > 0)
    squares, epsilon = settings.squares, settings.epsilon
    assert squares is not None and epsilon is not None
    if settings.kind == "rmsprop":
        return torch.optim.RMSprop(parameters, rate, squares, epsilon, momentum=momentum, weight_decay=decay)
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    return kind(parameters, rate, (momentum, squares), epsilon, weight_decay=decay)


def forget(optimizer: torch.optim.Optimizer, gone: set[int]) -> None:
    """Let go of parameters (by id) that were removed, and of their moments."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) in gone:
                optimizer.state.pop(parameter, None)
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone]
