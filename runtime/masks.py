"""Masks of channels at run time: one logit for each channel, drawn by the Logistic-Sigmoid distribution.

"FiGS" is "Fine-Grained Stochastic Architecture Search" (2020). A mask is `sigmoid((nu + l) / tau)` with `l` drawn from
the logistic distribution (3.1); `nu` are the logits, and `sigmoid(nu)` the probability that a channel stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.compiler.masks import MaskedNetwork
from nasc.compiler.segments import Derived, Masked, Plain, Segment, Taken
from nasc.runtime.supernet import logistic_noise


class MaskBank(nn.Module):
    """The logits of all masks of a network, and what was last drawn from them.

    `logits` has one number for each channel of each decision, side by side. `mode` says what masks are: `sample`
    (drawn at each forward pass), `ones` (nothing is masked), or `likely` (1 where the probability is 1/2 or more).
    """

    def __init__(self, masked: MaskedNetwork, logit: float = 2.5, tau: float = 0.001) -> None:
        super().__init__()
        self.tau, self.mode = tau, "sample"
        self.masks = dict(masked.masks)
        self.places: dict[str, slice] = {}
        total = 0
        for name, each in masked.opens.items():
            self.places[name] = slice(total, total + each.widths[-1])
            total += each.widths[-1]
        self.logits = nn.Parameter(torch.full((total,), logit))
        owner = [i for i, place in enumerate(self.places.values()) for _ in range(place.start, place.stop)]
        self.register_buffer("owner", torch.tensor(owner, dtype=torch.long), persistent=False)
        self.drawn: Tensor | None = None
        self._made: dict[str, Tensor] = {}
        self._counts: dict[tuple[int, ...], Tensor] = {}

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self) -> None:
        """Draw all masks anew (3.1)."""
        self._made.clear()
        if self.mode == "ones":
            self.drawn = torch.ones_like(self.logits)
        elif self.mode == "sample" and self.training:
            self.drawn = torch.sigmoid((self.logits + logistic_noise(self.logits)) / self.tau)
        else:
            self.drawn = (self.logits.detach() >= 0).to(self.logits.dtype)

    def __getitem__(self, name: str) -> Tensor:
        """What was drawn for a decision, one number a channel."""
        if self.drawn is None:
            self.draw()
        assert self.drawn is not None
        return self.drawn[self.places[name]]

    def mask(self, key: str) -> Tensor:
        """The mask that generated code calls `key`: one number for each channel of the tensor."""
        if key not in self._made:
            parts = [self._segment(segment) for segment in self.masks[key]]
            self._made[key] = parts[0] if len(parts) == 1 else torch.cat(parts)
        return self._made[key]

    def _segment(self, segment: Segment) -> Tensor:
        match segment:
            case Plain(size):
                return self.logits.new_ones(size)
            case Masked(name):
                return self[name]
            case Derived():
                return self._first(segment)
            case Taken(source, name):
                return self._taken(source, name)

    def _first(self, segment: Derived) -> Tensor:
        """The first channels, as many as follow from how many of another mask's are there."""
        counts = self._counts.get(segment.counts)
        if counts is None or counts.device != self.logits.device:
            counts = self._counts[segment.counts] = torch.tensor(segment.counts, device=self.logits.device)
        there = self[segment.of].detach().sum().round().long()
        return (torch.arange(segment.size, device=counts.device) < counts[there]).to(self.logits.dtype)

    def _taken(self, source: Plain | Masked, name: str) -> Tensor:
        """Of the channels of a tensor, those that are taken: the most probable ones first."""
        taken = self[name][: source.size]
        if isinstance(source, Plain):
            return taken
        ranks = torch.argsort(
            torch.argsort(self.logits.detach()[self.places[source.name]], descending=True, stable=True)
        )
        return self[source.name] * taken[ranks]

    # ------------------------------------------------------------------------------------------ probabilities

    def probabilities(self) -> Tensor:
        """The probability of each channel, in the order of `logits`."""
        return torch.sigmoid(self.logits)

    def expected(self, moved: float = 0.0) -> Tensor:
        """The expected width of each decision, in order: its channels' probabilities summed (3.2), in float64; with
        all logits moved by so much."""
        sums = torch.zeros(len(self.places), dtype=torch.float64, device=self.logits.device)
        return sums.index_add(0, self.owner, torch.sigmoid(self.logits.double() + moved))  # type: ignore[arg-type]

    def widths(self, moved: float = 0.0) -> dict[str, float]:
        """The expected width of each decision by name, with all logits moved by so much."""
        return dict(zip(self.places, self.expected(moved).tolist(), strict=True))

    def ranked(self) -> dict[str, tuple[int, ...]]:
        """Each decision's channels, the most probable first."""
        logits = self.logits.detach().cpu()
        order = {name: logits[place].argsort(descending=True, stable=True) for name, place in self.places.items()}
        return {name: tuple(each.tolist()) for name, each in order.items()}


class _Masking:
    """A module that applies a mask: that of its bank, or a fixed one."""

    key: str
    fixed: Tensor | None
    _bank: list[MaskBank]

    def _begin(self, key: str) -> None:
        self.key, self._bank = key, []  # in a list, so that the bank is no part of the module
        self.fixed = None

    def factor(self) -> Tensor | None:
        """One number a channel; None where nothing is masked."""
        if self.fixed is not None or not (self.key and self._bank):
            return self.fixed
        return self._bank[0].mask(self.key)


class ChannelMask(_Masking, nn.Module):
    """A mask: a factor for each channel of images, sequences (batch x tokens x channels) or vectors."""

    def __init__(self, channels: int, mask: str) -> None:
        super().__init__()
        self.channels = channels
        self._begin(mask)

    def forward(self, x: Tensor) -> Tensor:
        factor = self.factor()
        if factor is None:
            return x
        return x * (factor.to(x.dtype).reshape(-1, 1, 1) if x.dim() == 4 else factor.to(x.dtype))

    def extra_repr(self) -> str:
        return f"{self.channels}, mask={self.key!r}"


class _MaskedBatchNorm(_Masking, nn.modules.batchnorm._BatchNorm):
    """Batch normalisation and then a mask, as one: the mask is a factor of scale and shift."""

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1, *, mask: str) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self._begin(mask)

    def forward(self, input: Tensor) -> Tensor:
        factor = self.factor()
        if factor is None:
            return super().forward(input)
        self._check_input_dim(input)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        momentum = 0.0 if self.momentum is None else self.momentum
        scale, shift = self.weight * factor, self.bias * factor
        return functional.batch_norm(
            input, self.running_mean, self.running_var, scale, shift, self.training, momentum, self.eps
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mask={self.key!r}"


class MaskedBatchNorm2d(_MaskedBatchNorm, nn.BatchNorm2d):
    """Batch normalisation of images, masked."""


class MaskedBatchNorm1d(_MaskedBatchNorm, nn.BatchNorm1d):
    """Batch normalisation of vectors, masked."""


def with_masks(supernet: nn.Module, bank: MaskBank) -> None:
    """Let a SuperNet's modules take their masks from a bank, which becomes its submodule and draws anew before each of
    its forward passes. Raises `KeyError` where it has no such mask, or one of another size."""
    for path, module in masking_modules(supernet).items():
        size = module.channels if isinstance(module, ChannelMask) else module.num_features
        if module.key and sum(segment.size for segment in bank.masks[module.key]) not in (1, size):  # 1: a presence
            raise KeyError(f"{path}: {module.key}")
        module._bank = [bank]
    supernet.add_module("channel-masks", bank)  # no stage can be called so
    supernet.register_forward_pre_hook(lambda module, inputs: bank.draw())


def masking_modules(supernet: nn.Module) -> dict[str, ChannelMask | _MaskedBatchNorm]:
    """The modules that apply masks, by their paths."""
    found = supernet.named_modules()
    return {path: module for path, module in found if isinstance(module, ChannelMask | _MaskedBatchNorm)}


def fix(supernet: nn.Module, channels: Mapping[str, Sequence[int]]) -> None:
    """Fix every mask, by the path of its module: 1 for the channels that are given, 0 for all others."""
    for path, module in masking_modules(supernet).items():
        size = module.channels if isinstance(module, ChannelMask) else module.num_features
        where = next(iter(supernet.parameters())).device
        module.fixed = torch.zeros(size, device=where)
        module.fixed[torch.tensor(channels.get(path, ()), dtype=torch.long, device=where)] = 1.0
