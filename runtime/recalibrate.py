"""BatchNorm statistics of a reduced SuperNet: those it trained with are of many networks at once."""

from __future__ import annotations

from itertools import islice

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasc.runtime.data_loader import Batches

BATCHES = 50
"""How many batches the statistics are taken over, at most."""


def recalibrate(model: nn.Module, batches: Batches, device: torch.device, most: int = BATCHES) -> None:
    """Replace all running means and variances by averages over `most` batches of images; weights stay as they are.

    Every candidate of a stochastic layer, and both widths of a Prunode, moved the statistics that the found network
    inherits; slimmable networks, whose widths share weights as well, take them anew for the same reason (Yu & Huang,
    2019). Nothing else is as in training: dropout would make them depend on when they are taken.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta, training = [norm.momentum for norm in norms], model.training
    model.eval()
    for norm in norms:
        norm.train().reset_running_stats()
    with torch.no_grad():
        for number, (images, _) in enumerate(islice(batches, most)):
            for norm in norms:
                norm.momentum = 1 / (number + 1)  # a plain average; the first batch replaces what was there
            model(images.to(device, non_blocking=True))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(training)
