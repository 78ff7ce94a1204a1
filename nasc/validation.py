"""The part of `nasc profile` that measures whole networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasc.dsl.diagnostics import NascError

if TYPE_CHECKING:
    from nasc.compiler.manifest import Manifest
    from nasc.runtime.engines import TimingOptions
    from nasc.runtime.table import LatencyTable
    from nasc.runtime.validate import Validation


def validated(
    folder: Path, manifest: Manifest, table: LatencyTable, engine: str, options: TimingOptions, count: int
) -> list[Validation]:
    """Measure `count` random members for each of an engine's targets. Raises `NascError` as `validate` does."""
    from nasc.compiler.opened import open_file, space_of
    from nasc.runtime.engines import make_engine
    from nasc.runtime.profile import environment_of, not_here
    from nasc.runtime.progress import standard_progress
    from nasc.runtime.validate import validate

    path = folder / "space.nas"
    if not path.is_file():
        raise NascError(f"there is no {path}, whose members would be measured", help="compile the space again")
    checked = open_file(path)
    made, progress = make_engine(engine, options), standard_progress()
    return [
        validate(checked.module, space_of(checked), manifest, target, table, made, count, progress=progress)
        for target in manifest.targets
        if target.engine == engine and not_here(target, environment_of(made, target)) is None
    ]


def validation_lines(found: Validation) -> list[str]:
    """What the members say of the sum, and of the correction."""
    one = found.calibration
    return [
        f"  {one.networks} whole networks: the sum of the blocks is {one.raw_bias:+.1%} off "
        f"(median; spread {one.raw_spread:.1%})",
        f"  corrected by {one.scale:.3f} x block {one.edge_us:+.2f} us a block: {one.bias:+.1%} off, spread "
        f"{one.spread:.1%}, each network left out of its own fit; stored, and used by every prediction from now on",
    ]


def validation_json(found: Validation) -> dict[str, Any]:
    """The members' latencies in microseconds, and the correction."""
    return {
        "calibration": found.calibration.model_dump(),
        "networks": [
            {
                "measured_us": one.measured_us,
                "sum_us": one.predicted(),
                "corrected_us": one.predicted(found.calibration),
                "blocks": len(one.blocks_us),
            }
            for one in found.networks
        ],
    }


def draw(found: list[Validation], path: Path) -> None:
    """Predicted against measured latencies as an SVG file. Raises `NascError` where it cannot be written."""
    from io import BytesIO

    from nasc.compiler.write_files import write_file
    from nasc.runtime.report_latencies import plot_validation

    buffer = BytesIO()
    plot_validation([one for validation in found for one in _points(validation)]).savefig(buffer, format="svg")
    write_file(path, buffer.getvalue())


def _points(found: Validation) -> list[tuple[float, float, float]]:
    return [(one.measured_us, one.predicted(), one.predicted(found.calibration)) for one in found.networks]
