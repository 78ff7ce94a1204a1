"""Profiling: every point of every block of a manifest measured once, into a table that remembers.

What the table holds is not measured again, so that a run that was stopped, or killed, goes on where it was: it loses at
most the group of points in flight. Several runs may fill one table: each claims its points in it first, and a lock for
each device lets one of them time at once. A block that cannot be built or run becomes a row with its reason.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from nasc.compiler.manifest import Entry, Manifest, Target
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment, names_kind
from nasc.runtime.device_lock import device_lock
from nasc.runtime.engine_worker import EngineWorker
from nasc.runtime.engines import Engine
from nasc.runtime.interruption import Interruption
from nasc.runtime.measurement import Measurement
from nasc.runtime.models import Build, graph_json
from nasc.runtime.owners import new_owner
from nasc.runtime.preparation import GROUP, InLine, InProcesses, Pending, Preparation, Prepared, Task, groups
from nasc.runtime.progress import Progress, standard_progress
from nasc.runtime.table import LatencyTable, Point, point_text

if TYPE_CHECKING:
    from nasc.runtime.budget import Stated

MAX_POINTS = 200_000
CLAIM_SECONDS = 3600.0
"""How long points stay claimed by a run on another machine of which nothing was heard; a dead one here is known."""

Rows = dict[tuple[str, Point], Measurement]
"""Rows of one environment, or of the last one measured in, by entry key and point."""


@dataclass(frozen=True)
class Failure:
    """A point without a latency, and why."""

    block: str
    point: Point
    status: str
    error: str


@dataclass(frozen=True)
class ProfileReport:
    """What a run did of `points`.

    `present` were in the table before, `measured` are new, `failures` too; `elsewhere` were measured by other runs
    meanwhile, `held` are in their hands still, and `left` were not tried. Within a budget, `estimated` points have
    estimates now, and `stated` says how far those are off in each environment in which enough was measured to tell.
    """

    points: int
    present: int
    measured: int
    failures: tuple[Failure, ...]
    left: int
    unsettled: int
    seconds: float
    elsewhere: int = 0
    held: int = 0
    estimated: int = 0
    stated: tuple[Stated, ...] = ()


def profile(
    manifest: Manifest,
    table: LatencyTable,
    engine: Engine,
    *,
    progress: Progress | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    stale: timedelta | None = None,
    build: Build | None = None,
    builders: Sequence[EngineWorker] = (),
) -> ProfileReport:
    """Measure what the manifest lists for this engine's targets and the table does not hold yet.

    Measures at most `limit` points; with `retry_failed` also those that failed before, with `stale` those whose row is
    older than that. `build` makes the ONNX model of a block, `nasc.compiler.lower_onnx.block_onnx` by default. With
    `builders`, processes of the same engine, models are made in them ahead of timing, and they end with the run.
    Progress goes to standard error by default.

    Raises `NascError` for a manifest without a target for this engine or with more than `MAX_POINTS` points, and
    where the table cannot be written. `KeyboardInterrupt` loses at most the group of points in flight.
    """
    began = time.perf_counter()
    shown = progress or standard_progress()
    environments = environments_of(manifest, engine, shown)
    total = count_points(manifest) * len(environments)
    stale_before = None if stale is None else datetime.now(UTC) - stale
    tasks = list(_tasks(manifest, table, environments, retry_failed, stale_before))
    present = total - len(tasks)
    shown.start("profile", total if limit is None else min(total, present + limit), present)
    preparation = InProcesses(builders) if builders else InLine(engine, build)
    try:
        with Profiler(table, engine, preparation, shown) as profiler:
            profiler.measure(tasks, limit)
    finally:
        shown.stop()
    return report_of(profiler.done, total, len(tasks), time.perf_counter() - began)


def report_of(done: Done, points: int, wanted: int, seconds: float) -> ProfileReport:
    """The report of a run that found `wanted` of so many points not in the table."""
    return ProfileReport(
        points=points,
        present=points - wanted,
        measured=done.measured,
        failures=tuple(done.failures),
        left=wanted - done.own - done.elsewhere - done.held,
        unsettled=done.unsettled,
        seconds=seconds,
        elsewhere=done.elsewhere,
        held=done.held,
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


def environments_of(manifest: Manifest, engine: Engine, progress: Progress) -> list[tuple[Target, Environment]]:
    """The targets for this engine, each environment once; those that another machine is meant by are named and left.

    Raises `NascError` where there is none.
    """
    targets = [target for target in manifest.targets if target.engine == engine.name]
    if not targets:
        named = ", ".join(sorted({target.engine for target in manifest.targets})) or "none"
        raise NascError(
            f"`{manifest.name}` has no target for engine `{engine.name}`", help=f"its targets name: {named}"
        )
    every = [(target, environment_of(engine, target)) for target in targets]
    here = [(target, environment) for target, environment in every if environment.device.is_called(target.device)]
    elsewhere = [word for target, environment in every if (word := not_here(target, environment)) is not None]
    if not here:
        raise NascError("; ".join(elsewhere), help="profile where that device is, and `nasc table merge` the tables")
    for word in elsewhere:
        progress.line(word)
    return list({environment.env_id: (target, environment) for target, environment in here}.values())


def environment_of(engine: Engine, target: Target) -> Environment:
    """What an engine's latencies here are measured in for a target, whose device may be another one; see `not_here`."""
    named = target.device is not None and not names_kind(target.device)
    return engine.environment(target.model_copy(update={"device": None}) if named else target)


def not_here(target: Target, environment: Environment) -> str | None:
    """What to say of a target whose device is not the one that an engine measures here; None where it is."""
    if environment.device.is_called(target.device):
        return None
    return f"target `{target.name}` is for the device `{target.device}`, and this is {environment.device.model}"


def _tasks(
    manifest: Manifest,
    table: LatencyTable,
    environments: list[tuple[Target, Environment]],
    retry_failed: bool,
    stale_before: datetime | None,
) -> Iterator[Task]:
    for target, environment in environments:
        for entry in manifest.entries:
            for wanted in table.wanted(
                entry.key, points_of(entry), environment, retry_failed=retry_failed, stale_before=stale_before
            ):
                yield Task(entry, wanted, target, environment)


# ------------------------------------------------------------------------------------------------- measuring


@dataclass
class Done:
    """What came of the tasks so far."""

    measured: int = 0
    unsettled: int = 0
    failures: list[Failure] = field(default_factory=list)
    elsewhere: int = 0
    held: int = 0

    @property
    def own(self) -> int:
        """How many rows this run has written."""
        return self.measured + len(self.failures)


class Profiler:
    """Measures tasks into a table that others may be filling too. A context manager: its claims end with it."""

    def __init__(self, table: LatencyTable, engine: Engine, preparation: Preparation, progress: Progress) -> None:
        self.table, self.engine, self.preparation, self.progress = table, engine, preparation, progress
        self.owner = new_owner()
        self.done = Done()
        self.interruption = Interruption()

    def __enter__(self) -> Profiler:
        self.interruption.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.interruption.__exit__(*error)
        self.preparation.close()
        # Where the table cannot be written, that has been said; and a claim ends with its process at last.
        with suppress(NascError):
            self.table.release(self.owner)

    def measure(self, tasks: Sequence[Task], limit: int | None = None) -> Rows:
        """Measure tasks, at most `limit` of them. What other runs are at is left to them, unless they give it up."""
        rows: Rows = {}
        most = math.inf if limit is None else self.done.own + limit
        before = math.inf
        while 0 < len(tasks) < before and self.done.own < most:
            before = len(tasks)
            tasks = self._pass(tasks, most, rows)
        self.done.held += len(tasks)
        return rows

    def _pass(self, tasks: Sequence[Task], most: float, rows: Rows) -> list[Task]:
        """Go through tasks once; gives those that other runs hold."""
        held: list[Task] = []
        begun: deque[list[Pending]] = deque()
        for claimed in self._claimed(tasks, most - self.done.own, held):
            begun.append([self.preparation.begin(task) for task in claimed])
            while sum(map(len, begun)) > self.preparation.ahead:
                self._finish(begun.popleft(), rows)
        while begun:
            self._finish(begun.popleft(), rows)
        self.interruption.check()
        return held

    def _claimed(self, tasks: Sequence[Task], room: float, held: list[Task]) -> Iterator[list[Task]]:
        """Tasks that this run got, a group of one environment at a time."""
        for _, same in itertools.groupby(tasks, key=lambda task: task.environment.env_id):
            while room and (claimed := self._claim(same, int(min(room, GROUP)), held)):
                room -= len(claimed)
                yield claimed

    def _claim(self, tasks: Iterator[Task], count: int, held: list[Task]) -> list[Task]:
        granted: list[Task] = []
        while len(granted) < count and (some := list(itertools.islice(tasks, count - len(granted)))):
            wanted = [task.wanted for task in some]
            verdicts = self.table.claim(wanted, some[0].environment, self.owner, CLAIM_SECONDS)
            for task, verdict in zip(some, verdicts, strict=True):
                if verdict == "done":
                    self.done.elsewhere += 1
                    self.progress.advance("measured by another run")
                else:
                    (granted if verdict == "granted" else held).append(task)
        return granted

    def _finish(self, pending: Sequence[Pending], rows: Rows) -> None:
        for group in groups(pending):
            for prepared, row in zip(group, self._timed(group), strict=True):
                self.interruption.check()  # what came of it must not become a row
                task = prepared.task
                graph = graph_json(task.entry.graph)
                self.table.put(task.entry.key, task.wanted.point, task.environment, row, graph)
                rows[task.entry.key, task.wanted.point] = row
                self._note(task, row)

    def _timed(self, group: Sequence[Prepared]) -> list[Measurement]:
        """A row for each of a group; the models are timed while nothing else is on their device."""
        environment = group[0].task.environment
        models = [prepared.model for prepared in group if isinstance(prepared.model, bytes)]
        measured: Iterator[Measurement] = iter(())
        if models:
            with device_lock(environment.device, waiting=self._renew):
                self._renew()
                session = self.engine.measure(models, environment, self.table.reference(environment))
                if session.reference_us is not None:
                    self.table.set_reference(environment, session.reference_us)
            measured = iter(session.measurements)
        return [p.model if isinstance(p.model, Measurement) else next(measured) for p in group]

    def _renew(self) -> None:
        self.table.renew(self.owner, CLAIM_SECONDS)

    def _note(self, task: Task, row: Measurement) -> None:
        point = task.wanted.point
        if row.usable:
            self.done.measured += 1
            self.done.unsettled += row.quality in ("unsettled", "noisy")
        else:
            self.done.failures.append(Failure(task.entry.block, point, row.status, row.error or ""))
        result = f"{row.median:.1f} us" if row.median is not None else row.status
        failed = f", {len(self.done.failures)} failed" if self.done.failures else ""
        self.progress.advance(f"{task.entry.block}{point_text(point)} {result}{failed}")
