"""An image folder: one directory of images for each class, read and resized when they are taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from nasc.dsl.diagnostics import NascError
from nasc.runtime.augment import standard_augment
from nasc.runtime.data_splits import DataSplits, Images, ImageShape, require_classes, split_at_random

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})

# Means and deviations of ImageNet's training images, red, green, blue; for grey images their averages.
_MEAN = {3: (0.485, 0.456, 0.406), 1: (0.449,)}
_STD = {3: (0.229, 0.224, 0.225), 1: (0.226,)}


@dataclass(frozen=True)
class FolderImages(Dataset[tuple[Tensor, int]]):
    """Images of files: the largest centred crop of the wanted aspect, resized, normalised by ImageNet's moments."""

    files: tuple[tuple[Path, int], ...]
    shape: ImageShape

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        channels, height, width = self.shape
        pixels = _read(path, "L" if channels == 1 else "RGB", (width, height)).reshape(height, width, channels)
        mean, std = torch.tensor(_MEAN[channels]), torch.tensor(_STD[channels])
        return ((torch.from_numpy(pixels) / 255 - mean) / std).permute(2, 0, 1).contiguous(), label


def load_folder(directory: Path, shape: ImageShape, classes: int, seed: int) -> DataSplits:
    """DIR/train/CLASS/… with DIR/val/CLASS/… (and perhaps DIR/test/CLASS/…), or DIR/CLASS/… split 80:20 by seed.

    Classes are numbered in the order of their names. Raises NascError for a missing or empty folder, a wrong number of
    classes, or classes that differ between the parts; and, when an image is taken that cannot be read, naming its file.
    """
    channels = shape[0]
    if channels not in _MEAN:
        raise NascError(f"an image folder gives 1 or 3 channels; the network wants {channels}")
    train, val, test = _parts(directory, shape, classes, seed)
    augment = standard_augment(*shape[1:], flip=True)
    return DataSplits(str(directory), classes, shape, _MEAN[channels], _STD[channels], train, val, test, augment)


def _parts(directory: Path, shape: ImageShape, classes: int, seed: int) -> tuple[Images, Images, Images | None]:
    if not (directory / "train").is_dir():
        names = _class_names(directory, classes)
        train, val = split_at_random(_list(directory, names, shape), (0.8, 0.2), seed)
        return train, val, None
    names = _class_names(directory / "train", classes)
    test = directory / "test"
    return (
        _list(directory / "train", names, shape),
        _list(directory / "val", names, shape),
        _list(test, names, shape) if test.is_dir() else None,
    )


def _class_names(directory: Path, classes: int) -> list[str]:
    names = _directories(directory)
    require_classes(str(directory), len(names), classes)
    return names


def _list(directory: Path, names: list[str], shape: ImageShape) -> FolderImages:
    if different := sorted(set(names) ^ set(_directories(directory))):
        raise NascError(f"{directory} does not have the classes of the training images: see `{different[0]}`")
    files: list[tuple[Path, int]] = []
    for label, name in enumerate(names):
        found = sorted(path for path in (directory / name).iterdir() if path.suffix.lower() in SUFFIXES)
        if not found:
            raise NascError(f"{directory / name} holds no images", help=f"files read: {', '.join(sorted(SUFFIXES))}")
        files += [(path, label) for path in found]
    return FolderImages(tuple(files), shape)


def _directories(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise NascError(
            f"cannot read the folder {directory}: {error.strerror}",
            help="an image folder holds train/CLASS/… and val/CLASS/…, or CLASS/… alone",
        ) from error


def _read(path: Path, mode: str, extent: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.fit(image.convert(mode), extent, Image.Resampling.BILINEAR), dtype=np.uint8)
    # Pillow raises the latter three, not only OSError, for damaged and for monstrous files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise NascError(f"cannot read the image {path}: {error}", help="mend or remove the file") from error
