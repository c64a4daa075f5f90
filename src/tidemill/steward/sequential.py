"""Group-sequential bounds: the second mode, for those who fix in advance when the last look is.

Lan & DeMets, Discrete sequential boundaries for clinical trials (Biometrika, 1983): of alpha, a look may spend what
the spending function gives to the information there was; bounds follow by the recursion of Armitage, McPherson &
Rowe (JRSS A, 1969). One-sided: cross where z is at the bound or above; for two sides, half of alpha on each.

Assumes: independent increments, samples large enough for a normal z, and that looks were not timed by what they
showed. Void after the last planned look (a look more has no alpha left), and where betting.py's evidence is. Sooner
than evidence that holds at all times where all that is known in advance; of no worth where it is not.
"""

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from statistics import NormalDist

import numpy as np

from tidemill.errors import SettingsError
from tidemill.steward.limits import require_share

_NORMAL = NormalDist()
_POINTS = 240
_REACH = 8.0  # standard deviations: less than 1e-15 lies beyond
_tail = np.frompyfunc(lambda z: _NORMAL.cdf(-z), 1, 1)


class Spending(StrEnum):
    """How alpha is spent: little at first (O'Brien & Fleming, 1979) or about evenly (Pocock, 1977)."""

    OBRIEN_FLEMING = "obrien_fleming"
    POCOCK = "pocock"


def spent(spending: Spending, alpha: float, information: float) -> float:
    """Alpha that may have been spent, one-sided, at a share of the planned information (at most 1)."""
    share = min(information, 1.0)
    if spending is Spending.POCOCK:
        return float(alpha * np.log1p((np.e - 1) * share))
    return 2 * _NORMAL.cdf(_NORMAL.inv_cdf(alpha / 2) / float(np.sqrt(share)))


def z_bounds(information: Sequence[float], *, alpha: float, spending: Spending) -> list[float]:
    """The bound on z at each look so far.

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


def _bound(density: np.ndarray, grid: np.ndarray, step: float, probability: float, *, limit: float) -> float:
    """The score that is crossed for the first time at this look with the probability, by bisection."""
    low, high = -limit, limit
    for _ in range(45):
        middle = (low + high) / 2
        crossed = float(density @ _tail((middle - grid) / step).astype(np.float64))
        low, high = (middle, high) if crossed > probability else (low, middle)
    return high
