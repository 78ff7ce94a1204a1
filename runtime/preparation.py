"""Points on their way to an engine: models made in line, or ahead in other processes, in groups that fit memory."""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from nasc.compiler.ir import Graph
from nasc.compiler.manifest import Entry, Target
from nasc.compiler.specialise import AbsentOutput, specialise
from nasc.runtime.device import Environment, available_memory
from nasc.runtime.engine_worker import EngineWorker
from nasc.runtime.engines.base import Engine, build_plan, form_of
from nasc.runtime.measurement import Measurement
from nasc.runtime.models import Build, memory_estimate, model_of, why_not
from nasc.runtime.table import Wanted
from nasc.runtime.worker_process import Lost

GROUP = 8
"""Points that are timed interleaved, and lost together when the process is killed."""
MEMORY_SHARE = 0.5
"""Part of the free memory that the blocks of a group may take together."""


@dataclass(frozen=True)
class Task:
    """A point of an entry that is to be measured."""

    entry: Entry
    wanted: Wanted
    target: Target
    environment: Environment


@dataclass(frozen=True)
class Prepared:
    """A task with its model, or the row that says why there is none, and the bytes that the block needs of memory."""

    task: Task
    model: bytes | Measurement
    size: float = 0.0


Pending = Callable[[], Prepared]
"""What a task will be: calling it waits for it."""


class Preparation(Protocol):
    """A way to make models."""

    @property
    def ahead(self) -> int:
        """How many tasks it likes to have begun while others are timed."""

    def begin(self, task: Task) -> Pending:
        """Begin to make a task's model."""

    def close(self) -> None:
        """Leave off what has begun."""


class InLine:
    """Makes a model when it is asked for, in this process; an engine's own building takes place where the engine is."""

    ahead = 0

    def __init__(self, engine: Engine, build: Build | None = None) -> None:
        self.engine, self.build = engine, build

    def begin(self, task: Task) -> Pending:
        return lambda: prepare(task, self._model)

    def close(self) -> None:
        """Nothing goes on by itself."""

    def _model(self, graph: Graph, target: Target, environment: Environment) -> bytes:
        if isinstance(self.engine, EngineWorker) and self.build is None:
            return self.engine.model(graph, target, environment)
        return build_plan(self.engine, model_of(graph, target, form_of(self.engine), self.build), environment)


class InProcesses:
    """Makes models in several engines' processes at once, and ends them when it is closed."""

    def __init__(self, builders: Sequence[EngineWorker]) -> None:
        self.builders = builders
        self.ahead = max(GROUP, 2 * len(builders))
        self._idle: queue.SimpleQueue[EngineWorker] = queue.SimpleQueue()
        for builder in builders:
            self._idle.put(builder)
        self._pool = ThreadPoolExecutor(len(builders))

    def begin(self, task: Task) -> Pending:
        return self._pool.submit(prepare, task, self._model).result

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for builder in self.builders:
            builder.stop()
        self._pool.shutdown()
        for builder in self.builders:
            builder.close()

    def _model(self, graph: Graph, target: Target, environment: Environment) -> bytes:
        builder = self._idle.get()
        try:
            return builder.model(graph, target, environment)
        finally:
            self._idle.put(builder)


def prepare(task: Task, model: Callable[[Graph, Target, Environment], bytes]) -> Prepared:
    """A task with what `model` makes of its graph. Nothing is raised for a graph that makes no sense."""
    began = time.perf_counter()
    try:
        values = {w.address: v for w, v in zip(task.entry.widths, task.wanted.point, strict=True)}
        graph = specialise(task.entry.graph, values)
        if not graph.nodes:
            return Prepared(task, Measurement.empty())
        size, free = memory_estimate(graph, task.target.batch), memory_for_a_group()
        if size > free:
            raise Lost("out_of_memory", f"needs about {_gib(size)}, and {_gib(free)} may be used now")
        return Prepared(task, model(graph, task.target, task.environment), size)
    except AbsentOutput:
        return Prepared(task, Measurement.empty())
    except Exception as error:
        status, reason = (error.status, str(error)) if isinstance(error, Lost) else why_not(error)
        return Prepared(task, Measurement.failure(status, reason, time.perf_counter() - began))


def groups(pending: Iterable[Pending]) -> Iterator[list[Prepared]]:
    """Tasks as they become ready, in groups that fit into memory together."""
    group: list[Prepared] = []
    taken, free = 0.0, memory_for_a_group()
    for wait in pending:
        prepared = wait()
        if group and (len(group) == GROUP or taken + prepared.size > free):
            yield group
            group, taken, free = [], 0.0, memory_for_a_group()
        group.append(prepared)
        taken += prepared.size
    if group:
        yield group


def memory_for_a_group() -> float:
    """Bytes that the blocks of a group may take together."""
    free = available_memory()
    return math.inf if free is None else free * MEMORY_SHARE


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
