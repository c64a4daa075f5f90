"""A rise detector that knows moments: when the rise began, the mean since then, and the highest evidence of a period.

`RiseStream` gives the values of a stream to a `RiseDetector` (detectors.py has its assumptions and its paper), and
keeps beside it what a person asks who reads an alarm: since when, by how much, and from what. The steward reports by
periods; a `Look` is what there is to say at the end of one.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from tidemill.moments import from_microseconds
from tidemill.steward.evidence.bounds import LargeSampleBounds
from tidemill.steward.evidence.detectors import RISES, RiseDetector
from tidemill.steward.evidence.limits import NOTHING
from tidemill.steward.evidence.sampling import BLOCK, Blocks

FINE = 2 * BLOCK
"""Values of a period up to which each is an entry of the detector; those behind them are taken in twos, threes, …"""


TIGHTEST = 1_000
"""Values of a period at which its interval is as narrow as it can be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What there is to say of a stream at the end of a period.

    Attributes:
        log_e: the highest log evidence in the period, at least 0.
        rows, mean: the number of values in the period, and their mean.
        low, high: bounds of that mean, where an interval was asked for; 0 and 1 otherwise.
        before: the mean that may not be exceeded or, where it is estimated, the mean up to the likeliest beginning of a
            rise.
        since, mean_since: that beginning, and the mean from there on; None and 0 before there is one.
    """

    log_e: float
    log_threshold: float
    rows: int
    mean: float
    low: float
    high: float
    before: float
    since: datetime | None
    mean_since: float

    @property
    def alarm(self) -> bool:
        """Whether the evidence has reached the threshold in this period."""
        return self.log_e >= self.log_threshold

    @property
    def now(self) -> float:
        """The mean that an alarm is about, or else that of the period."""
        return self.mean_since if self.alarm else self.mean


@dataclass(kw_only=True, slots=True)
class RiseStream:
    """A stream of values in [0, 1] that is followed, period by period.

    Errors of 10% become 20% with the third day. That day ends with an alarm, which dates the rise to the last hours of
    the day before:

    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> rise = RiseStream(detector=RiseDetector(alpha=0.05, within=10_000, baseline=0.1))
    >>> for day in range(3):
    ...     errors = random.random(500) < (0.1 if day < 2 else 0.2)
    ...     moments = day * 86_400_000_000 + np.arange(500) * 172_800_000
    ...     rise.update(errors.astype(float), moments)
    ...     look = rise.close()
    ...     print(look.alarm, look.since, f"{look.mean_since:.2f}")
    False 1970-01-01 23:57:07.200000+00:00 0.00
    False 1970-01-02 23:39:50.400000+00:00 0.29
    True 1970-01-02 23:22:33.600000+00:00 0.22

    Attributes:
        interval: 1 minus the level of a confidence sequence for the mean of each period by itself, or None. It is one
            for large samples, since the mean may move within a period and MeanBounds would then exclude every value.
        starts: moment of each alternative's likeliest beginning, microseconds since 1970 [5].
        sums, rows: of the values since these beginnings [5]; total: of all values.
        highest, period_sum, period_rows: of the present period.
    """

    detector: RiseDetector
    interval: float | None = None
    bounds: LargeSampleBounds | None = field(init=False, default=None)
    blocks: Blocks = field(init=False, default_factory=Blocks)
    starts: np.ndarray = field(init=False, default_factory=lambda: np.zeros(len(RISES), dtype=np.int64))
    sums: np.ndarray = field(init=False, default_factory=lambda: np.zeros(len(RISES)))
    rows: np.ndarray = field(init=False, default_factory=lambda: np.zeros(len(RISES), dtype=np.int64))
    total: float = field(init=False, default=0.0)
    count: int = field(init=False, default=0)
    highest: float = field(init=False, default=NOTHING)
    period_sum: float = field(init=False, default=0.0)
    period_rows: int = field(init=False, default=0)

    def update(self, values: np.ndarray, moments: np.ndarray) -> None:
        """Take in values [n] and their moments, in microseconds since 1970 [n].

        Raises:
            SettingsError: a value lies outside [0, 1].
        """
        for block in self.blocks.add(values, moments):
            self._update(*block)

    def _update(self, values: np.ndarray, moments: np.ndarray) -> None:
        if self.interval is not None:
            self.bounds = self.bounds or LargeSampleBounds(alpha=self.interval, tightest_at=TIGHTEST)
            self.bounds.update(values)
        # A period of millions needs no bet to begin with each of its values.
        firsts = np.arange(0, len(values), 1 + self.period_rows // FINE)
        before = self.detector.count
        path = self.detector.update(np.add.reduceat(values, firsts), np.diff(firsts, append=len(values)))
        begun = self.detector.since - before - 1  # where in these values; below 0: earlier
        sums = np.concatenate([[0.0], np.cumsum(values)])
        new = begun >= 0
        first = np.where(new, begun, 0)
        self.starts = np.where(new, moments[first], self.starts)
        self.sums = np.where(new, 0.0, self.sums) + sums[-1] - sums[first]
        self.rows = np.where(new, 0, self.rows) + len(values) - first
        self.highest = max(self.highest, float(path.max()))
        self.total += float(sums[-1])
        self.count += len(values)
        self.period_sum += float(sums[-1])
        self.period_rows += len(values)

    def close(self) -> Look:
        """End the period and return what there is to say of it; without values, the evidence stays what it was."""
        for block in self.blocks.rest():
            self._update(*block)
        best = int(np.argmax(self.detector.peak))
        rows, total = int(self.rows[best]), float(self.sums[best])
        began = bool(self.detector.since[best])
        past = self.total - total if began else self.total
        fixed = self.detector.baseline
        low, high = self.bounds.interval() if self.bounds else (0.0, 1.0)
        look = Look(
            log_e=max(self.highest if self.period_rows else float(self.detector.log_statistic), 0.0),
            log_threshold=self.detector.log_threshold,
            rows=self.period_rows,
            mean=self.period_sum / max(self.period_rows, 1),
            low=max(low, 0.0),
            high=min(high, 1.0),
            before=past / max(self.count - (rows if began else 0), 1) if fixed is None else fixed,
            since=from_microseconds(int(self.starts[best])) if began else None,
            mean_since=total / max(rows, 1) if began else 0.0,
        )
        self.highest, self.period_sum, self.period_rows, self.bounds = NOTHING, 0.0, 0, None
        return look


def microseconds(moments: Any) -> np.ndarray:
    """Return the moments of a Polars series as `RiseStream.update` takes them [n].

    >>> import polars as pl
    >>> from datetime import UTC, datetime
    >>> microseconds(pl.Series([datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)])).tolist()
    [1000000]
    """
    return np.asarray(moments.dt.epoch("us").to_numpy())
