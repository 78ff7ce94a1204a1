"""Profiling within a budget: a plan says what is measured, the table gets estimates of the rest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from nasc.compiler.manifest import Manifest, Target
from nasc.runtime.budget import Budget, Plan, Stated
from nasc.runtime.device import Environment
from nasc.runtime.engine_worker import EngineWorker
from nasc.runtime.engines import Engine
from nasc.runtime.models import Build
from nasc.runtime.preparation import InLine, InProcesses, Task
from nasc.runtime.profile import Profiler, ProfileReport, Rows, count_points, environments_of, points_of, report_of
from nasc.runtime.progress import Progress, standard_progress
from nasc.runtime.table import LatencyTable, Point, Wanted


def profile_within(
    manifest: Manifest,
    table: LatencyTable,
    engine: Engine,
    budget: Budget,
    *,
    progress: Progress | None = None,
    retry_failed: bool = False,
    stale: timedelta | None = None,
    build: Build | None = None,
    builders: Sequence[EngineWorker] = (),
) -> ProfileReport:
    """Measure what a budget allows of each of the engine's environments, and estimate the others into the table.

    The budget is one for each environment. Everything else is as with `nasc.runtime.profile.profile`, which measures
    all. What a stopped run measured counts when it goes on; its estimates come at the end. Raises `NascError` like
    that.
    """
    began = time.perf_counter()
    shown = progress or standard_progress()
    environments = environments_of(manifest, engine, shown)
    total = count_points(manifest) * len(environments)
    stale_before = None if stale is None else datetime.now(UTC) - stale
    wanted = {
        environment.env_id: _wanted(manifest, table, environment, retry_failed, stale_before)
        for _, environment in environments
    }
    missing = sum(map(len, wanted.values()))
    allowed = sum(
        budget.limit(total // len(environments), total // len(environments) - len(w)) for w in wanted.values()
    )
    shown.start("profile", total - missing + allowed, total - missing)
    preparation = InProcesses(builders) if builders else InLine(engine, build)
    estimated, stated = 0, list[Stated]()
    try:
        with Profiler(table, engine, preparation, shown) as profiler:
            for target, environment in environments:
                plan = _measured(manifest, target, environment, budget, profiler, wanted[environment.env_id])
                estimated += _estimated(plan, table, environment)
                stated += [plan.stated] if plan.stated else []
    finally:
        shown.stop()
    report = report_of(profiler.done, total, missing, time.perf_counter() - began)
    return replace(report, estimated=estimated, stated=tuple(stated))


def _wanted(
    manifest: Manifest, table: LatencyTable, environment: Environment, retry_failed: bool, stale: datetime | None
) -> dict[tuple[str, Point], Wanted]:
    return {
        (entry.key, wanted.point): wanted
        for entry in manifest.entries
        for wanted in table.wanted(
            entry.key, points_of(entry), environment, retry_failed=retry_failed, stale_before=stale
        )
    }


def _measured(
    manifest: Manifest,
    target: Target,
    environment: Environment,
    budget: Budget,
    profiler: Profiler,
    wanted: Mapping[tuple[str, Point], Wanted],
) -> Plan:
    """A plan at its end, everything that it asked for measured."""
    began = time.perf_counter()
    known: Rows = {
        (entry.key, point): row
        for entry in manifest.entries
        for point, row in profiler.table.points(entry.key, environment).items()
        if (entry.key, point) not in wanted
    }
    plan = Plan(manifest.entries, budget, known=known)
    rows: Rows = {}
    while batch := plan.next(rows, time.perf_counter() - began):
        rows = profiler.measure([Task(e, wanted[e.key, point], target, environment) for e, point in batch])
    return plan


def _estimated(plan: Plan, table: LatencyTable, environment: Environment) -> int:
    """Put a plan's estimates in the place of those that were there before; how many they are.

    Those of a block's other widths stay: another space has them.
    """
    estimates = plan.estimates()
    table.drop_estimates(plan.grid.keys, environment)
    for (key, point), estimate in estimates.items():
        table.put_estimate(key, point, environment, estimate, plan.entries[key].graph.model_dump_json())
    return len(estimates)
