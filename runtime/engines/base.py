"""What an inference engine is to the profiler: a name, whether it can run here, and a way to time models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from nasc.compiler.manifest import Target
from nasc.runtime.device import Environment
from nasc.runtime.measurement import Measurement, Status

Form = Literal["onnx", "graph"]
"""What a model is handed over as: serialised ONNX, or the JSON of a graph whose sizes are all known."""


class TimingOptions(BaseModel):
    """How long to measure and what to believe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_us: float = Field(default=2000.0, gt=0)
    """Runs of a block are repeated in each round until they take about this long."""
    min_rounds: int = Field(default=5, ge=2)
    max_rounds: int = Field(default=100, ge=2)
    error: float = Field(default=0.01, gt=0)
    """A point is settled when the standard error of its median falls below this fraction of it."""
    wall_over_cpu: float = Field(default=1.05, gt=1)
    """A batch that took longer than this times its CPU time was interrupted, and is dropped."""
    canary_tolerance: float = Field(default=0.10, gt=0)
    """A round whose canary is further than this from its median is dropped."""
    point_seconds: float = Field(default=60.0, gt=0)
    """No point takes longer than this, nor does one run of it."""
    build_seconds: float = Field(default=120.0, gt=0)
    """No model takes longer to build."""
    seed: int = 0
    ceilings: Path | None = None
    """What the analytic engine takes for the device's speed; None: what was measured of this machine."""
    builder_level: int = Field(default=3, ge=0, le=5)
    """How hard TensorRT's builder searches for kernels."""
    cuda_graph: bool = True
    """Replay a CUDA graph in place of launching kernel by kernel, where an engine can do both."""


@dataclass(frozen=True)
class Session:
    """Measurements of one call, and the canary time that all of them are relative to."""

    measurements: tuple[Measurement, ...]
    reference_us: float | None


class NotBuilt(Exception):
    """A model that an engine cannot build, and the status of the row that says so."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status


class Engine(Protocol):
    """An inference engine whose latency can be measured.

    Two things more it may have. `form`, a `Form`, says what its models are handed over as ("onnx" without it).
    A method `build(model, environment) -> bytes` makes of a model a plan, which `measure` then takes in its place, and
    raises `NotBuilt` where it cannot: building may go on in other processes, ahead of timing.
    """

    @property
    def name(self) -> str:
        """What a target calls it."""

    def available(self) -> str | None:
        """None where it can run on this machine, else why not and what to do."""

    def environment(self, target: Target) -> Environment:
        """What its latencies for a target are measured in. Raises `NascError` for a target it cannot serve."""

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        """Time models, or plans, interleaved with each other; one measurement each, in their order.

        A model that cannot be built or run gives a measurement with its reason; nothing is raised for it.
        `reference_us` is the canary's time that earlier measurements of this environment are relative to, if any.
        """


def form_of(engine: Engine) -> Form:
    """What an engine takes its models as."""
    return getattr(engine, "form", "onnx")


def build_plan(engine: Engine, model: bytes, environment: Environment) -> bytes:
    """What an engine's `measure` takes for a model: the model itself where there is nothing to build.

    Raises `NotBuilt` where the engine cannot build it.
    """
    build: Callable[[bytes, Environment], bytes] | None = getattr(engine, "build", None)
    return model if build is None else build(model, environment)
