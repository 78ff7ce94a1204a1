"""A part of Fashion-MNIST for comparisons that a small machine can finish: 3,000 images for training and 1,000 for
validation, and all 10,000 for tests.

    nasc compare spaces/fashion.nas --data benchmarks.fashion_part:images --cost macs --budget 282steps --batch 32 \
        --methods prunet,figs,fbnet,random,evolution,spos,width_multiplier,morphnet --seeds 3 --points 2 \
        --retrain 282 --threads 1 --out compared/fashion OPTIONS

with the options that docs/benchmarks.md states. The images are drawn once, by the seed below, and are not augmented:
every method gets the same. Fashion-MNIST is that of the system's package `dataset-fashion-mnist`.
"""

from __future__ import annotations

import torch
from torch.utils.data import Dataset, Subset, TensorDataset

from nasc.runtime.data import load_data

TRAINING, VALIDATION, SEED = 3_000, 1_000, 0


def images() -> tuple[TensorDataset, TensorDataset, Dataset[tuple[torch.Tensor, int]]]:
    """Training, validation and test images, normalised, 1 x 28 x 28, with their labels."""
    data = load_data("fashion", input_shape=(1, 28, 28), classes=10, seed=SEED, augment="none")
    assert data.test is not None
    return _first(data.train, TRAINING), _first(data.val, VALIDATION), data.test


def _first(images: object, count: int) -> TensorDataset:
    part = Subset(images, range(count))  # type: ignore[type-var, arg-type]
    pairs = [part[i] for i in range(count)]
    return TensorDataset(torch.stack([image for image, _ in pairs]), torch.tensor([int(label) for _, label in pairs]))
