"""Training and evaluating the network of a `.nas` file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasc.compiler.lower_torch import model_source
from nasc.compiler.write_files import write_file
from nasc.dsl.diagnostics import NascError
from nasc.runtime.member_model import load_model

if TYPE_CHECKING:
    from nasc.runtime.evaluate import EvalResult
    from nasc.runtime.progress import Progress
    from nasc.runtime.train import TrainResult

MODEL, NETWORK = "model.py", "network.nas"
"""The trained network in a run's folder: as plain PyTorch, and the copy of its file."""


def train_file(
    file: Path,
    data: str,
    out: Path,
    options: dict[str, Any],
    *,
    resume: bool = False,
    progress: Progress | None = None,
    weights: Path | None = None,
) -> TrainResult:
    """Train the one network of a file into the folder `out`; `options` are those of `TrainOptions`.

    It starts from `weights` (safetensors) where they are given; else they depend on the seed alone. Raises `NascError`
    for a file, data, options or weights that do not fit.
    """
    import torch
    from pydantic import ValidationError

    from nasc.runtime.checkpoint import load_weights, restore_weights
    from nasc.runtime.data import load_data
    from nasc.runtime.train import WEIGHTS, train
    from nasc.runtime.train_options import TrainOptions
    from nasc.runtime.usage import usage_files

    try:
        chosen = TrainOptions(**options)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise NascError(f"option {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
    with torch.random.fork_rng():
        torch.manual_seed(chosen.seed)
        loaded = load_model(file, chosen.drop_path)
    if weights is not None:
        restore_weights(loaded.module, load_weights(weights), str(weights))
    splits = load_data(
        data,
        input_shape=loaded.input_shape,
        classes=loaded.classes,
        seed=chosen.seed,
        augment=chosen.augment,
        magnitude=chosen.magnitude,
        deviation=chosen.deviation,
        crop=chosen.crop,
        class_fraction=chosen.class_fraction,
    )
    result = train(loaded.module, splits, chosen, out, progress, resume)
    write_file(out / MODEL, model_source(loaded.network).encode())
    for name, content in usage_files(splits, loaded.network.name, WEIGHTS).items():
        write_file(out / name, content)
    write_file(out / NETWORK, file.read_bytes())
    return result


def evaluate_file(
    file: Path,
    weights: Path,
    data: str,
    *,
    split: str,
    batch: int,
    device: str,
    seed: int,
    crop: float = 1.0,
    class_fraction: float = 1.0,
) -> EvalResult:
    """Measure the network of a file with weights from a safetensors file on one split of the data.

    `seed`, `crop` and `class_fraction` make the split that of the training.
    """
    from nasc.runtime.checkpoint import load_weights, restore_weights
    from nasc.runtime.data import load_data
    from nasc.runtime.evaluate import evaluate
    from nasc.runtime.train_options import pick_device

    loaded = load_model(file)
    restore_weights(loaded.module, load_weights(weights), str(weights))
    splits = load_data(
        data,
        input_shape=loaded.input_shape,
        classes=loaded.classes,
        seed=seed,
        crop=crop,
        class_fraction=class_fraction,
    )
    images = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
    if images is None:
        raise NascError(f"the data `{data}` has no {split} images", help="evaluate on --split val")
    return evaluate(loaded.module, images, batch, pick_device(device))
