"""A latency as measured, with what tells how far to trust it; and the statistics it comes from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["ok", "empty", "unsupported", "build_failed", "out_of_memory", "timeout", "crash"]
Quality = Literal["good", "unsettled", "noisy"]

NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""
MEDIAN_EFFICIENCY = 1.2533
"""Standard error of a median in units of sigma / sqrt(n): sqrt(pi / 2)."""


class Measurement(BaseModel):
    """One row of a latency table: a latency, or the reason why there is none.

    Times are microseconds. `minimum`, `median` and `mad` (median absolute deviation, unscaled) are over the `samples`
    rounds that were kept, each round divided by the canary's drift. `canary` is the canary block's raw median while
    this was measured, `identity` what an Identity alone costs, which is the call itself. `quality` is "good" where the
    stop rule was met, "unsettled" where a cap came first, "noisy" where too few rounds could be kept and all were used.
    `empty` is a block of which nothing is left at this point: its latency is 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Status
    effective_precision: str | None = None
    minimum: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    median: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    mad: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    samples: int = Field(default=0, ge=0)
    dropped: int = Field(default=0, ge=0)
    canary: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    identity: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    quality: Quality | None = None
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    error: str | None = None
    timestamp: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))

    @property
    def usable(self) -> bool:
        """Is there a latency?"""
        return self.status in ("ok", "empty") and self.median is not None

    @property
    def measured_at(self) -> datetime:
        """When this was measured. Raises `ValueError` for a timestamp that is none."""
        moment = datetime.fromisoformat(self.timestamp)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    @property
    def standard_error(self) -> float:
        """Standard error of the median, in microseconds; 0 for an empty block."""
        return error_of_median(self.mad or 0.0, self.samples) if self.samples else 0.0

    @classmethod
    def failure(cls, status: Status, error: str, seconds: float = 0.0) -> Measurement:
        """A row that says why there is no latency; the reason is cut at 2000 characters."""
        return cls(status=status, error=error[:2000], seconds=seconds)

    @classmethod
    def empty(cls) -> Measurement:
        """The row of a block of which nothing is left."""
        return cls(status="empty", minimum=0.0, median=0.0, mad=0.0)


@dataclass(frozen=True)
class Estimate:
    """A latency that was computed, not measured, and its standard error; microseconds."""

    median: float
    error: float


def median_absolute_deviation(values: Sequence[float]) -> float:
    """Median of |x - median(x)|, unscaled. Raises `statistics.StatisticsError` for no values."""
    middle = statistics.median(values)
    return statistics.median(abs(v - middle) for v in values)


def error_of_median(mad: float, samples: int) -> float:
    """1.2533 * (1.4826 * MAD) / sqrt(n): standard error of the median of n samples, robust against outliers."""
    return MEDIAN_EFFICIENCY * NORMAL_MAD * mad / math.sqrt(samples)
