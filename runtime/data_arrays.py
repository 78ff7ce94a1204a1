"""Data held in memory or made up: scikit-learn's digits, Fashion-MNIST, and synthetic images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from nasc.dsl.diagnostics import NascError
from nasc.runtime.augment import standard_augment
from nasc.runtime.data_crop import enlarged, margin
from nasc.runtime.data_idx import read_idx
from nasc.runtime.data_preparation import Preparation
from nasc.runtime.data_splits import DataSplits, ImageShape, Look, require_classes, same_images, split_at_random
from nasc.runtime.seeds import derived_generator

FASHION_DIRECTORIES = (Path("/usr/share/datasets/fashion-mnist"), Path("/usr/local/share/datasets/fashion-mnist"))
FASHION_LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SYNTHETIC_COUNT = 1024
_PATTERN = 4


@dataclass(frozen=True, eq=False)
class ArrayImages(Dataset[tuple[Tensor, Tensor]]):
    """Images kept at their own size (N×1×H×W, uint8, or float32 in 0…1), resized and normalised when they are taken.

    So 60,000 images of 224×224 need the memory of 60,000 images of 28×28. Of each side the central fraction `crop` is
    taken. Labels are N, int64.
    """

    images: Tensor
    labels: Tensor
    shape: ImageShape
    mean: float
    std: float
    crop: float = 1.0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.batch(torch.tensor([index]))
        return images[0], labels[0]

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images N×C×H×W and labels N at these indices."""
        images = (_pixels(self.images[indices]) - self.mean) / self.std
        channels, height, width = self.shape
        rows, columns = enlarged((height, width), self.crop)
        if images.shape[-2:] != (rows, columns):
            images = functional.interpolate(images, (rows, columns), mode="bilinear", antialias=True)
        top, left = margin(rows, height), margin(columns, width)
        images = images[..., top : top + height, left : left + width]
        return images.repeat(1, channels, 1, 1), self.labels[indices]


class SyntheticImages(Dataset[tuple[Tensor, Tensor]]):
    """Normal noise around a smooth pattern per class; image i is made from (seed, part, i) when it is taken.

    The classes `kept` (all, or some of their numbers) take turns.
    """

    def __init__(self, shape: ImageShape, classes: int, kept: Tensor, count: int, seed: int, part: str) -> None:
        self.shape, self.kept, self.count = shape, kept, count
        self.seed, self.part = seed, part
        patterns = derived_generator(seed, "synthetic patterns")
        self.patterns = torch.randn(classes, shape[0], _PATTERN, _PATTERN, generator=patterns)

    def __len__(self) -> int:
        return self.count

    @property
    def labels(self) -> Tensor:
        """N, int64."""
        return self.kept[torch.arange(self.count) % len(self.kept)]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.batch(torch.tensor([index]))
        return images[0], labels[0]

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images N×C×H×W and labels N at these indices."""
        labels = self.kept[indices % len(self.kept)]
        patterns = functional.interpolate(self.patterns[labels], self.shape[1:], mode="bilinear")
        return patterns + torch.stack([self._noise(index) for index in indices.tolist()]), labels

    def _noise(self, index: int) -> Tensor:
        return torch.randn(self.shape, generator=derived_generator(self.seed, self.part, index))


def load_digits(shape: ImageShape, classes: int, seed: int, preparation: Preparation) -> DataSplits:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels: 70 % training, 15 % validation, 15 % test, by seed."""
    from sklearn import datasets  # here, because importing it takes a second

    require_classes("digits", 10, classes)
    digits = datasets.load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    # The constants of the whole set, so that they do not depend on the seed.
    mean, std = _moments(images)
    dataset = ArrayImages(images, torch.tensor(digits.target), shape, mean, std)
    train, *rest = split_at_random(dataset, (0.70, 0.15, 0.15), seed)
    val, test = (same_images(part, replace(dataset, crop=preparation.crop)) for part in rest)
    means, stds = (mean,) * shape[0], (std,) * shape[0]
    augment = preparation.augmentation("digits", standard_augment(*shape[1:], flip=False), means, stds)
    look, labels = Look("stretch", "L", preparation.crop), tuple(map(str, range(10)))
    return DataSplits("digits", 10, shape, means, stds, train, val, test, augment, labels, look)


def load_fashion(
    shape: ImageShape, classes: int, seed: int, preparation: Preparation, directory: Path | None
) -> DataSplits:
    """Fashion-MNIST (Xiao et al., 2017): 55,000 training and 5,000 validation images by seed, and its 10,000 of test.

    Raises NascError if the four IDX files are not there, are damaged, or do not belong together.
    """
    require_classes("fashion", 10, classes)
    directory = directory or _installed_fashion()
    images, labels = _read_pair(directory, "train")
    mean, std = _moments(images)
    dataset = ArrayImages(images, labels, shape, mean, std)
    train, rest = split_at_random(dataset, (11 / 12, 1 / 12), seed)
    val = same_images(rest, replace(dataset, crop=preparation.crop))
    test = ArrayImages(*_read_pair(directory, "t10k"), shape, mean, std, preparation.crop)
    means, stds = (mean,) * shape[0], (std,) * shape[0]
    augment = preparation.augmentation("fashion", standard_augment(*shape[1:], flip=True), means, stds)
    look = Look("stretch", "L", preparation.crop)
    return DataSplits("fashion", 10, shape, means, stds, train, val, test, augment, FASHION_LABELS, look)


def load_synthetic(
    shape: ImageShape, classes: int, seed: int, kept: Tensor, count: int = SYNTHETIC_COUNT
) -> DataSplits:
    """`count` training images and a quarter as many for validation, made one by one when they are taken.

    They are of the classes `kept`.
    """
    train = SyntheticImages(shape, classes, kept, count, seed, "train")
    val = SyntheticImages(shape, classes, kept, max(1, count // 4), seed, "val")
    name = "synthetic" if count == SYNTHETIC_COUNT else f"synthetic:{count}"
    return DataSplits(name, classes, shape, (0.0,) * shape[0], (1.0,) * shape[0], train, val)


def _installed_fashion() -> Path:
    for directory in FASHION_DIRECTORIES:
        if directory.is_dir():
            return directory
    raise NascError(
        "Fashion-MNIST is not installed on this machine",
        help="`apt-get install dataset-fashion-mnist`, or name a folder with its four IDX files: `fashion:DIR`",
    )


def _read_pair(directory: Path, part: str) -> tuple[Tensor, Tensor]:
    images = read_idx(_idx_file(directory, f"{part}-images-idx3-ubyte"))
    labels = read_idx(_idx_file(directory, f"{part}-labels-idx1-ubyte"))
    if images.dim() != 3 or labels.dim() != 1 or len(images) != len(labels) or not images.numel():
        shapes = f"{tuple(images.shape)} and {tuple(labels.shape)}"
        raise NascError(f"{directory}: the {part} images and labels do not belong together: their shapes are {shapes}")
    if labels.max() > 9:
        raise NascError(f"{directory}: the {part} labels go up to {int(labels.max())}, not 9")
    return images[:, None], labels.to(torch.int64)


def _idx_file(directory: Path, name: str) -> Path:
    for path in (directory / name, directory / f"{name}.gz"):
        if path.is_file():
            return path
    raise NascError(
        f"{directory} has no {name} or {name}.gz",
        help="`fashion:DIR` wants the four IDX files of Fashion-MNIST in DIR",
    )


def _moments(images: Tensor) -> tuple[float, float]:
    pixels = _pixels(images)
    return pixels.mean(dtype=torch.float64).item(), max(pixels.std().item(), 1e-6)


def _pixels(images: Tensor) -> Tensor:
    return images if images.is_floating_point() else images.to(torch.float32) / 255
