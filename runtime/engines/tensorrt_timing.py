"""Which queries of a TensorRT engine count, and when there are enough: the protocol of NVIDIA's `trtexec`.

Source: trtexec's defaults (`--warmUp=200 --duration=3 --iterations=10`) as its `sampleInference.cpp` and
`sampleReporting.cpp` apply them in TensorRT 11.1: queries that start within the warm-up do not count, and "GPU Compute
Time" is the median of the others' times between two events.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nasc.runtime.engines.beat import alive
from nasc.runtime.measurement import Measurement, Quality, error_of_median, median_absolute_deviation

PROTOCOL_VERSION = 1
"""Raised whenever the way of measuring changes what is measured."""

Query = tuple[float, float]
"""When a query began on the GPU, and how long it computed: milliseconds, the first since the start of timing."""


@dataclass(frozen=True)
class Protocol:
    """Queries are made until `iterations` count and the warm-up and the duration are over, in no case beyond the limit.

    Times are milliseconds on the GPU's clock.
    """

    warm_up_ms: float = 200.0
    duration_ms: float = 3000.0
    iterations: int = 10
    limit_ms: float = math.inf

    @property
    def end_ms(self) -> float:
        return self.warm_up_ms + self.duration_ms


TRTEXEC = Protocol()


def sampled(queries: Iterable[Query], protocol: Protocol = TRTEXEC) -> list[float]:
    """Compute times (ms) of the queries that count. Takes no query beyond the one that makes them enough."""
    alive()
    counted: list[float] = []
    for start, compute in queries:
        if start >= protocol.warm_up_ms:
            counted.append(compute)
        now = start + compute
        if now >= protocol.limit_ms or (len(counted) >= protocol.iterations and now >= protocol.end_ms):
            break
    return counted


def latency_row(
    compute_ms: Sequence[float], precision: str, *, error: float, identity_us: float | None = None, seconds: float = 0.0
) -> Measurement:
    """The row of the queries that count: their median in microseconds, `timeout` where there are none.

    "good" is what trtexec would have called enough, with a standard error below the fraction `error` of the median.
    """
    if not compute_ms:
        return Measurement.failure("timeout", "no query finished within the time limit", seconds)
    values = [1000.0 * ms for ms in compute_ms]
    median, mad = statistics.median(values), median_absolute_deviation(values)
    settled = len(values) >= TRTEXEC.iterations and error_of_median(mad, len(values)) < error * median
    quality: Quality = "good" if settled else "unsettled"
    return Measurement(
        status="ok",
        effective_precision=precision,
        minimum=min(values),
        median=median,
        mad=mad,
        samples=len(values),
        identity=identity_us,
        quality=quality,
        seconds=seconds,
    )
