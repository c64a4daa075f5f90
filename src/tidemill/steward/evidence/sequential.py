"""Group-sequential tests: the other mode, for those who fix in advance when they look and when the last look is.

By Lan & DeMets, Discrete sequential boundaries for clinical trials (Biometrika, 1983), each look may spend that part of
alpha which a spending function gives to the information there is. The bounds follow by the recursion of Armitage,
McPherson & Rowe, Repeated significance tests on accumulating data (JRSS A, 1969). The tests are one-sided: they cross
where z is at the bound or above it. For two sides, give half of alpha to each.

Assumes independent increments, samples that are large enough for a normal z, and looks that were not timed by what they
showed. Void after the last planned look, as one more look has no alpha left, and where the evidence of betting.py is
void. Where all this is known in advance, such a test decides sooner than evidence that holds at all times; where it is
not, it is worth nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist

import numpy as np

from tidemill.errors import SettingsError
from tidemill.steward.evidence.limits import require_share

_NORMAL = NormalDist()
_POINTS = 240
_REACH = 8.0  # standard deviations: less than 1e-15 lies beyond
_tail = np.frompyfunc(lambda z: _NORMAL.cdf(-z), 1, 1)


class Spending(StrEnum):
    """How alpha is spent over the looks.

    Little of it at first: O'Brien & Fleming, A multiple testing procedure for clinical trials (Biometrics, 1979). About
    evenly: Pocock, Group sequential methods in the design and analysis of clinical trials (Biometrika, 1977).
    """

    OBRIEN_FLEMING = "obrien_fleming"
    POCOCK = "pocock"


def spent(spending: Spending, alpha: float, information: float) -> float:
    """Return the alpha that may have been spent, one-sided, at a share of the planned information (at most 1).

    >>> round(spent(Spending.POCOCK, 0.05, 0.5), 3), round(spent(Spending.OBRIEN_FLEMING, 0.05, 0.5), 3)
    (0.031, 0.006)
    """
    share = min(information, 1.0)
    if spending is Spending.POCOCK:
        return float(alpha * np.log1p((np.e - 1) * share))
    return 2 * _NORMAL.cdf(_NORMAL.inv_cdf(alpha / 2) / float(np.sqrt(share)))


def z_bounds(information: Sequence[float], *, alpha: float, spending: Spending) -> list[float]:
    """Return the bound on z at each look so far.

    Four looks, evenly spread, at one-sided 2.5%; as in the tables of textbooks:

    >>> [round(z, 3) for z in z_bounds([0.25, 0.5, 0.75, 1.0], alpha=0.025, spending=Spending.OBRIEN_FLEMING)]
    [4.333, 2.963, 2.359, 2.014]

    Args:
        information: the share of the planned number of values there was at each look, rising, at most 1.

    Raises:
        SettingsError: alpha is no share, or the information does not rise from above 0 to at most 1.
    """
    require_share("alpha", alpha)
    if not all(before < after for before, after in pairwise([0.0, *information, 1.0 + 1e-12])):
        raise SettingsError(
            "Information rises from look to look, from above 0 to at most 1",
            observed=f"{list(information)}",
            remedy="look only when values have come, and not after the planned last look",
        )
    bounds: list[float] = []
    nodes, widths = np.polynomial.legendre.leggauss(_POINTS)
    density, grid = np.ones(1), np.zeros(1)  # of the score z·√information while no bound was crossed, weighted
    before, used = 0.0, 0.0
    for share in information:
        step, allowed = float(np.sqrt(share - before)), spent(spending, alpha, share)
        score = _bound(density, grid, step, allowed - used, limit=_REACH * float(np.sqrt(share)))
        bounds.append(score / float(np.sqrt(share)))
        low = -_REACH * float(np.sqrt(share))
        points = low + (nodes + 1) * (score - low) / 2
        steps = (points[:, None] - grid) / step
        kernel = np.exp(-np.square(steps) / 2) / (step * np.sqrt(2 * np.pi))
        density = (kernel @ density) * widths * (score - low) / 2
        grid, before, used = points, share, allowed
    return bounds


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Looks that are fixed in advance: so many, evenly spread over `horizon` values, with the last one at its end.

    >>> plan = Plan(horizon=1000, looks=3)
    >>> [plan.count(look) for look in (1, 2, 3)]
    [334, 667, 1000]
    """

    horizon: int
    looks: int
    spending: Spending = Spending.OBRIEN_FLEMING

    def count(self, look: int) -> int:
        """Return the number of values that there are at a look; the first look is 1."""
        return -(-self.horizon * look // self.looks)


@dataclass(kw_only=True, slots=True)
class PlannedTest:
    """A test of "the mean is at most `mean`" (rises) or "at least `mean`" (not rises), at the looks of a plan.

    Differences between two models of −0.1 in the mean, after 600 of 1,000 planned values: the second of four looks has
    crossed its bound.

    >>> import numpy as np
    >>> test = PlannedTest(mean=0.0, rises=False, alpha=0.05, plan=Plan(horizon=1000, looks=4))
    >>> test.update(np.random.default_rng(0).normal(-0.1, 1.0, 600))
    >>> test.looked, bool(test.crossed)
    (2, True)

    Attributes:
        count, total, squares: of the values so far: their number, their sum, and the sum of their squares.
        looked: the number of looks taken. crossed: whether one of them came to its bound.
        log_e, log_threshold: −log of the p-value at the last look, and of the one at which it would have crossed.
    """

    mean: float
    rises: bool
    alpha: float
    plan: Plan
    count: int = field(init=False, default=0)
    total: float = field(init=False, default=0.0)
    squares: float = field(init=False, default=0.0)
    looked: int = field(init=False, default=0)
    crossed: bool = field(init=False, default=False)
    log_e: float = field(init=False, default=0.0)
    log_threshold: float = field(init=False, default=np.inf)

    def __post_init__(self) -> None:
        if not self.looked:
            self.log_threshold = -float(np.log(_levels(self.plan, self.alpha)[0]))

    def update(self, values: np.ndarray) -> None:
        """Take in values [n]; those beyond the horizon count for nothing."""
        left = values[: self.plan.horizon - self.count]
        while len(left):
            part, left = np.split(left, [self.plan.count(self.looked + 1) - self.count])
            self.count += len(part)
            self.total += float(part.sum())
            self.squares += float(np.square(part).sum())
            if self.count == self.plan.count(self.looked + 1):
                self._look()

    def _look(self) -> None:
        mean = self.total / self.count
        deviation = float(np.sqrt(max(self.squares / self.count - mean**2, 0.0) / self.count))
        further = mean - self.mean if self.rises else self.mean - mean
        z = further / deviation if deviation else float(np.sign(further)) * _REACH
        level = _levels(self.plan, self.alpha)[self.looked]
        p_value = max(_NORMAL.cdf(-z), 1e-300)
        self.log_e, self.log_threshold = -float(np.log(p_value)), -float(np.log(level))
        self.crossed |= bool(p_value <= level)
        self.looked += 1


@lru_cache(16)
def _levels(plan: Plan, alpha: float) -> list[float]:
    """The p-value at which each look crosses."""
    information = [plan.count(look) / plan.horizon for look in range(1, plan.looks + 1)]
    return [_NORMAL.cdf(-bound) for bound in z_bounds(information, alpha=alpha, spending=plan.spending)]


def _bound(density: np.ndarray, grid: np.ndarray, step: float, probability: float, *, limit: float) -> float:
    """The score that is crossed for the first time at this look with the probability, by bisection."""
    low, high = -limit, limit
    for _ in range(45):
        middle = (low + high) / 2
        crossed = float(density @ _tail((middle - grid) / step).astype(np.float64))
        low, high = (middle, high) if crossed > probability else (low, middle)
    return high
