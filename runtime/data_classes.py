"""A fraction of the classes: the paper searches on 10 % of ImageNet's, drawn at random (A.2.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from nasc.dsl.diagnostics import NascError
from nasc.runtime.data_splits import DataSplits, Images
from nasc.runtime.seeds import derived_generator


class LabelledImages(Protocol):
    """A dataset that knows its labels (N, int64) without taking its images."""

    @property
    def labels(self) -> Tensor: ...


def draw_classes(classes: int, fraction: float, seed: int) -> Tensor:
    """The numbers of round(fraction · classes) classes, at least 2, in ascending order.

    The same seed gives the same ones; a larger fraction adds to them. Raises NascError for a fraction not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise NascError(f"the fraction of the classes lies between 0 and 1, not at {fraction}")
    order = torch.randperm(classes, generator=derived_generator(seed, "classes"))
    return order[: max(2, round(fraction * classes))].sort().values


def keep_classes(data: DataSplits, kept: Tensor) -> DataSplits:
    """The images of these classes, which keep their numbers, so that a network keeps its head.

    The data's name says so. Raises NascError if no image of a part is left.
    """
    if len(kept) >= data.classes:
        return data
    name = f"{data.name} ({len(kept)} of {data.classes} classes)"
    train, val = _keep(data, data.train, kept, "training"), _keep(data, data.val, kept, "validation")
    test = _keep(data, data.test, kept, "test") if data.test else None
    return replace(data, name=name, train=train, val=val, test=test)


def _keep(data: DataSplits, dataset: Images, kept: Tensor, part: str) -> Subset[Any]:
    indices = torch.isin(_labels(dataset), kept).nonzero().flatten().tolist()
    if not indices:
        raise NascError(
            f"none of the {part} images of `{data.name}` is of the {len(kept)} classes that were drawn",
            help="keep a larger fraction of the classes, or draw others with another seed",
        )
    return Subset(dataset, indices)


def _labels(dataset: Images) -> Tensor:
    if isinstance(dataset, Subset):
        return _labels(dataset.dataset)[torch.as_tensor(dataset.indices)]
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[1]
    return cast(LabelledImages, dataset).labels
