"""Images and data sets in files, for the tests of data sources."""

import gzip
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nasc.runtime.data import loader


def idx(array: np.ndarray) -> bytes:
    """An independent writer of the format: magic, big-endian lengths, bytes."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def everything(dataset: object, **options: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*loader(dataset, 7, False, **options), strict=True)  # type: ignore[arg-type]
    return torch.cat(images), torch.cat(labels)


def write_fashion(directory: Path, **replaced: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    directory.mkdir(exist_ok=True)
    for part, count in (("train", 60), ("t10k", 20)):
        arrays = {"images-idx3": rng.integers(0, 256, (count, 28, 28)), "labels-idx1": np.arange(count) % 10}
        for kind, array in arrays.items():
            array = replaced.get(f"{part}_{kind[:6]}", array)
            compressed = part == "train"
            name = f"{part}-{kind}-ubyte" + (".gz" if compressed else "")
            (directory / name).write_bytes(gzip.compress(idx(array)) if compressed else idx(array))


def write_images(directory: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 5) -> None:
    for label, name in enumerate(classes):
        (directory / name).mkdir(parents=True)
        for i in range(count):
            colour = (200 * label, 10 * i, 0)
            Image.new("RGB", (30 + i, 20), colour).save(
                directory / name / f"{i}.{'png' if i % 2 else 'JPG'}", quality=99
            )
