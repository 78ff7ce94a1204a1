"""Data by name: `load_data` finds the source that a specification means."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from nasc.dsl.diagnostics import NascError, did_you_mean
from nasc.runtime.data_arrays import load_digits, load_fashion, load_synthetic
from nasc.runtime.data_callable import load_callable
from nasc.runtime.data_classes import draw_classes, keep_classes
from nasc.runtime.data_folder import load_folder
from nasc.runtime.data_loader import Batches, loader
from nasc.runtime.data_preparation import AugmentKind, Preparation
from nasc.runtime.data_splits import DataSplits, Images, ImageShape, size, split_at_random
from nasc.runtime.data_text import load_text

__all__ = ["Batches", "DataSplits", "ImageShape", "Images", "load_data", "loader", "size", "split_at_random"]

NAMES = ("digits", "fashion", "synthetic")
_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_HELP = (
    "data is `digits`, `fashion`, `fashion:DIR`, `synthetic`, `synthetic:COUNT`, a folder, or `package.module:function`"
    "; for a language model `text:FILE`"
)


def load_data(
    spec: str,
    *,
    input_shape: tuple[int, ...],
    classes: int,
    seed: int = 0,
    root: Path | None = None,
    augment: AugmentKind = "standard",
    magnitude: float = 9.0,
    deviation: float = 0.5,
    crop: float = 1.0,
    class_fraction: float = 1.0,
) -> DataSplits:
    """The data that `spec` names, for a network of this input shape and number of classes.

    The shape is (C, H, W) of images or, for a language model, the number of tokens alone; its classes are the tokens.

    `digits`                  scikit-learn's digits, resized bilinearly
    `fashion`, `fashion:DIR`  Fashion-MNIST as the system's package installs it, or its IDX files in DIR
    `synthetic`, `synthetic:COUNT`  noise around a pattern per class, of any shape and number of classes
    a folder                  DIR/train/CLASS/… and DIR/val/CLASS/…, or DIR/CLASS/… (one called `digits` as `./digits`)
    `text:FILE`, `text:DIR`   bytes, or token numbers that were made before, for language models (see `load_text`)
    `package.module:function` the user's own code, imported from `root` or the installed packages, and run

    Random splits depend on `seed`. Relative paths start at `root`, by default the working directory.

    `augment`, `magnitude`, `deviation` and `crop` are those of `Preparation`; synthetic images and a user's own are
    ready as they are: they have neither policy nor crop. Of the classes, round(`class_fraction` · `classes`), at least
    2, are drawn by `seed` and kept in all parts; they keep their numbers, and the data's name tells how many they are.

    Raises NascError if there is no such data, if it does not suit the network, or for a setting out of range.
    """
    preparation = Preparation(augment, magnitude, deviation, crop)
    start = root or Path.cwd()
    if len(input_shape) == 1:
        return load_text(spec, input_shape[0], classes, start, preparation, class_fraction)
    channels, height, width = input_shape
    kept = draw_classes(classes, class_fraction, seed)
    return keep_classes(_load(spec, (channels, height, width), classes, seed, start, preparation, kept), kept)


def _load(
    spec: str, shape: ImageShape, classes: int, seed: int, root: Path, preparation: Preparation, kept: Tensor
) -> DataSplits:
    name, _, detail = spec.partition(":")
    if spec == "digits":
        return load_digits(shape, classes, seed, preparation)
    if name == "fashion":
        return load_fashion(shape, classes, seed, preparation, root / detail if detail else None)
    if name == "text":
        raise NascError(f"the network looks at images, which `{spec}` has not", help=_HELP)
    if name == "synthetic":
        preparation.require_none(spec)
        return load_synthetic(shape, classes, seed, kept, *_count(spec, detail))
    directory = root / Path(spec).expanduser()
    if directory.is_dir():
        return load_folder(directory, shape, classes, seed, preparation)
    if _CALLABLE.fullmatch(spec):
        preparation.require_none(spec)
        return load_callable(spec, shape, classes, seed, root)
    raise _unknown(spec, directory)


def _count(spec: str, detail: str) -> tuple[int, ...]:
    if not detail:
        return ()
    if not re.fullmatch(r"[1-9][0-9]{0,8}", detail):
        raise NascError(f"`{spec}`: the number of images is a positive integer, such as `synthetic:512`")
    return (int(detail),)


def _unknown(spec: str, directory: Path) -> NascError:
    if "/" in spec or spec.startswith((".", "~")):
        return NascError(f"there is no folder {directory}", help=_HELP)
    return NascError(f"unknown data `{spec}`", help=did_you_mean(spec, NAMES) or _HELP)
