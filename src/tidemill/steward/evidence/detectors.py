"""Detectors of a rise: evidence that the mean of a stream in [0, 1] went up at some time, and since when.

They are Shiryaev–Roberts statistics that are made of e-processes: Shin, Ramdas & Rinaldo, E-detectors: a
nonparametric framework for sequential change detection (NEJSDS, 2023). A bettor starts at every moment, and the wealth
of all of them is summed; so nobody has to say beforehand when the change comes.

Assumes that, given the past, the mean of every value is at most the baseline or, where that is estimated, the same
unknown constant. Then P(alarm among the first `within` values) ≤ alpha; with `anytime`, P(alarm, ever) ≤ alpha.

Void where the mean has a season (give each hour and weekday a detector of its own), where labels come sooner for large
losses than for small ones, and for a baseline that is estimated while it falls.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidemill.steward.evidence.limits import NOTHING, at_peak, log_mean, require_positive, require_share, within

RISES = np.log([1.2, 1.4, 1.7, 2.2, 3.5])
"""Log odds ratios of the alternatives, over which evidence is averaged: .10 to .118, .135, .159, .196 and .28."""


def _zero() -> np.ndarray:
    return np.zeros(())


def _nothing() -> np.ndarray:
    return np.full(len(RISES), NOTHING)


@dataclass(kw_only=True, slots=True)
class RiseDetector:
    """A detector that alarms when its statistic reaches its threshold; memory and work for each value are constant.

    A bettor who starts at s bets that since s the odds are `RISES` times those before. Where the baseline is
    estimated, the bet is made around the running mean, and the statistic is divided by the largest likelihood that any
    constant mean has (universal inference: Wasserman, Ramdas & Balakrishnan, PNAS 2020). For values other than 0 and 1
    the likelihood is that of Bernoulli, whose ratios bound from below those of any law on [0, 1] with that mean. Not
    knowing the baseline costs evidence once, about ½ log(1 + count / burn_in).

    With weights 1 and threshold within / alpha, P(alarm by T) ≤ alpha · T / within; hence the average run length is at
    least within / (2 alpha), and within / alpha for a given baseline. With `anytime`, a start at s weighs
    within / ((s − 1 + within)(s + within)), which sums to 1, and the threshold is 1 / alpha (Ville, 1939).

    A share of errors of 10% doubles at the thousandth value. Nobody has said what it was before; the alarm comes 110
    values later, and the rise is dated to the 988th value.

    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> errors = np.concatenate([random.random(1000) < 0.1, random.random(400) < 0.2])
    >>> detector = RiseDetector(alpha=0.05, within=10_000, burn_in=200)
    >>> path = detector.update(errors)
    >>> int(np.argmax(path >= detector.log_threshold)) + 1
    1110
    >>> bool(detector.alarm), int(detector.began)
    (True, 988)

    Attributes:
        baseline: the mean that may not be exceeded; None: whatever it is, it may not rise.
        burn_in: first values that only inform the estimated baseline; nothing is detected among them.
        burnt, burnt_sum: number and sum of the values of the burn-in that were seen.
        total, peak: log sum and largest of the bets over starts [..., 5]; peak's start is `since`, counted from 1.
        price: log likelihood of the running mean's forecasts; seen: sum of values after the burn-in.
        log_statistic: at the last value; an alarm is a statistic of at least log_threshold.
    """

    alpha: float
    within: int
    anytime: bool = False
    baseline: float | None = None
    burn_in: int = 500
    count: int = field(init=False, default=0)
    burnt: int = field(init=False, default=0)
    burnt_sum: np.ndarray = field(init=False, default_factory=_zero)
    seen: np.ndarray = field(init=False, default_factory=_zero)
    price: np.ndarray = field(init=False, default_factory=_zero)
    total: np.ndarray = field(init=False, default_factory=_nothing)
    peak: np.ndarray = field(init=False, default_factory=_nothing)
    since: np.ndarray = field(init=False, default_factory=lambda: np.zeros(len(RISES), dtype=np.int64))
    log_statistic: np.ndarray = field(init=False, default_factory=lambda: np.asarray(NOTHING))

    def __post_init__(self) -> None:
        require_share("alpha", self.alpha)
        require_positive("within", self.within)
        if self.baseline is not None:
            require_share("The baseline", self.baseline)

    @property
    def log_threshold(self) -> float:
        """The log statistic from which on there is an alarm."""
        return float(-np.log(self.alpha) if self.anytime else np.log(self.within / self.alpha))

    @property
    def alarm(self) -> np.ndarray:
        """Whether the statistic now is at its threshold or above [...]."""
        return np.asarray(self.log_statistic >= self.log_threshold)

    @property
    def began(self) -> np.ndarray:
        """The value, counted from 1, since which a rise is likeliest [...]; 0 before the first bet."""
        return at_peak(self.since, self.peak)

    def update(self, values: Any, counts: Any = 1) -> np.ndarray:
        """Take in values [..., n] and return the log statistic after each of them; NOTHING during the burn-in.

        Args:
            counts: of values, where each entry is the sum of so many that follow each other [n]. Bets then begin and
                baselines move between entries only, which takes fewer steps and costs about as much delay as an entry.

        Raises:
            SettingsError: a value lies outside [0, 1].
        """
        number = np.asarray(counts, dtype=np.int64)
        array = within(np.atleast_1d(np.asarray(values, dtype=np.float64)) / number, 0.0, 1.0) * number
        number = np.broadcast_to(number, array.shape[-1:])
        before = self.count + np.cumsum(number) - number
        first = 0 if self.baseline is not None else int(np.searchsorted(before, self.burn_in))
        self.burnt_sum = self.burnt_sum + array[..., :first].sum(axis=-1)
        burnt = int(number[:first].sum())
        self.burnt += burnt
        self.count += burnt
        path = np.full(array.shape, NOTHING)
        if first < array.shape[-1]:
            path[..., first:] = self._bet(array[..., first:], number[first:])
            self.log_statistic = path[..., -1]
        return path

    def _bet(self, array: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Log statistic after each entry, none of them of the burn-in."""
        number = self.count - self.burnt + np.cumsum(counts)
        sums = self.seen[..., None] + np.cumsum(array, axis=-1)
        if self.baseline is None:
            expected = (0.5 + self.burnt_sum[..., None] + sums - array) / (self.burnt + 1 + number - counts)
            forecast = array * np.log(expected) + (counts - array) * np.log1p(-expected)
            paid = self.price[..., None] + np.cumsum(forecast, axis=-1)
            constant = paid - _best_likelihood(sums, number)
        else:
            expected = np.full(array.shape, self.baseline)
            paid, constant = np.zeros(array.shape), np.zeros(array.shape)
        gain = array[..., None] * RISES - counts[:, None] * np.log1p(expected[..., None] * np.expm1(RISES))
        gains = np.cumsum(gain, axis=-2)
        entry = np.log(self._weights(number, counts))[:, None] - (gains - gain)
        total = _accumulated(np.logaddexp, self.total, entry)
        peak = _accumulated(np.maximum, self.peak, entry)
        newer = peak[..., 1:, :] > peak[..., :-1, :]
        starts = np.where(newer, (self.burnt + 1 + number - counts)[:, None], self.since[..., None, :])
        self.since = np.maximum.accumulate(starts, axis=-2)[..., -1, :]
        self.total, self.peak = total[..., -1, :] + gains[..., -1, :], peak[..., -1, :] + gains[..., -1, :]
        self.seen, self.price = sums[..., -1], paid[..., -1]
        self.count += int(counts.sum())
        return np.asarray(constant + log_mean(total[..., 1:, :] + gains))

    def _weights(self, number: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Of the starts at all values of each entry; `number` values were there after it."""
        if not self.anytime:
            return counts
        return np.asarray(self.within * counts / ((number - counts + self.within) * (number + self.within)))


def _accumulated(operation: np.ufunc, before: np.ndarray, entry: np.ndarray) -> np.ndarray:
    """What was there, then the operation over it and all entries up to each [..., 1 + n, 5]."""
    begun = np.broadcast_to(before[..., None, :], (*entry.shape[:-2], 1, entry.shape[-1]))
    return np.asarray(operation.accumulate(np.concatenate([begun, entry], axis=-2), axis=-2))


def _best_likelihood(sums: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Largest log likelihood of Bernoulli over all constant means [..., n]."""
    share = sums / number
    rest = np.clip(1 - share, 0, 1)
    smallest = np.finfo(np.float64).tiny
    entropy = share * np.log(np.maximum(share, smallest)) + rest * np.log(np.maximum(rest, smallest))
    return np.asarray(number * entropy)
