"""Confidence sequences: intervals for a mean that hold at all times at once, so that one may look at any of them.

A confidence interval of 95% covers the mean with that probability at one moment that was fixed before. A confidence
sequence covers it with that probability at every moment, so that one may look again and again and stop when one likes.

Void where the evidence of betting.py is void. The mean of labels that came is not the mean of labels that are still to
come; and of a mean that moves with hour and weekday, the average over what was seen is covered, and not the mean now.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidemill.steward.evidence.limits import require_positive, require_share, within


def _zero() -> np.ndarray:
    return np.zeros(())


@dataclass(kw_only=True, slots=True)
class MeanBounds:
    """Bounds of the mean of values in [0, 1] that hold at all times at once with probability at least 1 − alpha.

    They are the predictable plug-in empirical Bernstein bounds of Waudby-Smith & Ramdas, Estimating means of bounded
    random variables by betting (JRSS B, 2024, theorem 2), intersected over time. They assume that, given the past, all
    values have the same mean. For values with other bounds, scale the values, and scale the answers back.

    Coins that fall on heads with probability 0.3, after a hundred and after two thousand of them:

    >>> import numpy as np
    >>> coins = np.random.default_rng(0).random(2000) < 0.3
    >>> bounds = MeanBounds(alpha=0.05)
    >>> lower, upper = bounds.update(coins)
    >>> round(float(lower[99]), 2), round(float(upper[99]), 2)
    (0.11, 0.41)
    >>> round(float(bounds.lower), 2), round(float(bounds.upper), 2)
    (0.25, 0.32)
    """

    alpha: float
    count: int = field(init=False, default=0)
    total: np.ndarray = field(init=False, default_factory=_zero)
    squares: np.ndarray = field(init=False, default_factory=_zero)
    weight: np.ndarray = field(init=False, default_factory=_zero)
    weighted: np.ndarray = field(init=False, default_factory=_zero)
    penalty: np.ndarray = field(init=False, default_factory=_zero)
    lower: np.ndarray = field(init=False, default_factory=_zero)
    upper: np.ndarray = field(init=False, default_factory=lambda: np.ones(()))

    def __post_init__(self) -> None:
        require_share("alpha", self.alpha)

    def update(self, values: Any) -> tuple[np.ndarray, np.ndarray]:
        """Take in values [..., n] and return the lower and the upper bound after each of them, both [..., n].

        Raises:
            SettingsError: a value lies outside [0, 1].
        """
        array = within(values, 0.0, 1.0)
        number = self.count + 1 + np.arange(array.shape[-1])
        total = self.total[..., None] + np.cumsum(array, axis=-1)
        mean_before = (0.5 + total - array) / number
        deviation = np.square(array - (0.5 + total) / (number + 1))
        squares = self.squares[..., None] + np.cumsum(deviation, axis=-1)
        variance_before = (0.25 + squares - deviation) / number
        bet = np.sqrt(2 * np.log(2 / self.alpha) / (variance_before * number * np.log1p(number)))
        bet = np.minimum(bet, 0.5)
        cost = np.square(array - mean_before) * (-np.log1p(-bet) - bet)
        weight = self.weight[..., None] + np.cumsum(bet, axis=-1)
        weighted = self.weighted[..., None] + np.cumsum(bet * array, axis=-1)
        penalty = self.penalty[..., None] + np.cumsum(cost, axis=-1)
        centre, width = weighted / weight, (np.log(2 / self.alpha) + penalty) / weight
        lower = np.maximum(self.lower[..., None], np.maximum.accumulate(centre - width, axis=-1))
        upper = np.minimum(self.upper[..., None], np.minimum.accumulate(centre + width, axis=-1))
        if array.shape[-1]:
            self.count += array.shape[-1]
            self.total, self.squares, self.weight = total[..., -1], squares[..., -1], weight[..., -1]
            self.weighted, self.penalty = weighted[..., -1], penalty[..., -1]
            self.lower, self.upper = lower[..., -1], upper[..., -1]
        return lower, upper


@dataclass(kw_only=True, slots=True)
class LargeSampleBounds:
    """Bounds of the mean of values that have no bounds themselves, such as log loss.

    They follow from a central limit theorem that holds uniformly over time: Waudby-Smith, Arbour, Sinha, Kennedy &
    Ramdas, Time-uniform central limit theory and asymptotic confidence sequences (Annals of Statistics, 2024). They
    assume independent values with more than two moments. The stated probability is approached rather than kept: the
    later the first look, the closer it is, so take the first look after some hundred values.

    >>> import numpy as np
    >>> bounds = LargeSampleBounds(alpha=0.05, tightest_at=1000)
    >>> bounds.update(np.random.default_rng(0).exponential(0.4, 1000))
    >>> lower, upper = bounds.interval()
    >>> round(lower, 2), round(upper, 2)
    (0.37, 0.45)

    Attributes:
        tightest_at: the number of values at which the interval is to be as narrow as it can be.
        count, mean: of the values so far. squares: the sum of their squared deviations from the mean.
    """

    alpha: float
    tightest_at: int
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def __post_init__(self) -> None:
        require_share("alpha", self.alpha)
        require_positive("tightest_at", self.tightest_at)

    def update(self, values: Any) -> None:
        """Take in values [n], or a single one, as Chan, Golub & LeVeque do, Algorithms for computing the sample
        variance (1983).

        Raises:
            SettingsError: one is not a finite number.
        """
        array = within(values, -np.finfo(np.float64).max, np.finfo(np.float64).max)
        if not (count := len(array)):
            return
        everything = self.count + count
        shift = float(array.mean()) - self.mean
        squares = float(np.square(array - array.mean()).sum())
        self.squares += squares + shift**2 * self.count * count / everything
        self.mean += shift * count / everything
        self.count = everything

    def interval(self) -> tuple[float, float]:
        """Return the lower and the upper bound; both are infinite before the second value."""
        if self.count < 2:
            return -np.inf, np.inf
        scale = -2 * np.log(self.alpha)
        growth = self.count * (scale + np.log(scale + 1)) / self.tightest_at
        width = np.sqrt(2 * (growth + 1) / growth * np.log(np.sqrt(growth + 1) / self.alpha) / self.count)
        half = float(np.sqrt(self.squares / self.count) * width)
        return self.mean - half, self.mean + half
