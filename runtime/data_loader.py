"""Batches in an order that depends on seed and epoch alone, however many processes read the images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from nasc.dsl.diagnostics import NascError
from nasc.runtime.data_splits import Images, size
from nasc.runtime.seeds import derived_generator

Batch = tuple[Tensor, Tensor]
"""Images N×C×H×W (float32) and labels N (int64)."""


@runtime_checkable
class BatchedImages(Protocol):
    """A dataset that takes many images faster than one by one."""

    def batch(self, indices: Tensor) -> Batch: ...


@runtime_checkable
class DrawnImages(Protocol):
    """A dataset of whose images training takes random parts, other ones in each epoch."""

    def drawn(self, seed: int, epoch: int) -> Images: ...


@dataclass(frozen=True)
class Batches:
    """The batches of one epoch; iterating again gives the same ones.

    Each is divided into `parts`, of which those in `mine` are handed out, one after another.
    """

    dataset: Images
    batch: int
    shuffle: bool
    seed: int
    epoch: int
    drop_last: bool
    workers: int
    parts: int = 1
    mine: tuple[int, ...] = (0,)

    def __len__(self) -> int:
        whole, rest = divmod(size(self.dataset), self.batch)
        return whole if whole and self.drop_last else whole + bool(rest)

    def __iter__(self) -> Iterator[Batch]:
        dataset, order = _unwrap(self.dataset, self._order())
        if self.shuffle and isinstance(dataset, DrawnImages):
            dataset = dataset.drawn(self.seed, self.epoch)
        wholes = (order[i * self.batch : (i + 1) * self.batch] for i in range(len(self)))
        chunks = (whole[part :: self.parts] for whole in wholes for part in self.mine)
        if isinstance(dataset, BatchedImages):
            return (dataset.batch(chunk) for chunk in chunks)
        if type(dataset) is TensorDataset:
            images, labels = dataset.tensors
            return ((images[chunk], labels[chunk]) for chunk in chunks)
        return self._load(dataset, [chunk.tolist() for chunk in chunks])

    def _order(self) -> Tensor:
        if not self.shuffle:
            return torch.arange(size(self.dataset))
        return torch.randperm(size(self.dataset), generator=derived_generator(self.seed, "shuffle", self.epoch))

    def _load(self, dataset: Images, chunks: list[list[int]]) -> Iterator[Batch]:
        batches = DataLoader(
            _Guarded(dataset),
            batch_sampler=chunks,
            num_workers=self.workers,
            collate_fn=_collate,
            # Else it would draw from, and so advance, the global generator.
            generator=derived_generator(self.seed, "workers", self.epoch),
        )
        for batch in batches:
            if isinstance(batch, NascError):
                raise batch
            yield batch


def loader(
    dataset: Images,
    batch: int,
    shuffle: bool,
    seed: int = 0,
    epoch: int = 0,
    *,
    drop_last: bool = False,
    workers: int = 0,
) -> Batches:
    """The batches of `dataset` in epoch `epoch`; with `shuffle` as training takes them: in random order, and random
    parts of the images where the dataset draws them.

    `drop_last` leaves out a last batch that is not full, unless it is the only one. `workers` processes read datasets
    that are not in memory; the batches are the same for any number of them.
    """
    if batch < 1:
        raise NascError(f"a batch has at least one image, not {batch}")
    return Batches(dataset, batch, shuffle, seed, epoch, drop_last, workers)


def _unwrap(dataset: Images, order: Tensor) -> tuple[Images, Tensor]:
    """Look through torch's Subset, so that a part of an in-memory dataset is as fast as the whole."""
    # Not its subclasses: those usually transform the items.
    while type(dataset) is Subset:
        subset = dataset
        dataset, order = subset.dataset, torch.as_tensor(subset.indices)[order]
    return dataset, order


@dataclass(frozen=True)
class _Guarded(Dataset[Any]):
    """Returns a user's error as an item: raised in a worker, it would arrive wrapped in that process's traceback."""

    dataset: Images

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except NascError as error:
            return error


def _collate(items: list[Any]) -> Batch | NascError:
    for item in items:
        if isinstance(item, NascError):
            return item
    images, labels = zip(*items, strict=True)
    return torch.stack(images), torch.tensor([int(label) for label in labels])
