"""The metrics of a run for TensorBoard, beside metrics.jsonl: RUN/tensorboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nasc.dsl.diagnostics import NascError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"


class TensorboardLog:
    """Writes each epoch's record as scalars; does nothing where it is not wanted."""

    def __init__(self, out: Path, wanted: bool, epoch: int) -> None:
        """`epoch`: what earlier sessions wrote of this epoch and later ones is superseded.

        Raises `NascError` where TensorBoard is wanted and not installed.
        """
        self.writer: SummaryWriter | None = None
        if wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise NascError(
                    "TensorBoard is not installed", help="`pip install tensorboard`, or leave --tensorboard out"
                ) from error
            self.writer = SummaryWriter(str(out / FOLDER), purge_step=epoch)

    def __enter__(self) -> TensorboardLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.writer is not None:
            self.writer.close()

    def write(self, record: dict[str, Any]) -> None:
        """One epoch's record, with the numbers inside its dicts and lists."""
        if self.writer is None:
            return
        for tag, value in _scalars("", record):
            if tag != "epoch":
                self.writer.add_scalar(tag, value, record["epoch"])
        self.writer.flush()


def _scalars(tag: str, value: object) -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield tag, float(value)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _scalars(f"{tag}/{name}" if tag else str(name), part)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _scalars(f"{tag}/{index}", part)
