"""A part of Fashion-MNIST for comparisons that a small machine can finish: 1,500 training and 1,000 validation images.

    nasc compare spaces/fashion.nas --data benchmarks.fashion_part:images --cost macs --budget 94steps --batch 32 \
        --methods prunet,figs,fbnet,random,evolution,width_multiplier,morphnet --seeds 3 --points 2 --retrain 94 \
        --threads 1 --option 'figs.lambda={1e-5,3e-5}' --out compared/fashion

The images are drawn once, by the seed below, and are not augmented: every method gets the same. Fashion-MNIST is
that of the system's package `dataset-fashion-mnist`.
"""

from __future__ import annotations

import torch
from torch.utils.data import Subset, TensorDataset

from nasc.runtime.data import load_data

TRAINING, VALIDATION, SEED = 1_500, 1_000, 0


def images() -> tuple[TensorDataset, TensorDataset]:
    """Training and validation images, normalised, 1 x 28 x 28, with their labels."""
    data = load_data("fashion", input_shape=(1, 28, 28), classes=10, seed=SEED, augment="none")
    return _first(data.train, TRAINING), _first(data.val, VALIDATION)


def _first(images: object, count: int) -> TensorDataset:
    part = Subset(images, range(count))  # type: ignore[type-var, arg-type]
    pairs = [part[i] for i in range(count)]
    return TensorDataset(torch.stack([image for image, _ in pairs]), torch.tensor([int(label) for _, label in pairs]))
