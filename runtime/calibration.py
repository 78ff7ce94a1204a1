"""What whole networks taught about the sum of their blocks' latencies: the correction that predictions are made with.

latency = call + sum over blocks of (scale * (block - call) + edge)

`call` is what an Identity costs alone, which a network pays once. `scale` and `edge` are fitted to measured networks:
blocks in a row find their input in the cache, and may need their data laid out anew at each edge.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasc.compiler.manifest import Manifest, canonical_hash
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment
from nasc.runtime.table import LatencyTable

FEWEST = 8
"""With fewer networks the edge is left at 0: two numbers cannot be told from so few."""


class Calibration(BaseModel):
    """The correction of one space's predictions in one environment.

    Errors are relative, predicted / measured - 1: `bias` is their median and `spread` their standard deviation, before
    the correction (`raw_…`) and after it, each network left out of the fit that predicts it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scale: float = Field(1.0, gt=0)
    edge_us: float = 0.0
    networks: int = Field(0, ge=0)
    raw_bias: float = 0.0
    raw_spread: float = 0.0
    bias: float = 0.0
    spread: float = 0.0

    def block(self, net_us: float) -> float:
        """What a block adds to a network, of its latency less the call, both in microseconds; never below 0."""
        return max(0.0, self.scale * net_us + self.edge_us)


PLAIN = Calibration()
"""No correction."""


@dataclass(frozen=True)
class Observed:
    """A network as measured: its latency, that of each of its blocks less the call, and the call, in microseconds."""

    measured_us: float
    blocks_us: tuple[float, ...]
    call_us: float

    def predicted(self, calibration: Calibration = PLAIN) -> float:
        return self.call_us + sum(map(calibration.block, self.blocks_us))

    def error(self, calibration: Calibration = PLAIN) -> float:
        """predicted / measured - 1."""
        return self.predicted(calibration) / self.measured_us - 1


def fit(networks: Sequence[Observed]) -> Calibration:
    """The correction that fits measured networks best, by least squares of relative errors. Raises `ValueError`.

    Its errors are those of leaving each out in turn.
    """
    if len(networks) < 2:
        raise ValueError("a calibration needs two networks at least")
    raw = [one.error() for one in networks]
    left_out = [one.error(_fitted([*networks[:i], *networks[i + 1 :]])) for i, one in enumerate(networks)]
    return _fitted(networks).model_copy(
        update={
            "networks": len(networks),
            "raw_bias": statistics.median(raw),
            "raw_spread": statistics.stdev(raw),
            "bias": statistics.median(left_out),
            "spread": statistics.stdev(left_out),
        }
    )


def _fitted(networks: Sequence[Observed]) -> Calibration:
    import numpy

    rows = [[sum(one.blocks_us), float(len(one.blocks_us))] for one in networks]
    weights = 1 / numpy.array([one.measured_us for one in networks])
    wanted = numpy.array([one.measured_us - one.call_us for one in networks]) * weights
    columns = numpy.array(rows) * weights[:, None]
    if len(networks) >= FEWEST:
        scale, edge = numpy.linalg.lstsq(columns, wanted, rcond=1e-6)[0]
    else:
        scale, edge = float(columns[:, 0] @ wanted / (columns[:, 0] @ columns[:, 0])), 0.0
    if not scale > 0:
        raise ValueError("measured latencies do not grow with their blocks'")
    return Calibration(scale=float(scale), edge_us=float(edge))


# ------------------------------------------------------------------------------------------------- in a table


def space_key(manifest: Manifest) -> str:
    """What a calibration belongs to beside its environment: the blocks that networks of a space are made of."""
    return canonical_hash(sorted(entry.key for entry in manifest.entries))


def calibration_of(table: LatencyTable, environment: Environment, manifest: Manifest) -> Calibration:
    """A space's correction, `PLAIN` where there is none. Raises `NascError` for a value that is none."""
    found = (table.calibration(environment) or {}).get(space_key(manifest))
    if found is None:
        return PLAIN
    try:
        return Calibration.model_validate(found)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise NascError(
            f"a calibration in {table.path} cannot be read: {problem}", help="`nasc profile --validate` makes a new one"
        ) from None


def store(table: LatencyTable, environment: Environment, manifest: Manifest, calibration: Calibration) -> None:
    """Put a space's correction beside those of other spaces. Raises `NascError` where the table cannot be written."""
    others: Mapping[str, object] = table.calibration(environment) or {}
    table.set_calibration(environment, {**others, space_key(manifest): calibration.model_dump()})
