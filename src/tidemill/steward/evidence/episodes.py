"""Evidence of a change that may begin with any period and end again: alarms begin, and end by themselves.

With every period a new bet begins, that things have been otherwise since then (Shin, Ramdas & Rinaldo, E-detectors: a
nonparametric framework for sequential change detection, NEJSDS 2023). The bet of period t starts with
half / ((t − 1 + half)(t + half)), which sums to 1 over all periods. Whatever speaks against a change is lost from all
bets, so that their sum falls when the change is over. When it has fallen below the threshold after an alarm, all bets
so far are given up. Each false alarm uses up bets that no other alarm uses, so that the expected number of false
alarms, ever, is at most e^−threshold, whenever one looks.

Assumes that without a change the expected factor by which a bet grows is at most 1, given the past. For rates this
means that each row counts by itself, with probability at most the baseline. Void where rows come in clusters, such as
all those of an hour in which a machine is down: the alarm is then about a true event, of a kind that the reference had
as well.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidemill.steward.evidence.limits import NOTHING, at_peak, log_mean, require_positive

STEPS = np.array([0.01, 0.03, 0.1, 0.3, 0.6, 0.95])
"""Alternatives to a rate: so much of the way from the baseline to 1."""
_SPARE = 2.0
"""Evidence above the threshold that is carried on: an alarm ends soon after what it tells has ended."""


@dataclass(kw_only=True, slots=True)
class Episodes:
    """Subjects (columns, for example) that are followed side by side, each over the same alternatives.

    One value in fifty is missing, of two hundred each hour; from hour 10 to 14 it is one in five. The alarm begins
    with that and is over an hour after.

    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> missing_before = largest_rate(found=[20], rows=[1000])
    >>> episodes, alarms = Episodes(log_threshold=np.log(1 / 0.05), half=30), []
    >>> for hour in range(30):
    ...     found = random.binomial(200, 0.2 if 10 <= hour < 15 else 0.02, 1)
    ...     _ = episodes.update(rate_gains(found, np.array([200]), missing_before), begin=hour)
    ...     if episodes.alarmed[0]:
    ...         alarms.append(hour)
    >>> alarms
    [10, 11, 12, 13, 14, 15]

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

    def update(self, gain: np.ndarray, begin: int) -> np.ndarray:
        """Take in one more period and return the log evidence after it [subjects].

        Args:
            gain: the log of the factor by which a bet on each alternative grows [subjects, alternatives].
            begin: the beginning of the period, in microseconds since 1970.
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
        return at_peak(self.since, self.peak)


def rate_gains(found: np.ndarray, rows: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Return the log gains of bets that the share found is larger than the baseline [subjects, alternatives].

    Args:
        found: how many of the rows were found [subjects].
        rows: how many rows there were [subjects].
        baseline: the share that is usual [subjects].

    >>> import numpy as np
    >>> gains = rate_gains(np.array([4, 40]), np.array([200, 200]), np.array([0.02, 0.02]))
    >>> gains.shape
    (2, 6)
    >>> bool((gains[0] < 0).all()), bool((gains[1] > 0).any())
    (True, True)
    """
    base = np.minimum(baseline, 1 - 1e-6)[:, None]
    risen = base + (1 - base) * STEPS
    rest = np.log1p(-risen) - np.log1p(-base)
    return np.asarray(found[:, None] * np.log(risen / base) + (rows - found)[:, None] * rest)


def largest_rate(found: Any, rows: Any) -> np.ndarray:
    """Return a share as large as it may well be where `found` of so many rows were found.

    It is the upper end of the interval of Wilson, Probable inference, the law of succession, and statistical inference
    (JASA, 1927), at three standard deviations. Both arguments and the result have one entry for each subject.

    >>> largest_rate(found=[20, 0], rows=[1000, 1000]).round(3).tolist()
    [0.038, 0.009]
    """
    z, number = 3.0, np.maximum(np.asarray(rows, dtype=np.float64), 1e-9)
    share = np.asarray(found) / number
    width = z * np.sqrt(share * (1 - share) / number + (z / (2 * number)) ** 2)
    return np.asarray((share + z**2 / (2 * number) + width) / (1 + z**2 / number))
