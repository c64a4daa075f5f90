"""Evidence of a change that may begin with any period and end again: alarms begin, and end by themselves.

Every period, a new bet begins that since then things are otherwise (Shin, Ramdas & Rinaldo, E-detectors, NEJSDS 2023).
Bets that begin with period t start with half / ((t − 1 + half)(t + half)), which sums to 1 over all periods. What
speaks against a change is lost from all bets, so the sum falls when the change is over; when it has fallen below the
threshold after an alarm, all bets so far are forgotten. Each false alarm uses up bets worth e^threshold of no other
alarm, so the expected number of false alarms, ever, is at most e^−threshold, whenever one looks.

Assumes: without a change, what is bet on has its expected gain at most 1, given the past. For rates: each row counts by
itself with probability at most the baseline. Void where rows come in clusters (a machine that is down for an hour):
then a true event is told, of which the reference simply has had others.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidemill.steward.evidence.limits import NOTHING, log_mean, plain, require_positive

STEPS = np.array([0.01, 0.03, 0.1, 0.3, 0.6, 0.95])
"""Alternatives to a rate: so much of the way from the baseline to 1."""
_SPARE = 2.0
"""Evidence above the threshold that is carried on: an alarm ends soon after what it tells has ended."""


@dataclass(kw_only=True, slots=True)
class Episodes:
    """Subjects followed side by side, each over the same alternatives.

    Attributes:
        half: the periods among which half of the bets' money is spent.
        total, peak: log of all bets, and of the best of them [subjects, alternatives].
        since: when the best of them began, microseconds since 1970 [subjects, alternatives].
        alarmed: whether the last period's evidence was an alarm [subjects].
    """

    log_threshold: float
    half: int
    periods: int = 0
    total: np.ndarray = field(default_factory=lambda: np.asarray(NOTHING))
    peak: np.ndarray = field(default_factory=lambda: np.asarray(NOTHING))
    since: np.ndarray = field(default_factory=lambda: np.zeros((), dtype=np.int64))
    alarmed: np.ndarray = field(default_factory=lambda: np.zeros((), dtype=bool))

    def __post_init__(self) -> None:
        require_positive("half", self.half)
        for name in ("total", "peak", "since", "alarmed"):
            setattr(self, name, np.asarray(getattr(self, name)))

    def update(self, gain: np.ndarray, begin: int) -> np.ndarray:
        """Log evidence [subjects] after one period more.

        Args:
            gain: log of what a bet on each alternative is multiplied by [subjects, alternatives].
            begin: of the period, microseconds since 1970.
        """
        self.periods += 1
        entering = np.log(self.half / ((self.periods - 1 + self.half) * (self.periods + self.half)))
        most = self.log_threshold + np.log(gain.shape[-1]) + _SPARE
        total = np.logaddexp(np.minimum(self.total, most), entering) + gain
        since = np.where(entering >= self.peak, begin, self.since)
        peak = np.maximum(np.minimum(self.peak, most), entering) + gain
        log_e = log_mean(total)
        alarmed = log_e >= self.log_threshold
        over = (self.alarmed & ~alarmed)[..., None]
        self.total, self.peak = np.where(over, NOTHING, total), np.where(over, NOTHING, peak)
        self.since, self.alarmed = since, alarmed
        return log_e

    @property
    def began(self) -> np.ndarray:
        """When the change probably began, microseconds since 1970 [subjects]; 0 before the first period."""
        best = np.argmax(self.peak, axis=-1)[..., None]
        return np.asarray(np.take_along_axis(np.broadcast_to(self.since, self.peak.shape), best, axis=-1)[..., 0])

    def state(self) -> dict[str, Any]:
        """What makes it again: `Episodes(**state)`."""
        return plain(self)


def rate_gains(found: np.ndarray, rows: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Gains of bets that of so many rows a larger share than the baseline is found [subjects, alternatives]."""
    base = np.minimum(baseline, 1 - 1e-6)[:, None]
    risen = base + (1 - base) * STEPS
    rest = np.log1p(-risen) - np.log1p(-base)
    return np.asarray(found[:, None] * np.log(risen / base) + (rows - found)[:, None] * rest)


def largest_rate(found: Any, rows: Any) -> np.ndarray:
    """A share as large as it may well be, where so many of the rows were found: Wilson's bound (1927), 3 deviations."""
    z, number = 3.0, np.maximum(np.asarray(rows, dtype=np.float64), 1e-9)
    share = np.asarray(found) / number
    width = z * np.sqrt(share * (1 - share) / number + (z / (2 * number)) ** 2)
    return np.asarray((share + z**2 / (2 * number) + width) / (1 + z**2 / number))
