"""Data from a user's own code: `package.module:function`, which returns a dataset, (training, validation), or these
with the test images as a third."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from nasc.dsl.diagnostics import NascError, did_you_mean
from nasc.runtime.data_splits import DataSplits, Images, ImageShape, split_at_random

_HELP = (
    "the function has no parameters and returns a Dataset of pairs (image C×H×W, label), or (training, validation), "
    "or (training, validation, test)"
)


@dataclass(frozen=True, eq=False)
class CheckedImages(Dataset[tuple[Tensor, int]]):
    """A user's dataset whose items are checked when they are taken."""

    name: str
    dataset: Images
    shape: ImageShape
    classes: int

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with _own_code(f"`{self.name}`: taking item {index}"):
            item = self.dataset[index]
        if not isinstance(item, tuple | list) or len(item) != 2 or not isinstance(item[0], Tensor):
            raise NascError(f"`{self.name}`: item {index} is not a pair (image tensor, label)")
        image, label = item[0].to(torch.float32), _label(self.name, index, item[1])
        _check(self.name, f"item {index}", tuple(image.shape), self.shape, label, label, self.classes)
        _require_finite(self.name, image[None], index)
        return image, label

    @property
    def labels(self) -> Tensor:
        """N, int64. Takes every item, unless the dataset has `targets` as torchvision's have, not transformed."""
        targets = getattr(self.dataset, "targets", None)
        if targets is None or getattr(self.dataset, "target_transform", None) is not None:
            return torch.tensor([self[index][1] for index in range(len(self))])
        if len(targets) != len(self):
            raise NascError(f"`{self.name}` has {len(self)} items and {len(targets)} `targets`")
        return torch.tensor([_label(self.name, index, target) for index, target in enumerate(targets)])


def load_callable(spec: str, shape: ImageShape, classes: int, seed: int, root: Path) -> DataSplits:
    """Call the named function without arguments. One dataset is split 80:20 by seed.

    The datasets normalise and augment by themselves. This imports and runs the user's code: never hand it a name taken
    from a file that a stranger wrote. Raises NascError if the function is not there, fails, or gives something else;
    and, when an item is taken, if that fails, or gives another shape, a label out of range, or pixels that are not
    finite.
    """
    function = _find(spec, root)
    _require_no_parameters(spec, function)
    with _own_code(f"`{spec}`"):
        result = function()
    parts = result if isinstance(result, tuple | list) else (result,)
    if len(parts) not in (1, 2, 3) or not all(isinstance(p, Dataset) and hasattr(p, "__len__") for p in parts):
        message = f"`{spec}` returned neither a torch.utils.data.Dataset of known length nor two or three of them"
        raise NascError(message, help=_HELP)
    checked = [_checked(spec, part, shape, classes) for part in parts]
    train, val, *test = checked if len(checked) > 1 else split_at_random(checked[0], (0.8, 0.2), seed)
    own = (0.0,) * shape[0], (1.0,) * shape[0]
    return DataSplits(spec, classes, shape, *own, train, val, test[0] if test else None)


def _find(spec: str, root: Path) -> Callable[[], Any]:
    module_name, _, name = spec.partition(":")
    sys.path.insert(0, str(root))
    try:
        with _own_code(f"importing `{module_name}` for the data `{spec}`", passing=ModuleNotFoundError):
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise NascError(
            f"cannot import `{module_name}` for the data `{spec}`: {error}",
            help=f"the module is looked for in {root} and among the installed packages",
        ) from error
    finally:
        sys.path.remove(str(root))
    function = getattr(module, name, None)
    if not callable(function):
        raise NascError(f"the module `{module_name}` has no function `{name}`", help=did_you_mean(name, dir(module)))
    return function


def _require_no_parameters(spec: str, function: Callable[[], Any]) -> None:
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise NascError(f"`{spec}` is called without arguments: {error}", help=_HELP) from None
    except ValueError:
        return  # some functions written in C have no signature


def _checked(spec: str, dataset: Images, shape: ImageShape, classes: int) -> Images:
    if type(dataset) is not TensorDataset:
        return CheckedImages(spec, dataset, shape, classes)
    if len(dataset.tensors) != 2 or dataset.tensors[1].dim() != 1 or not len(dataset):
        raise NascError(f"`{spec}`: a TensorDataset holds images N×C×H×W and labels N")
    images, labels = dataset.tensors[0].to(torch.float32), dataset.tensors[1].to(torch.int64)
    for index in (labels != dataset.tensors[1]).nonzero().flatten().tolist():
        _label(spec, index, dataset.tensors[1][index])
    lowest, highest = int(labels.min()), int(labels.max())
    _check(spec, "the dataset", tuple(images.shape[1:]), shape, lowest, highest, classes)
    _require_finite(spec, images, 0)
    return TensorDataset(images, labels)


def _label(name: str, index: int, label: Any) -> int:
    try:
        number = int(label)
        if bool(number == label):
            return number
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise NascError(f"`{name}`: the label of item {index} is not an integer: {label!r:.80}")


def _require_finite(name: str, images: Tensor, first: int) -> None:
    """`first` is the index of the first of the images N×C×H×W."""
    # Of many images this makes no copy.
    if images.sum(dtype=torch.float64).isfinite():
        return
    index = first + int((~images.isfinite()).flatten(1).any(1).nonzero()[0])
    raise NascError(
        f"`{name}`: item {index} has pixels that are not finite numbers",
        help="mend the image or leave it out; normalising by a standard deviation of 0 gives such pixels too",
    )


@contextmanager
def _own_code(what: str, passing: type[Exception] = NascError) -> Iterator[None]:
    """Turn an error of the user's own code into a NascError with its place there."""
    try:
        yield
    except (NascError, passing):
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise NascError(
            f"{what} failed: {type(error).__name__}: {error}", help=f"raised at {place.filename}:{place.lineno}"
        ) from error


def _check(
    name: str, where: str, found: tuple[int, ...], wanted: ImageShape, lowest: int, highest: int, classes: int
) -> None:
    if found != wanted:
        raise NascError(f"`{name}`: {where} has images of shape {found}, the network wants {wanted}")
    if lowest < 0 or highest >= classes:
        label = lowest if lowest < 0 else highest
        raise NascError(f"`{name}`: {where} has the label {label}, the network has the classes 0 to {classes - 1}")
