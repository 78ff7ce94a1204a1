"""Distillation: a student learns from a trained teacher's logits as well as from the labels (Hinton et al., 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from nasc.dsl.diagnostics import NascError
from nasc.runtime.teacher_network import TeacherNetwork

_LARGEST = 4096
"""Images are not enlarged to more than this, in pixels a side: a damaged file must not fill the memory."""


@dataclass(frozen=True)
class Teacher:
    """A trained network that gives logits N×classes for images N×C×H×W, normalised as the student's are.

    Images of another size than the teacher's are resized bilinearly first. A teacher of a fixed batch takes the images
    in parts.
    """

    network: TeacherNetwork

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        batch, _, height, width = self.network.input_shape
        size = (height or images.shape[2], width or images.shape[3])
        if images.shape[2:] != size:
            images = functional.interpolate(images, size, mode="bilinear", antialias=True)
        parts = images.split(batch or len(images))
        return torch.cat([self.network.run(part) for part in parts]).float()


def load_teacher(
    path: Path, images: tuple[int, int, int, int], classes: int, device: torch.device, threads: int
) -> Teacher:
    """The teacher of a `.onnx` or `.pt2` file, tried out on an empty batch of the shape `images` (N, C, H, W).

    No code of the file is run. Raises NascError for a file that is missing, broken, or of another format, and for a
    network that does not take such images to as many logits as there are `classes`.
    """
    teacher = Teacher(_opened(path, device, threads))
    _require_input(teacher.network.input_shape, images, path)
    try:
        logits = teacher(torch.zeros(images, device=device))
    except (NascError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever ONNX Runtime or an operator makes of a network that is not sound
        raise NascError(f"the teacher {path} cannot be run on images {_text(images)}: {_short(error)}") from error
    if logits.shape != (images[0], classes):
        raise NascError(
            f"the teacher {path} gives {_text(logits.shape)} numbers for {images[0]} images, "
            f"the student's classes need {images[0]}×{classes}"
        )
    return teacher


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T² · KL(teacher ‖ student) in nats, of both softmaxes at temperature T, the mean over the images.

    The factor keeps the size of the gradient as T grows (Hinton et al., 2015, section 2).
    """
    student = functional.log_softmax(logits.float() / temperature, dim=1)
    wanted = functional.log_softmax(teacher_logits.float() / temperature, dim=1)
    return temperature**2 * functional.kl_div(student, wanted, reduction="batchmean", log_target=True)


def _opened(path: Path, device: torch.device, threads: int) -> TeacherNetwork:
    from nasc.runtime.teacher_onnx import open_onnx
    from nasc.runtime.teacher_program import open_program

    if path.suffix not in (".onnx", ".pt2"):
        raise NascError(f"a teacher is a file .onnx or .pt2 (of `torch.export.save`), not {path}")
    try:
        return open_onnx(path, device, threads) if path.suffix == ".onnx" else open_program(path, device)
    except (NascError, torch.OutOfMemoryError):
        raise
    except OSError as error:
        raise NascError(f"cannot read the teacher {path}: {error.strerror or error}") from error
    except Exception as error:  # whatever a damaged or hostile file provokes; none of it can have run code
        raise NascError(f"the teacher {path} cannot be used: {_short(error)}") from error


def _require_input(shape: tuple[int | None, ...], images: tuple[int, int, int, int], path: Path) -> None:
    if not all(size is None or 1 <= size <= _LARGEST for size in shape):
        raise NascError(f"the teacher {path} takes {_text(shape)}: sizes are 1 to {_LARGEST}")
    if len(shape) != 4 or shape[1] not in (None, images[1]):
        raise NascError(
            f"the teacher {path} takes {_text(shape)}, the student images of {images[1]} channels: {_text(images)}"
        )
    if shape[0] is not None and images[0] % shape[0]:
        raise NascError(
            f"the teacher {path} takes batches of {shape[0]} images only",
            help=f"make the batch (now {images[0]}) a multiple of {shape[0]}, or export the teacher with an open batch",
        )


def _text(shape: tuple[int | None, ...]) -> str:
    return "×".join("?" if size is None else str(size) for size in shape) or "single"


def _short(error: Exception) -> str:
    """The last part of the first line of an error's message: ONNX Runtime begins with places in its own code."""
    line = (str(error) or type(error).__name__).splitlines()[0]
    return line if len(line) <= 200 else f"…{line[-200:]}"
