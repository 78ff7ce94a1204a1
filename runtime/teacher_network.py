"""What a teacher's file gives, whatever its format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TeacherNetwork:
    """A network from a file: `run` takes float32 images N×C×H×W to its output.

    `input_shape` is (N, C, H, W), with None where a size is open. `digest` identifies network and weights.
    """

    run: Callable[[Tensor], Tensor]
    input_shape: tuple[int | None, ...]
    digest: str
