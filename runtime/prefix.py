"""Layers of which a prefix of the channels can be used: the widths of a block under search.

A network that is cut to the first w of its hidden channels computes just what the full one computes with the others
masked to zero behind batch norm and activation: every operator in between works channel by channel, statistics
included. So a mask is a prefix that is cut off, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class PrefixConv2d(nn.Conv2d):
    """Convolution of the first channels: as many inputs as come in, and the first `width` outputs (all by default).

    Depthwise, it gives as many channels as come in. Other grouped convolutions have no prefixes.
    """

    def forward(self, x: Tensor, width: int | None = None) -> Tensor:
        """N×C'×H×W to N×width×H'×W', where C' is at most `in_channels`."""
        if self.groups > 1:
            return self._convolve(x, 0, x.shape[1], x.shape[1])
        return self._convolve(x, 0, width or self.out_channels, 1)

    def each(self, x: Tensor, widths: Sequence[int]) -> list[Tensor]:
        """The outputs for the first w inputs, for each w of `widths` (ascending), at the cost of the last alone.

        A convolution is a sum over its inputs: each output is the one before plus that of the inputs in between.
        """
        first, outputs, total = 0, [], None
        for width in widths:
            if width > first or total is None:
                part = self._convolve(x[:, first:width], first, self.out_channels, 1, bias=first == 0)
                total = part if total is None else total + part
            outputs.append(total)
            first = width
        return outputs

    def _convolve(self, x: Tensor, first: int, width: int, groups: int, bias: bool = True) -> Tensor:
        weight = self.weight[:width] if groups > 1 else self.weight[:width, first : first + x.shape[1]]
        shift = self.bias[:width] if bias and self.bias is not None else None
        return functional.conv2d(x, weight, shift, self.stride, self.padding, self.dilation, groups)


class PrefixLinear(nn.Linear):
    """Matrix product of the first channels, see `PrefixConv2d`."""

    def forward(self, x: Tensor, width: int | None = None) -> Tensor:
        """N×C' to N×width."""
        bias = None if self.bias is None else self.bias[:width]
        return functional.linear(x, self.weight[:width, : x.shape[1]], bias)


class _PrefixBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation of as many channels as come in. Statistics of the others stay as they are."""

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[1]
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        if self.training:
            self.num_batches_tracked.add_(1)
        return functional.batch_norm(
            x,
            self.running_mean[:width],
            self.running_var[:width],
            self.weight[:width],
            self.bias[:width],
            self.training,
            self.momentum if self.momentum is not None else 0.1,
            self.eps,
        )


class PrefixBatchNorm2d(_PrefixBatchNorm):
    """Batch normalisation of images N×C'×H×W."""


class PrefixBatchNorm1d(_PrefixBatchNorm):
    """Batch normalisation of vectors N×C'."""


def prefix(x: Tensor, width: int) -> Tensor:
    """The first channels of N×C×…."""
    return x[:, :width]


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Start a network's weights: He et al. (2015), fan out, for convolutions; N(0, 0.01) for linear layers."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels / module.groups
            nn.init.normal_(module.weight, 0.0, (2.0 / fan_out) ** 0.5, generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01, generator=generator)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
