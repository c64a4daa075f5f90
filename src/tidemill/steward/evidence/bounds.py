"""Confidence sequences: intervals for a mean that hold at all times at once, so that one may look at any of them.

Void where betting.py's evidence is: a mean of labels that came is not that of labels that are still to come, and a
mean that moves with hour and weekday is covered as the average over what was seen, not as that of now.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidemill.errors import SettingsError
from tidemill.steward.evidence.limits import plain, require_positive, require_share, within


def _zero() -> np.ndarray:
    return np.zeros(())


@dataclass(kw_only=True, slots=True)
class MeanBounds:
    """Bounds of the mean of values in [0, 1]: at all times at once with probability at least 1 − alpha.

    Predictable plug-in empirical Bernstein (Waudby-Smith & Ramdas, Estimating means of bounded random variables by
    betting, JRSS B 2024, theorem 2), intersected over time. Assumes that, given the past, all values have one mean.
    Leading axes of the values are streams followed side by side. For other bounds, scale values and answers.
    """

    alpha: float
    count: int = 0
    total: np.ndarray = field(default_factory=_zero)
    squares: np.ndarray = field(default_factory=_zero)
    weight: np.ndarray = field(default_factory=_zero)
    weighted: np.ndarray = field(default_factory=_zero)
    penalty: np.ndarray = field(default_factory=_zero)
    lower: np.ndarray = field(default_factory=_zero)
    upper: np.ndarray = field(default_factory=lambda: np.ones(()))

    def __post_init__(self) -> None:
        require_share("alpha", self.alpha)
        for name in ("total", "squares", "weight", "weighted", "penalty", "lower", "upper"):
            setattr(self, name, np.asarray(getattr(self, name)))

    def update(self, values: Any) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bound after each of the values [..., n].

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

    def state(self) -> dict[str, Any]:
        """What makes it again: `MeanBounds(**state)`."""
        return plain(self)


@dataclass(kw_only=True, slots=True)
class LargeSampleBounds:
    """Bounds of the mean of values without bounds, such as log loss, by a time-uniform central limit theorem.

    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, Time-uniform central limit theory and asymptotic confidence
    sequences (Annals of Statistics, 2024). Assumes independent values with more than two moments, and
    a first look that is not taken early: the stated probability is approached, not kept, as the first look moves
    away (take it after some hundred values). Parts merge exactly.

    tightest_at: the number of values at which the interval is to be as narrow as it can be.
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
        """Takes in values [n], or one.

        Raises:
            SettingsError: one is not a finite number.
        """
        array = within(values, -np.finfo(np.float64).max, np.finfo(np.float64).max)
        if len(array):
            self._add(len(array), float(array.mean()), float(np.square(array - array.mean()).sum()))

    def _add(self, count: int, mean: float, squares: float) -> None:
        """Chan, Golub & LeVeque, Algorithms for computing the sample variance (1983)."""
        everything = self.count + count
        shift = mean - self.mean
        self.squares += squares + shift**2 * self.count * count / everything
        self.mean += shift * count / everything
        self.count = everything

    def merge(self, other: "LargeSampleBounds") -> None:
        """Takes in all that another has seen.

        Raises:
            SettingsError: the other's bounds are of another kind.
        """
        if (self.alpha, self.tightest_at) != (other.alpha, other.tightest_at):
            raise SettingsError(
                "Bounds are merged with bounds of the same alpha and tightest_at",
                observed=f"{other.alpha} and {other.tightest_at}",
                remedy=f"make both with {self.alpha} and {self.tightest_at}",
            )
        if other.count:
            self._add(other.count, other.mean, other.squares)

    def interval(self) -> tuple[float, float]:
        """Lower and upper bound; infinite before the second value."""
        if self.count < 2:
            return -np.inf, np.inf
        scale = -2 * np.log(self.alpha)
        growth = self.count * (scale + np.log(scale + 1)) / self.tightest_at
        width = np.sqrt(2 * (growth + 1) / growth * np.log(np.sqrt(growth + 1) / self.alpha) / self.count)
        half = float(np.sqrt(self.squares / self.count) * width)
        return self.mean - half, self.mean + half

    def state(self) -> dict[str, Any]:
        """What makes it again: `LargeSampleBounds(**state)`."""
        return plain(self)
