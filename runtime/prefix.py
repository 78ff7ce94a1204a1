"""Layers of which a prefix of the channels can be used: the widths of a block under search.

A network that is cut to the first w of its hidden channels computes just what the full one computes with the others
masked to zero behind batch norm and activation: every operator in between works channel by channel, statistics
included. So a mask is a prefix that is cut off, and costs nothing. What mixes channels in between (groups, shuffles,
layer norms, gates whose width follows) has no such mask: its stored tensors are sliced to the smaller network's shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.compiler.primitives.sequence import INITIAL_STD


class PrefixConv2d(nn.Conv2d):
    """Convolution of the first channels: as many inputs as come in, and the first `width` outputs (all by default).

    In groups, each filter keeps its first C' / groups channels. Depthwise, there are as many groups and outputs as
    inputs come in.
    """

    def forward(self, x: Tensor, width: int | None = None, groups: int | None = None) -> Tensor:
        """N×C'×H×W to N×width×H'×W', where C' is at most `in_channels`."""
        depthwise = self.groups == self.in_channels > 1
        if groups is None:
            groups = x.shape[1] if depthwise else self.groups
        if width is None:
            width = x.shape[1] if depthwise and self.out_channels == self.in_channels else self.out_channels
        return self._convolve(x, 0, width, groups)

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
        weight = self.weight[:width, first : first + x.shape[1] // groups]
        shift = self.bias[:width] if bias and self.bias is not None else None
        return functional.conv2d(x, weight, shift, self.stride, self.padding, self.dilation, groups)


class PrefixLinear(nn.Linear):
    """Matrix product of the first channels, see `PrefixConv2d`."""

    def forward(self, x: Tensor, width: int | None = None) -> Tensor:
        """N×C' to N×width, or batch×tokens×C' to batch×tokens×width."""
        bias = None if self.bias is None else self.bias[:width]
        return functional.linear(x, self.weight[:width, : x.shape[-1]], bias)


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


class PrefixTokenBatchNorm(_PrefixBatchNorm):
    """Batch normalisation of sequences, batch×tokens×C'."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class PrefixLayerNorm(nn.LayerNorm):
    """Layer normalisation of as many channels as come in, the last dimension."""

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        return functional.layer_norm(x, (width,), self.weight[:width], self.bias[:width], self.eps)


class PrefixChannelNorm(PrefixLayerNorm):
    """Layer normalisation over the channels of images N×C'×H×W, at each place by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PrefixLayerScale(nn.Module):
    """A learned factor for each of as many channels as come in, the last dimension."""

    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[: x.shape[-1]]


class PrefixChannelScale(PrefixLayerScale):
    """A learned factor for each of as many channels as come in of images N×C'×H×W."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[: x.shape[1]].reshape(-1, 1, 1)


class PrefixSequential(nn.Sequential):
    """Modules one after another, of which the prefix convolutions and linear layers are told their widths."""

    def forward(self, x: Tensor, *widths: int | tuple[int | None, int] | None) -> Tensor:
        """`widths`: one for each of those modules, None for all of its outputs, with its groups where needed."""
        left = iter(widths)
        for module in self:
            if isinstance(module, PrefixConv2d | PrefixLinear):
                told = next(left)
                x = module(x, *told) if isinstance(told, tuple) else module(x, told)
            else:
                x = module(x)
        return x


def add_prefix(x: Tensor, y: Tensor) -> Tensor:
    """The sum of two tensors over the channels that both have; the further channels of the wider one."""
    axis = _axis(x)
    short, long = sorted((x, y), key=lambda each: each.shape[axis])
    both = short.shape[axis]
    further = long.narrow(axis, both, long.shape[axis] - both)
    return torch.cat((short + long.narrow(axis, 0, both), further), dim=axis)


def prefix(x: Tensor, width: int) -> Tensor:
    """The first channels of images N×C×H×W, vectors N×C or sequences batch×tokens×C."""
    return x[..., :width] if x.ndim == 3 else x[:, :width]


def masked(x: Tensor, width: int) -> Tensor:
    """The same shape with all channels but the first `width` set to zero: what takes the time of all C."""
    axis = _axis(x)
    kept = torch.arange(x.shape[axis], device=x.device) < width
    return x * kept.to(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))


def _axis(x: Tensor) -> int:
    """Where the channels lie: last in a sequence, else behind the batch."""
    return 2 if x.ndim == 3 else 1


@contextmanager
def keep_statistics(block: nn.Module, kept: bool) -> Iterator[None]:
    """Leave the running statistics of a block's batch norms as they are, if `kept`.

    For one of two copies that share weights, or the second of two passes: they have the same images, which
    count once.
    """
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)] if kept else []
    before = [(norm.momentum, deepcopy(norm.num_batches_tracked)) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Start a network's weights: He et al. (2015), fan out, for convolutions; N(0, 0.01) for linear layers; N(0, 0.02)
    for embeddings."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels / module.groups
            nn.init.normal_(module.weight, 0.0, (2.0 / fan_out) ** 0.5, generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01, generator=generator)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, 0.0, INITIAL_STD, generator=generator)
            continue
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
