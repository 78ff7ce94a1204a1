"""Profiling: every point of every block of a manifest measured once, into a table that remembers.

What the table holds is not measured again, so that a run that was stopped, or killed, goes on where it was: it loses at
most the group of points in flight. A block that cannot be built or run becomes a row with its reason.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from nasc.compiler.expr import Size
from nasc.compiler.ir import Graph
from nasc.compiler.manifest import Entry, Manifest, Target
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.specialise import AbsentOutput, specialise
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment, available_memory
from nasc.runtime.engines import Engine
from nasc.runtime.measurement import Measurement, Status
from nasc.runtime.progress import Progress, standard_progress
from nasc.runtime.table import LatencyTable, Point, point_text

MAX_POINTS = 200_000
GROUP = 8
"""Points that are timed interleaved, and lost together when the process is killed."""
MEMORY_SHARE = 0.5
"""Part of the free memory that the blocks of a group may take together."""

Build = Callable[..., Any]
"""Makes an ONNX model of a graph: `nasc.compiler.lower_onnx.block_onnx`."""


@dataclass(frozen=True)
class Failure:
    """A point without a latency, and why."""

    block: str
    point: Point
    status: str
    error: str


@dataclass(frozen=True)
class ProfileReport:
    """What a run did: of `points`, `present` were in the table before, `measured` are new, `left` were not tried."""

    points: int
    present: int
    measured: int
    failures: tuple[Failure, ...]
    left: int
    unsettled: int
    seconds: float


@dataclass(frozen=True)
class _Task:
    entry: Entry
    point: Point
    target: Target
    environment: Environment


@dataclass
class _Done:
    measured: int = 0
    unsettled: int = 0
    failures: list[Failure] = field(default_factory=list)


def profile(
    manifest: Manifest,
    table: LatencyTable,
    engine: Engine,
    *,
    progress: Progress | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    build: Build | None = None,
) -> ProfileReport:
    """Measure what the manifest lists for this engine's targets and the table does not hold yet.

    Measures at most `limit` points; with `retry_failed` also those that failed before. `build` makes the ONNX model of
    a block, `nasc.compiler.lower_onnx.block_onnx` by default. Progress goes to standard error by default.

    Raises `NascError` for a manifest without a target for this engine or with more than `MAX_POINTS` points, and
    where the table cannot be written. `KeyboardInterrupt` loses at most the group of points in flight.
    """
    began = time.perf_counter()
    environments = _environments(manifest, engine)
    total = count_points(manifest) * len(environments)
    tasks = list(_tasks(manifest, table, environments, retry_failed))
    chosen = tasks[:limit]
    done = _Done()
    shown = progress or standard_progress()
    present = total - len(tasks)
    shown.start("profile", present + len(chosen), present)
    try:
        for group in _groups(chosen, build or _default_build()):
            _measure_group(group, table, engine, shown, done)
    finally:
        shown.stop()
    return ProfileReport(
        points=total,
        present=present,
        measured=done.measured,
        failures=tuple(done.failures),
        left=len(tasks) - len(chosen),
        unsettled=done.unsettled,
        seconds=time.perf_counter() - began,
    )


def points_of(entry: Entry) -> Iterator[Point]:
    """Every combination of an entry's width values; the last width varies fastest."""
    return itertools.product(*(width.domain for width in entry.widths))


def count_points(manifest: Manifest) -> int:
    """How many points a manifest spans. Raises `NascError` for more than `MAX_POINTS`."""
    total = sum(entry.points for entry in manifest.entries)
    if total > MAX_POINTS:
        largest = max(manifest.entries, key=lambda entry: entry.points)
        raise NascError(
            f"`{manifest.name}` has {total:,} points to measure, more than {MAX_POINTS:,}; "
            f"`{largest.block}` alone has {largest.points:,}",
            help="give its widths a coarser `step`",
        )
    return total


def _environments(manifest: Manifest, engine: Engine) -> list[tuple[Target, Environment]]:
    """The targets for this engine, each environment once."""
    targets = [target for target in manifest.targets if target.engine == engine.name]
    if not targets:
        named = ", ".join(sorted({target.engine for target in manifest.targets})) or "none"
        raise NascError(
            f"`{manifest.name}` has no target for engine `{engine.name}`", help=f"its targets name: {named}"
        )
    found = {environment.env_id: (t, environment) for t in targets for environment in [engine.environment(t)]}
    return list(found.values())


def _tasks(
    manifest: Manifest, table: LatencyTable, environments: list[tuple[Target, Environment]], retry_failed: bool
) -> Iterator[_Task]:
    for target, environment in environments:
        for entry in manifest.entries:
            for point in table.missing(entry.key, points_of(entry), environment, retry_failed=retry_failed):
                yield _Task(entry, point, target, environment)


def _default_build() -> Build:
    from nasc.compiler.lower_onnx import block_onnx

    return block_onnx


# ------------------------------------------------------------------------------------------------- groups

Prepared = tuple[_Task, bytes | Measurement]


def _groups(tasks: Iterable[_Task], build: Build) -> Iterator[list[Prepared]]:
    """Tasks with their models, in groups of one environment that fit into memory together."""
    for _, same in itertools.groupby(tasks, key=lambda task: task.environment.env_id):
        group: list[Prepared] = []
        taken = 0.0
        free = _memory_for_a_group()
        for task in same:
            model, size = _prepare(task, build, free)
            if group and (len(group) == GROUP or taken + size > free):
                yield group
                group, taken, free = [], 0.0, _memory_for_a_group()
            group.append((task, model))
            taken += size
        yield group


def _memory_for_a_group() -> float:
    free = available_memory()
    return math.inf if free is None else free * MEMORY_SHARE


def _prepare(task: _Task, build: Build, free: float) -> tuple[bytes | Measurement, float]:
    """The task's model and the bytes it needs, or the row that says why there is none."""
    began = time.perf_counter()
    try:
        values = {w.address: v for w, v in zip(task.entry.widths, task.point, strict=True)}
        graph = specialise(task.entry.graph, values)
        if not graph.nodes:
            return Measurement.empty(), 0
        size = memory_estimate(graph, task.target.batch)
        if size > free:
            reason = f"needs about {_gib(size)}, and {_gib(free)} may be used now"
            return Measurement.failure("out_of_memory", reason, time.perf_counter() - began), 0
        model = build(graph, batch=task.target.batch, precision=task.target.precision)
        return model.SerializeToString(), size
    except AbsentOutput:
        return Measurement.empty(), 0
    except NascError as error:
        return Measurement.failure("unsupported", error.message, time.perf_counter() - began), 0
    except Exception as error:
        # A manifest may hold any graph, and a graph that makes no sense may fail anywhere in the lowering.
        status: Status = "out_of_memory" if isinstance(error, MemoryError) else "build_failed"
        reason = f"{type(error).__name__}: {error}"
        return Measurement.failure(status, reason, time.perf_counter() - began), 0


def _measure_group(
    group: Sequence[Prepared], table: LatencyTable, engine: Engine, progress: Progress, done: _Done
) -> None:
    environment = group[0][0].environment
    reference = table.reference(environment)
    session = engine.measure([m for _, m in group if isinstance(m, bytes)], environment, reference)
    if session.reference_us is not None:
        table.set_reference(environment, session.reference_us)
    measured = iter(session.measurements)
    for task, model in group:
        row = model if isinstance(model, Measurement) else next(measured)
        table.put(task.entry.key, task.point, environment, row, task.entry.graph.model_dump_json())
        _note(task, row, done)
        progress.advance(_shown(task, row))


def _note(task: _Task, row: Measurement, done: _Done) -> None:
    if row.usable:
        done.measured += 1
        done.unsettled += row.quality in ("unsettled", "noisy")
    else:
        done.failures.append(Failure(task.entry.block, task.point, row.status, row.error or ""))


def _shown(task: _Task, row: Measurement) -> str:
    result = f"{row.median:.1f} us" if row.median is not None else row.status
    return f"{task.entry.block}{point_text(task.point)} {result}"


# ------------------------------------------------------------------------------------------------- memory


def memory_estimate(graph: Graph, batch: int) -> float:
    """Bytes that a block takes while it is measured: weights in the model, in the session and packed, and activations.

    Raises `ValueError` for a size that is still open or no whole number.
    """
    weights = 0
    elements = sum(_whole(t.channels) * t.positions for t in graph.inputs.values())
    for node in graph.nodes:
        elements += _whole(node.output.channels) * node.output.positions
        if node.op in PRIMITIVES:
            weights += _whole(PRIMITIVES[node.op].weights(node, [graph.tensor(name) for name in node.inputs]))
    return 4.0 * (3 * weights + batch * elements)


def _whole(size: Size) -> int:
    if isinstance(size, int):
        return size
    if isinstance(size, Fraction):
        raise ValueError(f"{size} is not a whole number of channels")
    raise ValueError(f"the size `{size}` depends on a decision that has no value")


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
