"""What a search is given and what it hands back: the interface of the run-time half of a search method.

A generated `search.py` imports this for its `Job`; torch is imported only when there is something to search.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nasc.compiler.elaborate import Space
    from nasc.compiler.ir import Network
    from nasc.compiler.member import Member
    from nasc.compiler.methods.plugins import Method
    from nasc.dsl.loader import Module
    from nasc.runtime.data import DataSplits
    from nasc.runtime.progress import Progress
    from nasc.runtime.ranks import Ranks

Amp = Literal["auto", "on", "off"]
"""Mixed precision; `auto`: on a GPU only."""

ChannelsLast = Literal["auto", "on", "off"]
"""How images lie in memory; `auto`: on a CPU without mixed precision, where it was measured to be faster."""


@dataclass(frozen=True)
class CompiledSupernet:
    """Makes the SuperNet of a compiled folder: the class `name` of its `supernet.py`, which is imported then.

    That file is code, made of a `.nas` file by `nasc compile`, and run like the `search.py` beside it.
    """

    folder: Path
    name: str

    def __call__(self) -> nn.Module:
        spec = importlib.util.spec_from_file_location("nasc_compiled_supernet", self.folder / "supernet.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        supernet: nn.Module = getattr(module, self.name)()
        return supernet


@dataclass(frozen=True)
class Job:
    """What a generated search module knows: its space, what makes its SuperNet where the method has one, and the
    options of the file's search section."""

    space: str
    space_hash: str
    folder: Path
    supernet: Callable[[], nn.Module] | None
    input_shape: tuple[int, int, int]
    classes: int
    method: str
    options: dict[str, Any]


class Settings(BaseModel):
    """What a user says beside the method's options.

    `steps` cuts each part of an epoch short: a trial. `warmup_from` is the checkpoint of another run's warm-up, to go
    on from; `data_seed` then draws the same training images as that run. `until_warmup` stops where warm-up ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    out: Path | None = None
    table: Path | None = None
    steps: int | None = Field(None, ge=1)
    resume: bool = False
    device: str = "auto"
    threads: int | None = Field(None, ge=1)
    workers: int = Field(0, ge=0)
    accumulate: int = Field(1, ge=1)
    amp: Amp = "auto"
    channels_last: ChannelsLast = "auto"
    checkpoint_activations: bool = False
    tensorboard: bool = False
    warmup_from: Path | None = None
    data_seed: int | None = Field(None, ge=0)
    until_warmup: bool = False

    def split_seed(self, options: Any) -> int:
        """The seed that the images are split by: a method's options have that of the run."""
        return int(options.seed) if self.data_seed is None else self.data_seed


@dataclass(frozen=True)
class Source:
    """The space that is searched: as text, elaborated, and as a network."""

    module: Module
    space: Space
    network: Network


@dataclass(frozen=True)
class Context:
    """All that a method's `search` works with; `identity` says which run it is, for its checkpoints."""

    job: Job
    method: Method
    options: Any
    settings: Settings
    source: Source
    data: DataSplits
    device: torch.device
    out: Path
    progress: Progress
    identity: dict[str, Any]
    ranks: Ranks


@dataclass(frozen=True)
class Outcome:
    """The end of a search.

    `cost` (in `unit`), `loss` and `cross_entropy` are of the run's last epoch, or of the member where members are
    compared; `details` goes into result.json. `state` makes the state dict of the member's `model.py`, of the member's
    network. `member` is None where the search was to stop before its end.
    """

    member: Member | None
    cost: float
    unit: str
    loss: float
    cross_entropy: float
    epochs: int
    seconds: float
    details: dict[str, Any]
    state: Callable[[Network], dict[str, Tensor]] | None = None


@dataclass(frozen=True)
class SearchResult:
    """What a search found: `best` is the found network's file where one was written, `accuracy` that of the network
    with the weights it comes with, on the validation images."""

    cost: float
    unit: str
    loss: float
    cross_entropy: float
    accuracy: float | None
    best: Path | None
    details: dict[str, Any]
