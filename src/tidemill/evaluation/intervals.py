"""Bootstrap intervals: rows are resampled, and a resample is how often it holds each row.

Shape suffixes: R resamples, N rows, B bins.

With counts instead of copied rows, a mean over a resample is a product of matrices, and a metric of
ranks needs its sort only once (`counted.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CHUNK = 800_000
"""Counts held at a time: 6 MB, near a cache's size; chunks of 2 million took twice as long."""

MANY_ROWS = 20_000
"""From here, a skewness of 10 moves a bound of a mean by about 1% of its distance from the mean."""

NOISES = 2_000
HALVINGS = 20
LONGEST_WAY = 1e3
"""`sum_of_sizes`: draws of noise, steps of bisection, and where it gives up: no bin is wrong by 1,000 of its errors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bootstrap:
    """How intervals are made.

    level: confidence level of the two-sided interval.
    number: resamples; 0 leaves intervals out where they may be left out.
    """

    level: float
    number: int
    seed: int

    def counts(self, rows: int) -> Iterator[np.ndarray]:
        """Row counts of all resamples, in chunks [R, N] of float64; each of them sums to N."""
        rng = np.random.default_rng(self.seed)
        step = max(1, CHUNK // max(rows, 1))
        for start in range(0, self.number, step):
            size = min(step, self.number - start)
            drawn_RN = rng.integers(0, rows, size=(size, rows))
            drawn_RN += np.arange(size)[:, None] * rows
            counts = np.bincount(drawn_RN.ravel(), minlength=size * rows)
            yield counts.reshape(size, rows).astype(np.float64)


def percentile(values_R: np.ndarray, level: float) -> tuple[float, float] | None:
    """The interval between the two tails' quantiles; None if most resamples leave the metric undefined.

    Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    defined = values_R[np.isfinite(values_R)]
    if len(defined) <= len(values_R) / 2:
        return None
    lower, upper = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)


def sum_of_sizes(seen_B: np.ndarray, error_B: np.ndarray, level: float, seed: int) -> tuple[float, float]:
    """The interval for Σ|μ_B|, where `seen_B` is μ_B with independent normal noise of standard deviation `error_B`.

    Noise adds to Σ|seen_B|, and resampling adds it once more, so that the percentile method covers a true sum of zero
    never. Here a sum belongs to the interval if Σ|seen_B| is not unlikely under it (a test inverted: Casella & Berger,
    Statistical Inference (2002), section 9.2.1), at the μ_B of that sum which is next to what was seen. Coverage was
    simulated: LOG.md.
    """
    noise_RB = np.random.default_rng(seed).normal(size=(NOISES, len(seen_B))) * error_B
    total, largest = float(np.abs(seen_B).sum()), float(np.abs(seen_B).max(initial=0.0))
    sign_B = np.where(seen_B < 0, -1.0, 1.0)

    def candidate(way: float) -> np.ndarray:
        """From zero (0) by way of what was seen (1) to more than that: every part by its own noise."""
        smaller_B = np.maximum(np.abs(seen_B) - max(1 - way, 0.0) * largest, 0.0)
        return np.asarray(sign_B * (smaller_B + max(way - 1, 0.0) * error_B))

    def end(share: float) -> float:
        """The sum under which `share` of what could be seen lies below what was."""

        def beyond(way: float) -> bool:
            return bool(np.quantile(np.abs(candidate(way) + noise_RB).sum(axis=1), share) >= total)

        low, high = 0.0, 1.0
        while not beyond(high) and high < LONGEST_WAY:
            low, high = high, 2 * high
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if beyond(middle) else (middle, high)
        return float(np.abs(candidate(high)).sum()) if low > 0 else 0.0

    return end((1 + level) / 2), end((1 - level) / 2)


def mean_quantiles(values_N: np.ndarray, shares: tuple[float, ...], bootstrap: Bootstrap) -> tuple[float, ...]:
    """Confidence bounds for the mean of values: the bound for 0.95 lies above it with confidence 0.95.

    Bootstrap-t (Efron & Tibshirani 1993, chapter 12), which keeps one-sided error rates near nominal for
    the skewed differences that losses have, where the percentile method does not. Above `MANY_ROWS` the
    normal distribution says the same in no time. Fewer than two rows say nothing: the bounds are infinite.
    """
    rows = len(values_N)
    if rows < 2:
        return tuple(np.inf if share > 0.5 else -np.inf for share in shares)
    mean = float(values_N.mean())
    centred_N = values_N - mean
    error = float(np.sqrt(np.square(centred_N).mean() / rows))
    if error <= 1e-12 * float(np.abs(values_N).max()):  # all values are equal, but for rounding
        return (mean,) * len(shares)
    if rows > MANY_ROWS:
        return tuple(mean + NormalDist().inv_cdf(share) * error for share in shares)
    moments_N2 = np.stack([centred_N, np.square(centred_N)], axis=1)
    moments = np.concatenate([counts_RN @ moments_N2 for counts_RN in bootstrap.counts(rows)]) / rows
    shift_R, square_R = moments[:, 0], moments[:, 1]
    error_R = np.sqrt(np.maximum(square_R - np.square(shift_R), 0) / rows)
    varied = error_R > 1e-9 * error  # a resample of one row again and again has no error to divide by
    if not varied.any():
        return tuple(np.inf if share > 0.5 else -np.inf for share in shares)
    t_R = shift_R[varied] / error_R[varied]
    return tuple(float(mean - np.quantile(t_R, 1 - share) * error) for share in shares)
