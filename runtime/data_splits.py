"""What a data source hands over: training, validation and perhaps test images, and how they were normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils.data import Dataset, Subset

from nasc.dsl.diagnostics import NascError
from nasc.runtime.augment import Augmentation
from nasc.runtime.seeds import derived_generator

ImageShape = tuple[int, int, int]
"""Channels, height, width."""

Images = Dataset[Any]
"""Items are (float32 image C×H×W, normalised; label, an integer from 0)."""


@dataclass(frozen=True)
class Look:
    """How a picture file is read when it is not trained on.

    `fit`: `centre` takes the largest central part of the network's aspect, `stretch` the whole picture; of it the
    central fraction `crop` of each side is seen. `mode` is pillow's name for the kind of pixels.
    """

    fit: Literal["centre", "stretch"]
    mode: Literal["L", "RGB"]
    crop: float = 1.0


@dataclass(frozen=True)
class DataSplits:
    """Images for one input shape, or texts: sequences of tokens, each labelled with the token after each of its own.

    `mean` and `std` (one number a channel, of pixels in 0…1) are what the images were normalised with; a source that
    normalises by itself states 0 and 1, a text none. `augment` is applied to training batches, never to others.
    `labels` are the names of the classes by their numbers, and `look` says how a picture becomes such an image, where
    it can be said.
    """

    name: str
    classes: int
    input_shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Images
    val: Images
    test: Images | None = None
    augment: Augmentation | None = None
    labels: tuple[str, ...] = ()
    look: Look | None = None


def size(dataset: Images) -> int:
    """How many images there are."""
    return len(dataset)  # type: ignore[arg-type]


def split_at_random(dataset: Images, fractions: Sequence[float], seed: int) -> list[Subset[Any]]:
    """Disjoint random parts that cover the dataset; a part's size is its fraction, rounded, the last takes the rest.

    The same seed gives the same parts. Raises NascError if a part would be empty.
    """
    total = size(dataset)
    order = torch.randperm(total, generator=derived_generator(seed, "split")).tolist()
    parts, start = [], 0
    for index, fraction in enumerate(fractions):
        end = total if index == len(fractions) - 1 else start + round(fraction * total)
        if end <= start:
            raise NascError(f"{total} images are too few to split into {len(fractions)} parts")
        parts.append(Subset(dataset, order[start:end]))
        start = end
    return parts


def same_images(part: Subset[Any], dataset: Images) -> Subset[Any]:
    """What `part` takes of its dataset, taken of another."""
    return Subset(dataset, part.indices)


def require_classes(name: str, found: int, wanted: int) -> None:
    """Raise NascError unless the data has as many classes as the network."""
    if found != wanted:
        raise NascError(
            f"the data `{name}` has {found} classes, the network has {wanted}",
            help=f"give the network's head {found} classes, or name data with {wanted}",
        )
