"""Which part of an image a network sees: the centre in evaluation, a random part in training."""

from __future__ import annotations

import math

import torch
from PIL import Image, ImageOps

# Fraction of the area, aspect ratio, and how many parts are drawn until one lies within the image (timm's defaults,
# those of Szegedy et al., 2015, section 6).
_AREA, _RATIO, _TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10

Box = tuple[int, int, int, int]
"""Left, upper, right, lower, in pixels."""


def enlarged(extent: tuple[int, int], crop: float) -> tuple[int, int]:
    """The extent of an image whose central fraction `crop` of each side has `extent`; rounded down, as in timm."""
    return math.floor(extent[0] / crop), math.floor(extent[1] / crop)


def margin(outer: int, inner: int) -> int:
    """How many of `outer` pixels come before the central `inner` ones."""
    return round((outer - inner) / 2)


def central(image: Image.Image, extent: tuple[int, int], crop: float) -> Image.Image:
    """The central part of this extent (width, height) of the image, which is made to fill `enlarged(extent, crop)`."""
    whole = enlarged(extent, crop)
    fitted = ImageOps.fit(image, whole, Image.Resampling.BILINEAR)
    if whole == extent:
        return fitted
    left, upper = margin(whole[0], extent[0]), margin(whole[1], extent[1])
    return fitted.crop((left, upper, left + extent[0], upper + extent[1]))


def random_box(size: tuple[int, int], generator: torch.Generator) -> Box:
    """A part of an image of this size (width, height): 8 % to 100 % of its area, of an aspect from 3:4 to 4:3.

    Where none that was drawn lies within the image, the largest central part of such an aspect.
    """
    for _ in range(_TRIES):
        area, ratio, across, down = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        pixels = size[0] * size[1] * (_AREA[0] + area * (_AREA[1] - _AREA[0]))
        aspect = _RATIO[0] * (_RATIO[1] / _RATIO[0]) ** ratio
        width, height = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < width <= size[0] and 0 < height <= size[1]:
            left, upper = int(across * (size[0] - width + 1)), int(down * (size[1] - height + 1))
            return left, upper, left + width, upper + height
    return _central_box(size)


def _central_box(size: tuple[int, int]) -> Box:
    aspect = min(max(size[0] / size[1], _RATIO[0]), _RATIO[1])
    width = min(size[0], max(1, round(size[1] * aspect)))
    height = min(size[1], max(1, round(size[0] / aspect)))
    left, upper = margin(size[0], width), margin(size[1], height)
    return left, upper, left + width, upper + height
