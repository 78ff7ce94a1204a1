"""The two optimisers of a search, and how they let go of what is pruned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nasc.compiler.methods.values import Optimizer
from nasc.runtime.optimizers import restore_optimizer


def make_optimizer(settings: Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of a section, such as `rmsprop { rate 0.002  decay 1e-5 }`, with every constant stated."""
    rate, decay, momentum = settings.rate, settings.decay, settings.momentum
    assert rate is not None and decay is not None and momentum is not None
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    if settings.kind == "sgd":
        return torch.optim.SGD(parameters, rate, momentum, weight_decay=decay, nesterov=momentum > 0, fused=fused)
    squares, epsilon = settings.squares, settings.epsilon
    assert squares is not None and epsilon is not None
    if settings.kind == "rmsprop":
        return torch.optim.RMSprop(parameters, rate, squares, epsilon, momentum=momentum, weight_decay=decay)
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    return kind(parameters, rate, (momentum, squares), epsilon, weight_decay=decay, fused=fused)


def forget(optimizer: torch.optim.Optimizer, gone: set[int]) -> None:
    """Let go of parameters (by id) that were removed, and of their moments."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) in gone:
                optimizer.state.pop(parameter, None)
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone]


def restore_moments(optimizer: torch.optim.Optimizer, settings: Optimizer, state: dict[str, Any]) -> None:
    """Take over the moments of a `state_dict()`, of the optimiser of this section or of one that took no step yet.

    The section's constants stay. Raises `ValueError`, or what torch raises, for moments of other weights.
    """
    restore_optimizer(optimizer, state)
    for parameter, moments in optimizer.state.items():
        for name, shape in _moments(settings, parameter).items():
            moment = moments.get(name)
            if not isinstance(moment, Tensor) or moment.shape != shape:
                raise ValueError(f"an optimiser's `{name}` is of other weights")


def _moments(settings: Optimizer, parameter: Tensor) -> dict[str, torch.Size]:
    """The shapes of the moments that an optimiser has of a parameter, once it took a step."""
    like = nn.Parameter(torch.zeros(parameter.shape, device="meta"))
    like.grad = torch.zeros_like(like)
    probe = make_optimizer(settings, [like])
    probe.step()
    return {name: moment.shape for name, moment in probe.state[like].items() if isinstance(moment, Tensor)}
