"""Which of two models had the lower loss on the same records, with intervals that know that a day's records are alike.

Shape suffixes: N records, D days, R resamples.

Days are resampled, not records (cluster bootstrap: Davison & Hinkley, Bootstrap Methods, 1997, section 3.8): a storm
makes a thousand flights late at once, and counting them as a thousand proofs would make anything certain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from tidemill.evaluation.intervals import Bootstrap, percentile

LEVEL = 0.95
_RESAMPLES = 2_000
_SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Mean losses of ours and theirs on the same records; below 0 ours is better.

    lower, upper: of the difference, at `LEVEL`; infinite where there are fewer than two days.
    """

    rows: int
    days: int
    ours: float
    theirs: float
    difference: float
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CumulativeDifference:
    """The difference as it grew: summed over all records up to the end of each day, and its interval."""

    days: Sequence[date]
    total: Sequence[float]
    lower: Sequence[float]
    upper: Sequence[float]


def between(ours_N: np.ndarray, theirs_N: np.ndarray, day_N: np.ndarray) -> Difference | None:
    """The mean difference. day_N: whole numbers, equal for records of the same day. None: there are no records."""
    if not len(ours_N):
        return None
    sums_D, rows_D = _by_day(ours_N - theirs_N, day_N)
    ends = None
    if len(sums_D) > 1:
        bootstrap = Bootstrap(level=LEVEL, number=_RESAMPLES, seed=_SEED)
        means = [(counts_RD @ sums_D) / (counts_RD @ rows_D) for counts_RD in bootstrap.counts(len(sums_D))]
        ends = percentile(np.concatenate(means), LEVEL)
    lower, upper = ends or (-np.inf, np.inf)
    return Difference(
        rows=len(ours_N),
        days=len(sums_D),
        ours=float(ours_N.mean()),
        theirs=float(theirs_N.mean()),
        difference=float(sums_D.sum() / rows_D.sum()),
        lower=lower,
        upper=upper,
    )


def by_month(ours_N: np.ndarray, theirs_N: np.ndarray, moments: pl.Series) -> list[tuple[date, Difference]]:
    """The first day of each month that has records, and the difference on them."""
    month_N = moments.dt.truncate("1mo").dt.date()
    found = []
    for month in month_N.unique().sort():
        rows = (month_N == month).to_numpy()
        one = between(ours_N[rows], theirs_N[rows], days_of(moments)[rows])
        assert one is not None
        found.append((month, one))
    return found


def course(ours_N: np.ndarray, theirs_N: np.ndarray, moments: pl.Series) -> CumulativeDifference:
    """The difference as a running sum. Its interval is that of the mean up to there, times the records up to there."""
    day_N = days_of(moments)
    sums_D, rows_D = _by_day(ours_N - theirs_N, day_N)
    weights_RD = np.random.default_rng(_SEED).poisson(
        1.0, (_RESAMPLES, len(sums_D))
    )  # Poisson: prefixes are resampled too
    with np.errstate(invalid="ignore"):  # a resample may be without any of the first days
        means_RD = (weights_RD * sums_D).cumsum(axis=1) / (weights_RD * rows_D).cumsum(axis=1)
    lower_D, upper_D = np.nanquantile(means_RD, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) * rows_D.cumsum()
    return CumulativeDifference(
        days=[date.fromordinal(int(day) + date(1970, 1, 1).toordinal()) for day in np.unique(day_N)],
        total=sums_D.cumsum().tolist(),
        lower=lower_D.tolist(),
        upper=upper_D.tolist(),
    )


def days_of(moments: pl.Series) -> np.ndarray:
    """Days since 1970."""
    return moments.dt.date().to_physical().to_numpy()


def _by_day(values_N: np.ndarray, day_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of each day, in order of days."""
    _, place_N = np.unique(day_N, return_inverse=True)
    return np.bincount(place_N, weights=values_N), np.bincount(place_N)
