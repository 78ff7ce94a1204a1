"""`nasc profile`."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nasc.commands.common import PATH, example, format_option, print_json, resumable
from nasc.completing import engines
from nasc.validation import draw, validated, validation_json, validation_lines

if TYPE_CHECKING:
    from nasc.compiler.manifest import Manifest
    from nasc.runtime.budget import Budget
    from nasc.runtime.engines import TimingOptions
    from nasc.runtime.profile import ProfileReport
    from nasc.runtime.table import LatencyTable
    from nasc.runtime.validate import Validation

SHOWN_FAILURES = 5
UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _age(context: click.Context, parameter: click.Parameter, value: str | None) -> timedelta | None:
    """A number of seconds, minutes, hours, days or weeks, such as `30d`."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,9})(s|min|h|d|w)", value)
    try:
        return timedelta(seconds=int(found[1]) * UNITS[found[2]]) if found else _no_age(value)
    except OverflowError:
        return _no_age(value)


def _no_age(value: str) -> NoReturn:
    raise click.BadParameter(f"`{value}` is no age; write a number and one of {', '.join(UNITS)}, such as 30d")


@click.command(
    epilog=example(
        "nasc profile build/digits --table latency.db", "nasc profile build/digits --table latency.db --validate 20"
    )
)
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--table", type=PATH, required=True, metavar="FILE", help="The latency table, made where there is none.")
@click.option("--target", metavar="NAME", help="Measure for this target of the file only.  [default: all of them]")
@click.option("--engine", shell_complete=engines, help="Measure with this engine.  [default: those of the targets]")
@click.option(
    "--budget",
    metavar="BUDGET",
    help="Measure only so much and estimate the rest: 15% of the points, 200 points, 10min, until 'error 3%', or the "
    "first of several with commas.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Measure at most so many points now.")
@click.option("--retry-failed", is_flag=True, help="Try again what failed before.")
@click.option(
    "--stale", metavar="AGE", callback=_age, help="Measure again what is older than this, such as 30d or 12h."
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Build in so many processes.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="A block that runs longer fails.",
)
@click.option(
    "--validate",
    type=click.IntRange(min=2),
    metavar="K",
    help="Then measure K random members whole, say how well the sum of their blocks predicts them, and correct it.",
)
@click.option("--picture", type=PATH, metavar="FILE", help="Draw that into an SVG file.")
@click.option("--ceilings", type=PATH, metavar="FILE", help="The device's speed, for the analytic engine.")
@click.option("--builder-level", type=click.IntRange(0, 5), default=3, show_default=True, help="TensorRT's effort.")
@click.option("--cuda-graph/--no-cuda-graph", default=True, show_default=True, help="How an NVIDIA GPU is launched.")
@format_option
def command(
    folder: Path,
    table: Path,
    target: str | None,
    engine: str | None,
    budget: str | None,
    limit: int | None,
    retry_failed: bool,
    stale: timedelta | None,
    jobs: int,
    validate: int | None,
    picture: Path | None,
    form: str,
    **timing: Any,
) -> None:
    """Measure the latency of every block that the compiled folder DIR lists, for each target of its file.

    What the table holds is not measured again: a run that was stopped goes on where it was, and several runs may fill
    one table at the same time. A block that cannot be built or run, or takes its engine down, is recorded with its
    reason, and the run goes on; it ends with exit code 0 all the same.

    With --budget some widths of each block are measured and the latencies of the others are interpolated, each with an
    error bar. Some points are kept back from that to tell how far off it is. Everything is measured without it, and
    later runs may measure what was estimated.

    Timing is serial on each device. With --jobs above 1 what is timed next is built meanwhile, in processes of its
    own: that helps where building is slow and goes on beside the device, as with TensorRT; beside timing on a CPU it
    disturbs that.
    """
    from nasc.runtime.manifest_file import load_manifest
    from nasc.runtime.table import LatencyTable

    jobs_by_name = _jobs(load_manifest(folder), target, engine)
    options = _options(**timing)
    asked = {"limit": limit, "budget": _budget(budget, limit), "retry_failed": retry_failed, "stale": stale}
    if picture is not None and validate is None:
        raise click.UsageError("--picture shows what --validate measures: add --validate 20")
    validations: dict[str, list[Validation]] = {name: [] for name in jobs_by_name}
    with LatencyTable(table) as opened, resumable("the same command goes on"):
        reports = {name: _profiled(job, opened, options, jobs, asked) for name, job in jobs_by_name.items()}
        if validate is not None:
            for name, job in jobs_by_name.items():
                validations[name] = validated(folder, job.manifest, opened, job.engine, options, validate)
    if picture is not None:
        draw([one for found in validations.values() for one in found], picture)
    if form == "json":
        print_json(
            {
                name: {**_as_json(report), "validations": [validation_json(one) for one in validations[name]]}
                for name, report in reports.items()
            }
        )
        return
    for name, report in reports.items():
        click.echo("\n".join(_lines(name, report)))
        for found in validations[name]:
            click.echo("\n".join(validation_lines(found)))


def _options(*, timeout: float, **others: Any) -> TimingOptions:
    from nasc.runtime.engines import TimingOptions

    return TimingOptions(point_seconds=timeout, **others)


@dataclass(frozen=True)
class _Job:
    """What is measured with one engine at one input size."""

    engine: str
    manifest: Manifest


def _jobs(manifest: Manifest, target: str | None, engine: str | None) -> dict[str, _Job]:
    """What there is to do, by the name that it is reported under. Raises `NascError` for an unknown name."""
    from nasc.runtime.engines import engine_place
    from nasc.runtime.targets import only_target

    if target is not None:
        manifest = only_target(manifest, target)
        if engine not in (None, manifest.targets[0].engine):
            raise click.UsageError(f"the target `{target}` has the engine `{manifest.targets[0].engine}`")
    names = [engine] if engine else list(dict.fromkeys(t.engine for t in manifest.targets))
    manifest = _with_targets(manifest, names)
    found: dict[str, _Job] = {}
    for name in names:
        engine_place(name)
        for size in manifest.sizes:
            part = manifest.at(size)
            if any(each.engine == name for each in part.targets):
                found[name if size is None else f"{name}, size {size}"] = _Job(name, part)
    return found


def _profiled(
    job: _Job, table: LatencyTable, options: TimingOptions, jobs: int, asked: dict[str, Any]
) -> ProfileReport:
    from nasc.runtime.engine_worker import EngineWorker
    from nasc.runtime.profile import profile
    from nasc.runtime.profile_budget import profile_within

    limit, budget, others = asked["limit"], asked["budget"], {key: asked[key] for key in ("retry_failed", "stale")}

    builders = [EngineWorker(job.engine, options) for _ in range(jobs)] if jobs > 1 else []
    with EngineWorker(job.engine, options) as engine:
        if budget is not None:
            return profile_within(job.manifest, table, engine, budget, builders=builders, **others)
        return profile(job.manifest, table, engine, builders=builders, limit=limit, **others)


def _budget(text: str | None, limit: int | None) -> Budget | None:
    from nasc.runtime.budget import Budget

    if text is not None and limit is not None:
        raise click.UsageError("--budget and --limit both say how much is measured; `--budget 200` is 200 points")
    return None if text is None else Budget.parse(text)


def _with_targets(manifest: Manifest, engines: list[str]) -> Manifest:
    """The manifest with a target for every engine: one asked for that no target names gets a plain one."""
    from nasc.compiler.manifest import Target

    there = {target.engine for target in manifest.targets}
    added = tuple(Target(name=name, engine=name) for name in engines if name not in there)
    return manifest.model_copy(update={"targets": (*manifest.targets, *added)})


def _as_json(report: ProfileReport) -> dict[str, Any]:
    failures = [{**asdict(f), "point": [str(value) for value in f.point]} for f in report.failures]
    return {**asdict(report), "failures": failures}


def _lines(engine: str, report: ProfileReport) -> list[str]:
    lines = [
        f"{engine}: {report.points} points; {report.measured} measured in {report.seconds:.0f} s, "
        f"{report.present} were there, {len(report.failures)} failed, {report.left} left"
    ]
    if report.elsewhere or report.held:
        lines.append(f"  {report.elsewhere} were measured by other runs meanwhile, {report.held} are in their hands")
    if report.unsettled:
        lines.append(f"  {report.unsettled} did not settle: this machine was busy")
    if report.estimated:
        lines.append(f"  {report.estimated} of those left were estimated")
    for stated in report.stated:
        lines.append(
            f"  of {stated.points} measured points kept back half were predicted within {stated.median:.1%}, "
            f"nineteen in twenty within {stated.high:.1%}"
        )
    lines += [f"  failed: {f.block} {f.status}: {f.error}" for f in report.failures[:SHOWN_FAILURES]]
    return lines
