"""Text for language models: a file, or a folder of files, as bytes or as token numbers that were made before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nasc.dsl.diagnostics import NascError
from nasc.runtime.data_preparation import Preparation
from nasc.runtime.data_splits import DataSplits
from nasc.runtime.seeds import derived_generator

_PARTS = ("train", "val", "test")
_TRAINED = 0.9
"""The part of a single text, from its start, that is trained on; what follows is for validation."""
_NUMBERS = ("uint8", "uint16")
_HELP = "`text:FILE` is a file of text, or of token numbers (.npy, one dimension, uint8 or uint16); or a folder of .txt"


@dataclass(frozen=True, eq=False)
class TextWindows(Dataset[tuple[Tensor, Tensor]]):
    """A text cut into sequences of `tokens` numbers, each with the numbers that follow its own (both int64).

    Of `numbers` there are at least two more than `tokens`. Sequence i starts at `first` + i · `tokens`; one that would
    reach beyond the end starts anew near the beginning.
    """

    numbers: Tensor
    tokens: int
    first: int = 0

    def __len__(self) -> int:
        return (len(self.numbers) - 1) // self.tokens

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sequences, following = self.batch(torch.tensor([index]))
        return sequences[0], following[0]

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Sequences N×tokens and what follows each of their numbers, N×tokens, at these indices."""
        starts = (self.first + indices * self.tokens) % (len(self.numbers) - self.tokens)
        both = self.numbers[starts[:, None] + torch.arange(self.tokens + 1)].to(torch.int64)
        return both[:, :-1], both[:, 1:]

    def drawn(self, seed: int, epoch: int) -> TextWindows:
        """The same text cut at other places, as training does in each epoch."""
        generator = derived_generator(seed, "windows", epoch)
        return replace(self, first=int(torch.randint(self.tokens, (), generator=generator)))


def load_text(
    spec: str, tokens: int, vocabulary: int, root: Path, preparation: Preparation, class_fraction: float
) -> DataSplits:
    """The text that `text:PATH` names, in sequences of `tokens` numbers below `vocabulary`.

    A file's bytes are its tokens, unless it is a `.npy` of token numbers. The first nine tenths of a text are for
    training, the rest is for validation. A folder has `train`, `val` and perhaps `test` (`.txt` or `.npy`), or any
    `.txt` files, which are one text in the order of their names.
    Raises NascError where there is no such text, where it is too short, and where it has other tokens.
    """
    kind, _, name = spec.partition(":")
    if kind != "text" or not name:
        raise NascError(f"the network reads token numbers, which `{spec}` has not", help="name a text: `text:FILE`")
    preparation.require_none(spec)
    if class_fraction != 1:
        raise NascError(f"`{spec}` has no classes to take a fraction of", help="leave the class fraction at 1")
    path = root / Path(name).expanduser()
    found = _parts(path)
    splits = {part: TextWindows(_checked(path, part, found[part], tokens, vocabulary), tokens) for part in found}
    return DataSplits(spec, vocabulary, (tokens,), (), (), splits["train"], splits["val"], splits.get("test"))


def _parts(path: Path) -> dict[str, Tensor]:
    """The numbers for training, validation and perhaps the test."""
    if not path.is_dir():
        return _halved(_read(path))
    named = {part: file for part in _PARTS for file in (path / f"{part}.npy", path / f"{part}.txt") if file.is_file()}
    if {"train", "val"} <= named.keys():
        return {part: _read(file) for part, file in named.items()}
    files = sorted(path.rglob("*.txt"))
    if not files:
        raise NascError(f"{path} has no .txt files", help=_HELP)
    return _halved(torch.cat([_read(file) for file in files]))


def _halved(numbers: Tensor) -> dict[str, Tensor]:
    end = round(_TRAINED * len(numbers))
    return {"train": numbers[:end], "val": numbers[end:]}


def _read(path: Path) -> Tensor:
    """The tokens of a file: bytes as they are, others as int32, which torch can index."""
    try:
        if path.suffix != ".npy":
            return torch.from_numpy(np.fromfile(path, dtype=np.uint8))
        found = np.load(path, allow_pickle=False)
    except OSError as error:
        raise NascError(f"{path} cannot be read: {error.strerror or error}", help=_HELP) from None
    except (ValueError, EOFError, MemoryError, OverflowError, SyntaxError) as error:
        raise NascError(f"{path} is no readable .npy file: {error}", help=_HELP) from None
    if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype.name not in _NUMBERS:
        raise NascError(f"{path} does not hold one row of uint8 or uint16", help=_HELP)
    return torch.from_numpy(found if found.dtype == np.uint8 else found.astype(np.int32))


def _checked(path: Path, part: str, numbers: Tensor, tokens: int, vocabulary: int) -> Tensor:
    if len(numbers) < tokens + 2:
        raise NascError(
            f"{path}: {len(numbers)} tokens are too few for {part}, of which each sequence has {tokens}",
            help="a text has at least two tokens more than a sequence",
        )
    largest = int(numbers.max())
    if largest >= vocabulary:
        raise NascError(
            f"{path} has the token {largest}, the network only {vocabulary}",
            help="bytes need `output tokens 256`; token numbers as many as their vocabulary has",
        )
    return numbers
