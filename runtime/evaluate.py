"""How well a network classifies images, or tells the next token of texts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.dsl.diagnostics import NascError
from nasc.runtime.data_loader import loader
from nasc.runtime.data_splits import Images, size


@dataclass(frozen=True)
class EvalResult:
    """Fractions of images (0 to 1) whose label is the highest logit, or among the five highest (None up to 5 classes);
    mean cross-entropy in nats; number of images. For texts all are of tokens, but the count is of sequences, and the
    perplexity is e to the cross-entropy."""

    top1: float
    top5: float | None
    loss: float
    count: int
    perplexity: float | None = None


@torch.no_grad()
def evaluate(
    model: nn.Module, dataset: Images, batch: int = 256, device: torch.device | str = "cpu", workers: int = 0
) -> EvalResult:
    """Evaluate `model` on every image of `dataset`, in float32.

    The model is moved to `device`, and left in the mode (training or not) in which it came. Raises NascError for no
    images, and for labels beyond the network's classes.
    """
    if not size(dataset):
        raise NascError("there are no images to evaluate on")
    training = model.training
    model.eval().to(device)
    try:
        sums = torch.zeros(3, dtype=torch.float64)
        for images, labels in loader(dataset, batch, shuffle=False, workers=workers):
            logits = model(images.to(device)).float().cpu()
            require_labels(logits, labels)
            sums += _scores(logits, labels)
    finally:
        model.train(training)
    top1, top5, loss = (sums / size(dataset)).tolist()
    perplexity = torch.tensor(loss).exp().item() if labels.dim() > 1 else None
    return EvalResult(top1, top5 if logits.shape[-1] > 5 else None, loss, size(dataset), perplexity)


def require_labels(logits: Tensor, labels: Tensor) -> None:
    """Raise NascError unless logits N×classes suit labels N, or N×tokens×classes suit N×tokens.

    The labels are looked at on the CPU only.
    """
    if logits.shape[:-1] != labels.shape:
        wanted = "×".join(map(str, labels.shape))
        raise NascError(f"a classifier gives {wanted}×classes numbers for a batch, not {tuple(logits.shape)}")
    if labels.device.type == "cpu" and int(labels.max()) >= logits.shape[-1]:
        raise NascError(f"the data has the label {int(labels.max())}, the network only {logits.shape[-1]} classes")


def mean_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """In nats, over a batch's images or over all tokens of its sequences (which have the same number each)."""
    return functional.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), label_smoothing=smoothing)


def right_answers(logits: Tensor, labels: Tensor) -> Tensor:
    """How many images have the label with the highest logit; a sequence counts for the part of its tokens."""
    return (logits.argmax(-1) == labels).sum() / labels[0].numel()


def _scores(logits: Tensor, labels: Tensor) -> Tensor:
    """Sums over a batch's images, or over the means of its sequences."""
    ranked = logits.topk(min(5, logits.shape[-1])).indices == labels[..., None]
    loss = functional.cross_entropy(logits.double().flatten(0, -2), labels.flatten(), reduction="sum")
    return torch.stack([ranked[..., 0].sum(), ranked.sum(), loss]).double() / labels[0].numel()
