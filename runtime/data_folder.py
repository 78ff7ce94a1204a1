"""An image folder: one directory of images for each class, read and resized when they are taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from nasc.dsl.diagnostics import NascError
from nasc.runtime.augment import Augment
from nasc.runtime.data_crop import central, random_box
from nasc.runtime.data_preparation import Preparation
from nasc.runtime.data_splits import DataSplits, Images, ImageShape, Look, require_classes, same_images, split_at_random
from nasc.runtime.seeds import derived_generator

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
_LAYOUT = "an image folder holds train/CLASS/… and val/CLASS/…, or CLASS/… alone"

# Means and deviations of ImageNet's training images, red, green, blue; for grey images their averages.
_MEAN = {3: (0.485, 0.456, 0.406), 1: (0.449,)}
_STD = {3: (0.229, 0.224, 0.225), 1: (0.226,)}


@dataclass(frozen=True)
class FolderImages(Dataset[tuple[Tensor, int]]):
    """Images of files, resized and normalised by ImageNet's moments.

    Of an image the largest centred part of the wanted aspect is taken, and of its sides the central fraction `crop`.
    Where `draws`, training takes a random part (`random_box`) in its place, which depends on `moment`, a seed and an
    epoch, and on the image's index.
    """

    files: tuple[tuple[Path, int], ...]
    shape: ImageShape
    crop: float = 1.0
    draws: bool = False
    moment: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        channels, height, width = self.shape
        pixels = _read(path, "L" if channels == 1 else "RGB", lambda image: self._part(image, index))
        mean, std = torch.tensor(_MEAN[channels]), torch.tensor(_STD[channels])
        image = torch.from_numpy(pixels.reshape(height, width, channels))
        return ((image / 255 - mean) / std).permute(2, 0, 1).contiguous(), label

    def drawn(self, seed: int, epoch: int) -> FolderImages:
        """The images as training takes them in an epoch."""
        return replace(self, moment=(seed, epoch)) if self.draws else self

    @property
    def labels(self) -> Tensor:
        """N, int64."""
        return torch.tensor([label for _, label in self.files])

    def _part(self, image: Image.Image, index: int) -> Image.Image:
        extent = self.shape[2], self.shape[1]
        if self.moment is None:
            return central(image, extent, self.crop)
        seed, epoch = self.moment
        box = random_box(image.size, derived_generator(seed, "crop", epoch, index))
        return image.resize(extent, Image.Resampling.BILINEAR, box)


def load_folder(directory: Path, shape: ImageShape, classes: int, seed: int, preparation: Preparation) -> DataSplits:
    """DIR/train/CLASS/… with DIR/val/CLASS/… (and perhaps DIR/test/CLASS/…), or DIR/CLASS/… split 80:20 by seed.

    Classes are numbered in the order of their names. The standard augmentation is a random part of the image, resized,
    and a left-right flip with probability 1/2. Raises NascError for a missing or empty folder, a wrong number of
    classes, or classes that differ between the parts; and, when an image is taken that cannot be read, naming its file.
    """
    channels = shape[0]
    if channels not in _MEAN:
        raise NascError(f"an image folder gives 1 or 3 channels; the network wants {channels}")
    names = _class_names(directory / "train" if (directory / "train").is_dir() else directory, classes)
    train, val, test = _parts(directory, shape, names, seed, preparation)
    mean, std = _MEAN[channels], _STD[channels]
    augment = preparation.augmentation(str(directory), Augment(padding=0, flip=True), mean, std)
    look = Look("centre", "L" if channels == 1 else "RGB", preparation.crop)
    return DataSplits(str(directory), classes, shape, mean, std, train, val, test, augment, tuple(names), look)


def _parts(
    directory: Path, shape: ImageShape, names: list[str], seed: int, preparation: Preparation
) -> tuple[Images, Images, Images | None]:
    draws, crop = preparation.augment != "none", preparation.crop
    if not (directory / "train").is_dir():
        files = _list(directory, names)
        train, val = split_at_random(FolderImages(files, shape, draws=draws), (0.8, 0.2), seed)
        return train, same_images(val, FolderImages(files, shape, crop)), None
    test = directory / "test"
    return (
        FolderImages(_list(directory / "train", names), shape, draws=draws),
        FolderImages(_list(directory / "val", names), shape, crop),
        FolderImages(_list(test, names), shape, crop) if test.is_dir() else None,
    )


def _class_names(directory: Path, classes: int) -> list[str]:
    names = _directories(directory)
    if not names:
        raise NascError(f"{directory} has no folder of a class", help=_LAYOUT)
    require_classes(str(directory), len(names), classes)
    return names


def _list(directory: Path, names: list[str]) -> tuple[tuple[Path, int], ...]:
    if different := sorted(set(names) ^ set(_directories(directory))):
        raise NascError(f"{directory} does not have the classes of the training images: see `{different[0]}`")
    files: list[tuple[Path, int]] = []
    for label, name in enumerate(names):
        found = sorted(path for path in _entries(directory / name) if path.suffix.lower() in SUFFIXES)
        if not found:
            raise NascError(f"{directory / name} holds no images", help=f"files read: {', '.join(sorted(SUFFIXES))}")
        files += [(path, label) for path in found]
    return tuple(files)


def _directories(directory: Path) -> list[str]:
    return sorted(path.name for path in _entries(directory) if path.is_dir() and not path.name.startswith("."))


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError as error:
        raise NascError(
            f"cannot read the folder {directory}: {error.strerror}",
            help=_LAYOUT,
        ) from error


def _read(
    path: Path, mode: str, part: Callable[[Image.Image], Image.Image]
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    try:
        with Image.open(path) as image:
            return np.array(part(image.convert(mode)), dtype=np.uint8)
    # Pillow raises the latter three, not only OSError, for damaged and for monstrous files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise NascError(f"cannot read the image {path}: {error}", help="mend or remove the file") from error
