"""The augmentation policy of the paper's training: random operations of Pillow on the images of a batch.

PruNet's appendix A.2 writes "AutoAugment with an augmentation magnitude of 9 and standard deviation 0.5". In timm, with
which it trains, those are the settings of `rand-m9-mstd0.5`: the RandAugment (Cubuk et al., 2020, arXiv:1909.13719) of
timm's recipe for EfficientNet-B2, which also has the paper's 450 epochs and rate decay of 0.97 every 2.4 epochs. This
is that policy, with the operations and ranges of timm's list without `inc`. There a larger magnitude makes posterise
and solarise milder; colour, contrast, brightness and sharpness go from nearly none (0) to nearly twice as much (10).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

OPERATIONS_PER_IMAGE = 2
PROBABILITY = 0.5
LARGEST_MAGNITUDE = 10.0

Fill = int | tuple[int, ...]
"""The grey level or colour of pixels that come from outside the image."""


@dataclass(frozen=True)
class Operation:
    """`apply(image, level, fill)`: `level` goes from 0 to 1, and has a random sign where the operation is `signed`."""

    apply: Callable[[Image.Image, float, Fill], Image.Image]
    signed: bool = False


def _affine(image: Image.Image, matrix: tuple[float, ...], fill: Fill) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)


def _rotate(image: Image.Image, level: float, fill: Fill) -> Image.Image:
    return image.rotate(30 * level, Image.Resampling.BILINEAR, fillcolor=fill)


def _solarize_add(image: Image.Image, level: float, fill: Fill) -> Image.Image:
    """Brighten the darker half of the pixels."""
    brighter = [min(255, value + int(110 * level)) if value < 128 else value for value in range(256)]
    return image.point(brighter * len(image.getbands()))


def _factor(level: float) -> float:
    """How much of the enhanced property is kept: 1 leaves the image as it is."""
    return 0.1 + 1.8 * level


# Pillow refuses to keep no bit at all, which timm asks for below a level of 1/4. On grey images `color` does nothing.
OPERATIONS: dict[str, Operation] = {
    "autocontrast": Operation(lambda image, level, fill: ImageOps.autocontrast(image)),
    "equalize": Operation(lambda image, level, fill: ImageOps.equalize(image)),
    "invert": Operation(lambda image, level, fill: ImageOps.invert(image)),
    "rotate": Operation(_rotate, signed=True),
    "posterize": Operation(lambda image, level, fill: ImageOps.posterize(image, max(1, int(4 * level)))),
    "solarize": Operation(lambda image, level, fill: ImageOps.solarize(image, int(256 * level))),
    "solarize_add": Operation(_solarize_add),
    "color": Operation(lambda image, level, fill: ImageEnhance.Color(image).enhance(_factor(level))),
    "contrast": Operation(lambda image, level, fill: ImageEnhance.Contrast(image).enhance(_factor(level))),
    "brightness": Operation(lambda image, level, fill: ImageEnhance.Brightness(image).enhance(_factor(level))),
    "sharpness": Operation(lambda image, level, fill: ImageEnhance.Sharpness(image).enhance(_factor(level))),
    "shear_x": Operation(lambda image, level, fill: _affine(image, (1, 0.3 * level, 0, 0, 1, 0), fill), signed=True),
    "shear_y": Operation(lambda image, level, fill: _affine(image, (1, 0, 0, 0.3 * level, 1, 0), fill), signed=True),
    "translate_x": Operation(
        lambda image, level, fill: _affine(image, (1, 0, 0.45 * level * image.width, 0, 1, 0), fill), signed=True
    ),
    "translate_y": Operation(
        lambda image, level, fill: _affine(image, (1, 0, 0, 0, 1, 0.45 * level * image.height), fill), signed=True
    ),
}


@dataclass(frozen=True)
class Policy:
    """Two operations an image, drawn uniformly with replacement, each applied with probability 1/2.

    An operation's magnitude is drawn from N(`magnitude`, `deviation`²) and clipped to 0…10. `mean` and `std` (a number
    for each of one or three channels, of pixels in 0…1) are what the images were normalised with. Pixels that come from
    outside the image take the mean.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    magnitude: float = 9.0
    deviation: float = 0.5

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Normalised images N×C×H×W to images of the same shape, rounded to 256 levels on the way.

        The same generator state gives the same images.
        """
        mean = torch.tensor(self.mean)[:, None, None]
        std = torch.tensor(self.std)[:, None, None]
        pixels = ((images.cpu() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        plans = self._plans(len(images), generator)
        changed = [self._apply(image, plan) for image, plan in zip(pixels, plans, strict=True)]
        return ((torch.stack(changed) / 255 - mean) / std).to(images.device)

    def _plans(self, count: int, generator: torch.Generator) -> list[list[tuple[Operation, float]]]:
        """For each image, the operations to apply and their levels."""
        shape = (count, OPERATIONS_PER_IMAGE)
        chosen = torch.randint(len(OPERATIONS), shape, generator=generator).tolist()
        applied = (torch.rand(shape, generator=generator) < PROBABILITY).tolist()
        magnitudes = self.magnitude + self.deviation * torch.randn(shape, generator=generator, dtype=torch.float64)
        levels = (magnitudes.clamp(0, LARGEST_MAGNITUDE) / LARGEST_MAGNITUDE).tolist()
        signs = (torch.randint(2, shape, generator=generator) * 2 - 1).tolist()
        operations = list(OPERATIONS.values())
        return [
            [
                (operations[number], level * sign if operations[number].signed else level)
                for number, used, level, sign in zip(*draws, strict=True)
                if used
            ]
            for draws in zip(chosen, applied, levels, signs, strict=True)
        ]

    def _apply(self, pixels: Tensor, plan: list[tuple[Operation, float]]) -> Tensor:
        """uint8 pixels C×H×W to the same."""
        if not plan:
            return pixels
        grey = len(pixels) == 1
        image = Image.fromarray(pixels[0].numpy() if grey else pixels.permute(1, 2, 0).contiguous().numpy())
        colour = tuple(round(255 * value) for value in self.mean)
        for operation, level in plan:
            image = operation.apply(image, level, colour[0] if grey else colour)
        return torch.from_numpy(np.array(image)).reshape(image.height, image.width, -1).permute(2, 0, 1)
