"""What a latency table holds, environment by environment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nasc.dsl.diagnostics import NascError
from nasc.runtime.calibration import Calibration
from nasc.runtime.table_contents import Contents, Known
from nasc.runtime.table_merge import measured_at


@dataclass(frozen=True)
class Summary:
    """An environment: how many rows by status and by quality, of how many blocks, and when they were measured."""

    env_id: str
    known: Known
    statuses: Mapping[str, int]
    qualities: Mapping[str, int]
    blocks: int
    estimates: int
    oldest: str | None
    newest: str | None

    def as_json(self) -> dict[str, Any]:
        found = {name: value for name, value in asdict(self).items() if name != "known"}
        calibration = self.known.calibration
        return {
            **found,
            "environment": self.known.environment.model_dump(mode="json"),
            "reference_us": self.known.reference_us,
            "calibration": None if calibration is None else json.loads(calibration),
        }

    def text(self) -> str:
        """A few lines for a person."""
        environment = self.known.environment
        lines = [
            f"environment {self.env_id}",
            f"  {environment}",
            f"  timing {environment.timing_mode}, protocol {environment.protocol_version}, {environment.device.system}",
            f"  rows: {_counted(self.statuses)}; blocks: {self.blocks}",
        ]
        if self.qualities:
            lines.append(f"  quality: {_counted(self.qualities)}")
        if self.oldest:
            lines.append(f"  measured: {self.oldest} .. {self.newest}")
        if self.known.reference_us is not None:
            lines.append(f"  reference canary: {self.known.reference_us:.2f} µs")
        if self.estimates:
            lines.append(f"  estimates: {self.estimates}")
        if self.known.calibration is not None:
            lines += ["  calibrations:", *(f"    {line}" for line in _calibrations(self.known.calibration))]
        return "\n".join(lines)


def _calibrations(text: str) -> Iterator[str]:
    """What whole networks taught, of each space; a value that cannot be read is left to those who use it."""
    try:
        found = [Calibration.model_validate(each) for each in json.loads(text).values()]
    except (ValueError, AttributeError):
        yield "cannot be read"
        return
    for one in found:
        yield f"{one.scale:.3f} x block {one.edge_us:+.2f} µs a block, by {one.networks} networks:"
        yield f"{one.bias:+.1%} off, spread {one.spread:.1%}; without it {one.raw_bias:+.1%}, {one.raw_spread:.1%}"


def summaries(contents: Contents) -> list[Summary]:
    """A summary of each environment, in the order of their ids."""
    return [_summary(contents.of(env_id), env_id) for env_id in sorted(contents.environments)]


def _summary(part: Contents, env_id: str) -> Summary:
    rows = sorted(part.measurements.values(), key=measured_at)
    return Summary(
        env_id=env_id,
        known=part.environments[env_id],
        statuses=_counts(row.status for row in rows),
        qualities=_counts(row.quality for row in rows if row.quality is not None),
        blocks=len(part.blocks),
        estimates=len(part.estimates),
        oldest=rows[0].timestamp if rows else None,
        newest=rows[-1].timestamp if rows else None,
    )


def _counts(words: Any) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def environment_named(contents: Contents, start: str) -> str:
    """The one environment whose id begins so. Raises `NascError` where there is none, or several."""
    found = [env_id for env_id in contents.environments if env_id.startswith(start)]
    if len(found) != 1:
        raise NascError(
            f"{'no' if not found else 'more than one'} environment's id begins with `{start}`",
            help="its environments: " + (", ".join(contents.environments) or "none"),
        )
    return found[0]
