"""Standard augmentation of a batch of images, as tensor operations that draw from a given generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""Normalised images N×C×H×W to images of the same shape; the same generator state gives the same images."""


@dataclass(frozen=True)
class Augment:
    """A crop at a random place of the image padded by reflection, and a left-right flip with probability 1/2.

    `padding` is in pixels on each side. Digits are not flipped: that would change what some of them are.
    """

    padding: int
    flip: bool

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images N×C×H×W to images of the same shape; the same generator state gives the same images on any device."""
        if self.padding:
            images = self._crop(images, generator)
        if self.flip:
            flipped = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
            images = torch.where(flipped.to(images.device), images.flip(-1), images)
        return images

    def _crop(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, channels, height, width = images.shape
        corner = torch.randint(0, 2 * self.padding + 1, (2, count, 1), generator=generator)
        rows = (corner[0] + torch.arange(height)).to(images.device)
        columns = (corner[1] + torch.arange(width)).to(images.device)
        padded = functional.pad(images, [self.padding] * 4, mode="reflect")
        image = torch.arange(count, device=images.device)[:, None, None, None]
        channel = torch.arange(channels, device=images.device)[None, :, None, None]
        return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def standard_augment(height: int, width: int, flip: bool) -> Augment:
    """Padding by an eighth of the shorter side: 4 pixels at 32×32, as for CIFAR-10 (He et al., 2016, section 4.2)."""
    return Augment(padding=min(height, width) // 8, flip=flip)


@dataclass(frozen=True)
class InTurn:
    """One augmentation after the other."""

    parts: tuple[Augmentation, ...]

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        for part in self.parts:
            images = part(images, generator)
        return images
