"""PruNet's loss: eq. 2."""

from __future__ import annotations

import math

from torch import Tensor


def cost_term(cost: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha * log(cost)^beta with the natural logarithm; the paper's cost is a latency in microseconds.

    A cost below e counts as e, where the term is alpha: towards 1 its slope would grow without bound, and below 1 the
    power has no value. No network worth searching for is as fast.
    """
    return alpha * cost.clamp(min=math.e).log() ** beta


def total_loss(cross_entropy: float, cost: float, alpha: float, beta: float) -> float:
    """Eq. 2 of one network: cross_entropy + alpha * log(cost)^beta, with the same lower end."""
    return cross_entropy + alpha * math.log(max(cost, math.e)) ** beta


def threshold_at(first: float, last: float, epoch: int, warmup: int, epochs: int) -> float:
    """Eq. 6: the threshold of epoch `epoch` (1 to `epochs`), which lies after the warm-up."""
    return first + (last - first) * (epoch - warmup) / (epochs - warmup)
