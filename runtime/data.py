"""Data by name: `load_data` finds the source that a specification means."""

from __future__ import annotations

import re
from pathlib import Path

from nasc.dsl.diagnostics import NascError, did_you_mean
from nasc.runtime.data_arrays import load_digits, load_fashion, load_synthetic
from nasc.runtime.data_callable import load_callable
from nasc.runtime.data_folder import load_folder
from nasc.runtime.data_loader import Batches, loader
from nasc.runtime.data_splits import DataSplits, Images, ImageShape, size, split_at_random

__all__ = ["Batches", "DataSplits", "ImageShape", "Images", "load_data", "loader", "size", "split_at_random"]

NAMES = ("digits", "fashion", "synthetic")
_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_HELP = (
    "data is `digits`, `fashion`, `fashion:DIR`, `synthetic`, `synthetic:COUNT`, a folder, or `package.module:function`"
)


def load_data(
    spec: str, *, input_shape: tuple[int, int, int], classes: int, seed: int = 0, root: Path | None = None
) -> DataSplits:
    """The data that `spec` names, for a network of this input shape (C, H, W) and number of classes.

    `digits`                  scikit-learn's digits, resized bilinearly
    `fashion`, `fashion:DIR`  Fashion-MNIST as the system's package installs it, or its IDX files in DIR
    `synthetic`, `synthetic:COUNT`  noise around a pattern per class, of any shape and number of classes
    a folder                  DIR/train/CLASS/… and DIR/val/CLASS/…, or DIR/CLASS/… (one called `digits` as `./digits`)
    `package.module:function` the user's own code, imported from `root` or the installed packages, and run

    Random splits depend on `seed`. Relative paths start at `root`, by default the working directory.
    Raises NascError if there is no such data or it does not suit the network.
    """
    root = root or Path.cwd()
    name, _, detail = spec.partition(":")
    if spec == "digits":
        return load_digits(input_shape, classes, seed)
    if name == "fashion":
        return load_fashion(input_shape, classes, seed, root / detail if detail else None)
    if name == "synthetic":
        return load_synthetic(input_shape, classes, seed, *_count(spec, detail))
    directory = root / Path(spec).expanduser()
    if directory.is_dir():
        return load_folder(directory, input_shape, classes, seed)
    if _CALLABLE.fullmatch(spec):
        return load_callable(spec, input_shape, classes, seed, root)
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
