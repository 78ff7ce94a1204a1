"""Modules in plain torch for the tests of `nasc import --exported`; nothing here uses nasc."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()
    )


class Inception(nn.Module):
    """Four branches side by side (Szegedy et al. 2015)."""

    def __init__(self, before: int, one: int, three: int, five: int, pooled: int) -> None:
        super().__init__()
        self.one = conv(before, one, 1)
        self.three = nn.Sequential(conv(before, three, 1), conv(three, three, 3))
        self.five = nn.Sequential(conv(before, five, 1), conv(five, five, 5))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(before, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1)


class Dense(nn.Module):
    """Norm and activation before each convolution, and what came in kept (Huang et al. 2017)."""

    def __init__(self, before: int, growth: int) -> None:
        super().__init__()
        self.norm, self.narrow = nn.BatchNorm2d(before), nn.Conv2d(before, 2 * growth, 1, bias=False)
        self.norm2, self.conv = nn.BatchNorm2d(2 * growth), nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(functional.relu(self.norm(x)))
        return torch.cat([x, self.conv(functional.relu(self.norm2(y)))], 1)


class LinearGate(nn.Module):
    """Squeeze-and-excitation as many programs have it: linear layers on the pooled vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, 4), nn.Linear(4, width)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.up(functional.relu(self.down(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class Halves(nn.Module):
    """One half of the channels gates the other, in place."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.split([6, 2], 1)
        y = torch.cat([functional.silu(first), second.sigmoid()], 1)
        y += x
        return y


class Skips(nn.Module):
    """An encoder and a decoder with skips over all of it (Ronneberger et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.low = conv(8, 16, 3, 2), conv(16, 32, 3, 2)
        self.up, self.last = conv(48, 16, 3), conv(24, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        z = self.up(torch.cat([functional.interpolate(self.low(y), scale_factor=2.0), y], 1))
        return self.last(torch.cat([functional.interpolate(z, scale_factor=2.0), x], 1))


def classified(width: int, *parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def inception() -> nn.Module:
    blocks = [Inception(16, 8, 16, 4, 4), Inception(32, 16, 16, 8, 8), nn.MaxPool2d(3, 2, 1)]
    return classified(64, conv(3, 16, 7, 2), *blocks, Inception(48, 16, 16, 16, 16))


def dense() -> nn.Module:
    norm = nn.Sequential(nn.BatchNorm2d(24), nn.ReLU())
    middle = [nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 16, 1, bias=False), nn.AvgPool2d(2)]
    return classified(24, conv(3, 16, 3, 2), Dense(16, 8), Dense(24, 8), *middle, Dense(16, 8), norm)


def gated() -> nn.Module:
    return classified(8, conv(3, 8, 3), LinearGate(8), conv(8, 8, 3), LinearGate(8))


def halves() -> nn.Module:
    return classified(8, conv(3, 8, 3), Halves(), Halves())


def skips() -> nn.Module:
    return nn.Sequential(conv(3, 8, 3), Skips(), nn.Conv2d(8, 1, 1))


def odd() -> nn.Module:
    """Shapes that no published network has: uneven kernels, groups, dilation, two linear layers."""
    rows = [
        nn.Conv2d(3, 6, 3, groups=3),
        nn.GELU(),
        nn.Conv2d(6, 12, (1, 5), padding=(0, 2), groups=2),
        nn.Hardswish(),
        nn.Conv2d(12, 12, 3, dilation=2, padding=2, bias=False),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.BatchNorm2d(12, eps=1e-3, affine=False),
        nn.Dropout(0.1),
    ]
    return nn.Sequential(classified(12, *rows), nn.Tanh(), nn.Linear(10, 4, bias=False))


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation, with statistics and scales of batch norms that are not zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.is_floating_point():
                tensor.normal_(0, tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.2, generator=generator)
    return module.eval()
