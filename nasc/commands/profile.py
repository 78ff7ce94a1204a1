"""`nasc profile`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasc.commands.common import PATH, example, format_option, print_json

if TYPE_CHECKING:
    from nasc.compiler.manifest import Manifest
    from nasc.runtime.profile import ProfileReport

SHOWN_FAILURES = 5


@click.command(epilog=example("nasc profile build/digits --table latency.db"))
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--table", type=PATH, required=True, metavar="FILE", help="The latency table, made where there is none.")
@click.option("--engine", help="Measure with this engine.  [default: those of the manifest's targets]")
@click.option("--limit", type=click.IntRange(min=1), help="Measure at most so many points now.")
@click.option("--retry-failed", is_flag=True, help="Try again what failed before.")
@format_option
def command(folder: Path, table: Path, engine: str | None, limit: int | None, retry_failed: bool, form: str) -> None:
    """Measure the latency of every block that the compiled folder DIR lists.

    What the table holds is not measured again: a run that was stopped goes on where it was. A block that cannot be
    built or run is recorded with its reason.
    """
    from nasc.runtime.engines import make_engine
    from nasc.runtime.manifest_file import load_manifest
    from nasc.runtime.profile import profile
    from nasc.runtime.table import LatencyTable

    manifest = load_manifest(folder)
    names = [engine] if engine else list(dict.fromkeys(t.engine for t in manifest.targets))
    manifest = _with_targets(manifest, names)
    reports = {}
    with LatencyTable(table) as opened:
        for name in names:
            made = make_engine(name)
            reports[name] = profile(manifest, opened, made, limit=limit, retry_failed=retry_failed)
    if form == "json":
        print_json({name: _as_json(report) for name, report in reports.items()})
    else:
        for name, report in reports.items():
            click.echo("\n".join(_lines(name, report)))


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
    if report.unsettled:
        lines.append(f"  {report.unsettled} did not settle: this machine was busy")
    lines += [f"  failed: {f.block} {f.status}: {f.error}" for f in report.failures[:SHOWN_FAILURES]]
    return lines
