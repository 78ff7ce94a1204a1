"""Published networks written down a second time: from the papers in plain torch, and by the package transformers.

Nothing here uses nasc. A reference runs its layers in the order in which nasc's generated module runs them, a
shortcut's convolution last, so that tensors can be copied by order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

Act = Callable[[], nn.Module]


def conv(
    c_in: int, c_out: int, k: int, s: int = 1, act: Act = nn.Identity, groups: int = 1, eps: float = 1e-5, pad: int = -1
) -> nn.Sequential:
    """Convolution, batch norm, activation; symmetric padding unless `pad` is given."""
    padding = k // 2 if pad < 0 else pad
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, k, s, padding, groups=groups, bias=False), nn.BatchNorm2d(c_out, eps=eps), act()
    )


class Gate(nn.Module):
    """Squeeze-and-excitation (Hu et al. 2018)."""

    def __init__(self, channels: int, width: int, act: Act, gate: Act) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, width, 1), nn.Conv2d(width, channels, 1)
        self.act, self.gate = act(), gate()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.excite(self.act(self.squeeze(pooled))))


class Mobile(nn.Module):
    """An inverted residual: 1x1 (none where `hidden` is 0), depthwise, gate, 1x1; `fused` joins the first two."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        k: int,
        s: int,
        hidden: int,
        act: Act,
        *,
        se: int = 0,
        gate: tuple[Act, Act] | None = None,
        fused: bool = False,
        eps: float = 1e-5,
        pad: int = -1,
    ) -> None:
        super().__init__()
        wide = hidden or c_in
        parts: list[nn.Module] = []
        if fused:
            parts.append(conv(c_in, wide, k, s, act, eps=eps, pad=pad))
        else:
            parts += [conv(c_in, wide, 1, 1, act, eps=eps)] if hidden else []
            parts.append(conv(wide, wide, k, s, act, groups=wide, eps=eps))
        parts += [Gate(wide, se, *(gate or (act, nn.Sigmoid)))] if se else []
        self.body = nn.Sequential(*parts, conv(wide, c_out, 1, eps=eps))
        self.add = s == 1 and c_in == c_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return x + y if self.add else y


def classifier(c_in: int, c_out: int, act: Act, eps: float = 1e-5) -> list[nn.Module]:
    top = conv(c_in, c_out, 1, 1, act, eps=eps)
    return [top, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_out, 1000)]


def mobilenet_v3_large() -> nn.Module:
    """Howard et al. 2019, Table 1: kernel, expansion, output, gate, nonlinearity, stride."""
    re, hs, eps = nn.ReLU, nn.Hardswish, 1e-3
    rows: tuple[tuple[int, int, int, int, Act, int], ...] = (
        (3, 16, 16, 0, re, 1), (3, 64, 24, 0, re, 2), (3, 72, 24, 0, re, 1), (5, 72, 40, 1, re, 2),
        (5, 120, 40, 1, re, 1), (5, 120, 40, 1, re, 1), (3, 240, 80, 0, hs, 2), (3, 200, 80, 0, hs, 1),
        (3, 184, 80, 0, hs, 1), (3, 184, 80, 0, hs, 1), (3, 480, 112, 1, hs, 1), (3, 672, 112, 1, hs, 1),
        (5, 672, 160, 1, hs, 2), (5, 960, 160, 1, hs, 1), (5, 960, 160, 1, hs, 1),
    )  # fmt: skip
    widths = {72: 24, 120: 32, 480: 120, 672: 168, 960: 240}  # a quarter of the expansion, in multiples of 8
    layers: list[nn.Module] = [conv(3, 16, 3, 2, hs, eps=eps)]
    c = 16
    for number, (k, hidden, out, gated, act, s) in enumerate(rows):
        se = widths[hidden] if gated else 0
        first = number == 0
        layers.append(Mobile(c, out, k, s, 0 if first else hidden, act, se=se, gate=(nn.ReLU, nn.Hardsigmoid), eps=eps))
        c = out
    top = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(960, 1280, 1), nn.Hardswish(), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers, conv(160, 960, 1, 1, hs, eps=eps), *top)


def mnasnet(rows: Sequence[tuple[int, int, int, int, int, int]]) -> nn.Module:
    """Tan et al. 2019, Figure 7; rows: expansion, kernel, gate, output, layers, stride."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2, nn.ReLU), Mobile(32, 16, 3, 1, 0, nn.ReLU)]
    c = 16
    for e, k, gated, out, count, stride in rows:
        for number in range(count):
            s = stride if number == 0 else 1
            layers.append(Mobile(c, out, k, s, e * c, nn.ReLU, se=round(c / 4) if gated else 0))
            c = out
    return nn.Sequential(*layers, *classifier(c, 1280, nn.ReLU))


def mnasnet_a1() -> nn.Module:
    return mnasnet(
        (
            (6, 3, 0, 24, 2, 2),
            (3, 5, 1, 40, 3, 2),
            (6, 3, 0, 80, 4, 2),
            (6, 3, 1, 112, 2, 1),
            (6, 5, 1, 160, 3, 2),
            (6, 3, 0, 320, 1, 1),
        )
    )


def mnasnet_b1() -> nn.Module:
    return mnasnet(
        (
            (3, 3, 0, 24, 3, 2),
            (3, 5, 0, 40, 3, 2),
            (6, 5, 0, 80, 3, 2),
            (6, 3, 0, 96, 2, 1),
            (6, 5, 0, 192, 4, 2),
            (6, 3, 0, 320, 1, 1),
        )
    )


def fbnet_c() -> nn.Module:
    """Wu et al. 2019, Figure 4, with the 1x1 convolution kept where the expansion is 1; (kernel, expansion) or None."""
    stages: tuple[tuple[int, int, tuple[tuple[int, int] | None, ...]], ...] = (
        (16, 1, ((3, 1),)),
        (24, 2, ((3, 6), None, (3, 1), (3, 1))),
        (32, 2, ((5, 6), (5, 3), (5, 6), (3, 6))),
        (64, 2, ((5, 6), (5, 3), (5, 6), (5, 6))),
        (112, 1, ((5, 6), (5, 6), (5, 6), (5, 3))),
        (184, 2, ((5, 6),) * 4),
        (352, 1, ((3, 6),)),
    )
    layers: list[nn.Module] = [conv(3, 16, 3, 2, nn.ReLU)]
    c = 16
    for out, stride, blocks in stages:
        for number, block in enumerate(blocks):
            if block is not None:
                layers.append(Mobile(c, out, block[0], stride if number == 0 else 1, block[1] * c, nn.ReLU))
                c = out
    return nn.Sequential(*layers, *classifier(352, 1984, nn.ReLU))


def efficientnet_v2_s() -> nn.Module:
    """Tan and Le 2021, Table 4."""
    eps = 1e-3
    layers: list[nn.Module] = [conv(3, 24, 3, 2, nn.SiLU, eps=eps)]
    layers += [Residual(conv(24, 24, 3, 1, nn.SiLU, eps=eps)) for _ in range(2)]
    rows = ((1, 4, 48, 4, 2), (1, 4, 64, 4, 2), (0, 4, 128, 6, 2), (0, 6, 160, 9, 1), (0, 6, 256, 15, 2))
    c = 24
    for fused, e, out, count, stride in rows:
        for number in range(count):
            s = stride if number == 0 else 1
            se = 0 if fused else c // 4
            layers.append(Mobile(c, out, 3, s, e * c, nn.SiLU, se=se, fused=bool(fused), eps=eps))
            c = out
    return nn.Sequential(*layers, *classifier(256, 1280, nn.SiLU, eps))


class Universal(nn.Module):
    """MobileNetV4's block: depthwise convolutions of kernels `start` and `mid` (0 is none) around the expansion."""

    def __init__(self, c_in: int, c_out: int, start: int, mid: int, s: int, hidden: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        if start:
            parts.append(conv(c_in, c_in, start, 1 if mid else s, groups=c_in))
        parts.append(conv(c_in, hidden, 1, 1, nn.ReLU))
        if mid:
            parts.append(conv(hidden, hidden, mid, s, nn.ReLU, groups=hidden))
        self.body = nn.Sequential(*parts, conv(hidden, c_out, 1))
        self.add = s == 1 and c_in == c_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return x + y if self.add else y


def mobilenet_v4_small() -> nn.Module:
    """Qin et al. 2024, the table of MNv4-Conv-S: kernels before and after the expansion, expansion, output, stride."""
    rows = (
        (5, 5, 3, 96, 2), (0, 3, 2, 96, 1), (0, 3, 2, 96, 1), (0, 3, 2, 96, 1), (0, 3, 2, 96, 1), (3, 0, 4, 96, 1),
        (3, 3, 6, 128, 2), (5, 5, 4, 128, 1), (0, 5, 4, 128, 1), (0, 5, 3, 128, 1), *((0, 3, 4, 128, 1),) * 2,
    )  # fmt: skip
    plain = ((3, 32, 3, 2), (32, 32, 3, 2), (32, 32, 1, 1), (32, 96, 3, 2), (96, 64, 1, 1))
    layers: list[nn.Module] = [conv(a, b, k, s, nn.ReLU) for a, b, k, s in plain]
    c = 64
    for start, mid, e, out, s in rows:
        layers.append(Universal(c, out, start, mid, s, e * c))
        c = out
    top = [conv(c, 960, 1, 1, nn.ReLU), nn.AdaptiveAvgPool2d(1), conv(960, 1280, 1, 1, nn.ReLU)]
    return nn.Sequential(*layers, *top, nn.Flatten(), nn.Linear(1280, 1000))


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def gpunet(stem: int, convolutions: int, rows: Sequence[tuple[bool, int, int, int, Act, int]]) -> nn.Module:
    """Wang et al. 2022; rows: fused, layers, expansion, filters, activation, gate. Strided fused ones are unpadded."""
    eps = 1e-3
    layers: list[nn.Module] = [conv(3, stem, 3, 2, nn.SiLU, eps=eps)]
    layers += [conv(stem, stem, 3, 1, nn.ReLU, eps=eps) for _ in range(convolutions)]
    c = stem
    for number, (fused, count, e, out, act, gated) in enumerate(rows):
        for layer in range(count):
            # The stages of a network's table with stride 2: all but GPUNet-1's second run of inverted residuals.
            s = 2 if layer == 0 and not (len(rows) == 5 and number == 3) else 1
            se = round(c / 4) if gated else 0
            pad = 0 if fused and s == 2 else -1
            layers.append(Mobile(c, out, 3, s, e * c, act, se=se, fused=fused, eps=eps, pad=pad))
            c = out
    return nn.Sequential(*layers, *classifier(c, 1280, nn.ReLU, eps))


def gpunet_0() -> nn.Module:
    re, sw = nn.ReLU, nn.SiLU
    return gpunet(
        32, 2, ((True, 2, 5, 32, re, 0), (True, 3, 5, 64, re, 0), (False, 3, 5, 256, sw, 0), (False, 2, 5, 704, re, 1))
    )


def gpunet_1() -> nn.Module:
    re, sw = nn.ReLU, nn.SiLU
    rows = (
        (True, 2, 4, 64, sw, 0),
        (True, 2, 4, 96, sw, 0),
        (False, 1, 2, 160, sw, 1),
        (False, 4, 5, 288, re, 0),
        (False, 4, 4, 448, re, 1),
    )
    return gpunet(24, 1, rows)


class FastDepth(nn.Module):
    """Wofk et al. 2019, with additive skips after the up-sampling."""

    def __init__(self) -> None:
        super().__init__()
        widths = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
        strides = [2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
        encoder: list[nn.Module] = [conv(3, 32, 3, 2, nn.ReLU6)]
        for i in range(1, 14):
            deep = conv(widths[i - 1], widths[i - 1], 3, strides[i], nn.ReLU6, groups=widths[i - 1])
            encoder.append(nn.Sequential(deep, conv(widths[i - 1], widths[i], 1, 1, nn.ReLU6)))
        self.encoder = nn.ModuleList(encoder)
        down = [1024, 512, 256, 128, 64, 32]
        self.decoder = nn.ModuleList(
            nn.Sequential(conv(a, a, 5, 1, nn.ReLU, groups=a), conv(a, b, 1, 1, nn.ReLU)) for a, b in pairwise(down)
        )
        self.top = conv(32, 1, 1, 1, nn.ReLU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept: list[torch.Tensor] = []
        for layer in self.encoder:
            x = layer(x)
            kept.append(x)
        sides = {1: kept[5], 2: kept[3], 3: kept[1]}
        for i, layer in enumerate(self.decoder):
            x = nn.functional.interpolate(layer(x), scale_factor=2.0, mode="nearest")
            x = x + sides[i] if i in sides else x
        return torch.as_tensor(self.top(x))


class Logits(nn.Module):
    """A model of `transformers` that gives its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.model(x).logits)


def transformers(family: str, **options: Any) -> nn.Module:
    """A model of the package `transformers` with fresh weights; the test is skipped where the package is missing."""
    package = pytest.importorskip("transformers", reason="the package transformers is missing (extra `dev`)")
    config = getattr(package, f"{family}Config")(num_labels=1000, **options)
    return Logits(getattr(package, f"{family}ForImageClassification")(config))


def efficientnet_b0() -> nn.Module:
    """With symmetric padding in place of TensorFlow's."""
    found = transformers(
        "EfficientNet",
        width_coefficient=1.0,
        depth_coefficient=1.0,
        hidden_dim=1280,
        batch_norm_eps=1e-5,
        image_size=224,
        depthwise_padding=tuple(range(16)),
    )
    found.get_submodule("model.efficientnet.embeddings").padding = nn.ZeroPad2d(1)
    return found


def regnet(kind: str, group_width: int, depths: list[int], widths: list[int]) -> nn.Module:
    return transformers(
        "RegNet", layer_type=kind, groups_width=group_width, depths=depths, hidden_sizes=widths, embedding_size=32
    )


def vit(width: int, heads: int) -> nn.Module:
    return transformers(
        "ViT",
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        layer_norm_eps=1e-6,
        hidden_act="gelu",
    )


WHOLE = frozenset({"deit_small", "deit_tiny", "vit_b16"})
"""Networks that take images of one size: they have a learned position for each part of one."""

REFERENCES: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "convnext_tiny": (
        "transformers `ConvNext`",
        lambda: transformers("ConvNext", depths=[3, 3, 9, 3], hidden_sizes=[96, 192, 384, 768], layer_norm_eps=1e-6),
    ),
    "deit_small": ("transformers `ViT`", lambda: vit(384, 6)),
    "deit_tiny": ("transformers `ViT`", lambda: vit(192, 3)),
    "efficientnet_b0": ("transformers `EfficientNet`, symmetric padding", efficientnet_b0),
    "efficientnet_v2_s": ("the paper's Table 4", efficientnet_v2_s),
    "fastdepth": ("the paper and its published code", FastDepth),
    "fbnet_c": ("the paper's Figure 4", fbnet_c),
    "gpunet_0": ("the published code's tables", gpunet_0),
    "gpunet_1": ("the published code's tables", gpunet_1),
    "mnasnet_a1": ("the paper's Figure 7", mnasnet_a1),
    "mnasnet_b1": ("the published code's table", mnasnet_b1),
    "mobilenet_v1": (
        "transformers `MobileNetV1`, symmetric padding",
        lambda: transformers("MobileNetV1", tf_padding=False, layer_norm_eps=1e-5),
    ),
    "mobilenet_v2": (
        "transformers `MobileNetV2`, symmetric padding",
        lambda: transformers("MobileNetV2", tf_padding=False, layer_norm_eps=1e-5),
    ),
    "mobilenet_v3_large": ("the paper's Table 1", mobilenet_v3_large),
    "mobilenet_v4_small": ("the paper's table of MNv4-Conv-S", mobilenet_v4_small),
    "regnetx_032": ("transformers `RegNet`", lambda: regnet("x", 48, [2, 6, 15, 2], [96, 192, 432, 1008])),
    "regnety_008": ("transformers `RegNet`", lambda: regnet("y", 16, [1, 3, 8, 2], [64, 128, 320, 768])),
    "resnet18": (
        "transformers `ResNet`",
        lambda: transformers(
            "ResNet", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", embedding_size=64
        ),
    ),
    "resnet50": (
        "transformers `ResNet`",
        lambda: transformers(
            "ResNet", depths=[3, 4, 6, 3], hidden_sizes=[256, 512, 1024, 2048], layer_type="bottleneck"
        ),
    ),
    "vit_b16": ("transformers `ViT`", lambda: vit(768, 12)),
}
"""By the name of the `.nas` file: where the reference comes from, and how it is built."""
