"""Optimisers and the learning-rate schedule for training a network from scratch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from nasc.dsl.diagnostics import NascError
from nasc.runtime.train_options import TrainOptions


def make_optimizer(model: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, RMSprop (decay 0.9 as EfficientNet's, Tan & Le, 2019; eps 1e-3), or AdamW.

    Weight decay is an L2 term for the first two, decoupled for AdamW, and left off vectors (biases, BatchNorm).
    Raises NascError if the network has no trainable weights.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if not weights:
        raise NascError("the network has no weights to train")
    groups = [
        {"params": [weight for weight in weights if weight.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [weight for weight in weights if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    match options.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, options.rate, options.momentum, nesterov=options.momentum > 0)
        case "rmsprop":
            return torch.optim.RMSprop(groups, options.rate, alpha=0.9, eps=1e-3, momentum=options.momentum)
        case "adamw":
            return torch.optim.AdamW(groups, options.rate, betas=(options.momentum, 0.999))


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over an optimiser's moments, but keep the settings it was made with: a run may go on at another rate."""
    settings = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


def rate_at(step: int, epoch_steps: int, options: TrainOptions) -> float:
    """Learning rate of a step, counted from 0 over the whole run, with `epoch_steps` steps an epoch.

    A linear rise over the warm-up, and then either a half cosine towards 0 at the end of the run: SGDR's without
    restarts (Loshchilov & Hutter, 2017, eq. 5). Or the exponential decay in steps, rate · decay_rate ^ ⌊epoch /
    decay_epochs⌋: "0.97 times for every 2.4 epochs" (PruNet, A.2.2) reads as one factor each time, and timm, whose
    options these are, takes steps too. Its epochs are counted from the start of the run; a step may fall within one.
    """
    total = options.epochs * epoch_steps
    warmup = round(min(options.warmup_epochs, options.epochs) * epoch_steps)
    if step < warmup:
        return options.rate * (step + 1) / warmup
    if options.schedule == "exponential":
        return options.rate * options.decay_rate ** (step // (options.decay_epochs * epoch_steps))
    return options.rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
