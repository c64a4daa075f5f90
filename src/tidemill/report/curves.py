"""The numbers behind the figures: curves of at most `POINTS` points, bins and shares, never raw rows.

Labels are class indices int64 [N]; scores and probabilities float [N] or [N, classes].
"""

from dataclasses import dataclass

import numpy as np

POINTS = 400


@dataclass(frozen=True, slots=True)
class Curve:
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True, slots=True)
class Shares:
    """By bin: centre of the bin, share with its interval, and rows. Empty bins are left out."""

    centre: np.ndarray
    share: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    rows: np.ndarray


def roc(positive: np.ndarray, scores: np.ndarray) -> Curve:
    """False against true positive rate at every threshold (positive: bool [N])."""
    true, false = _counts(positive, scores)
    x, y = false / max(false[-1], 1), true / max(true[-1], 1)
    return _thin(x, y, along=x + y)


def precision_recall(positive: np.ndarray, scores: np.ndarray) -> Curve:
    """Recall against precision at every threshold, from the highest score on."""
    true, false = _counts(positive, scores)
    recall, precision = true[1:] / max(true[-1], 1), true[1:] / (true[1:] + false[1:])
    return _thin(recall, precision, along=recall)


def reliability(happened: np.ndarray, probability: np.ndarray, level: float, bins: int = 15) -> Shares:
    """How often what was said with a probability happened; bins of equal width, centres at the mean probability."""
    where = np.clip((probability * bins).astype(np.int64), 0, bins - 1)
    return shares(happened, where, probability, bins, level)


def by_quantile(held: np.ndarray, x: np.ndarray, level: float, bins: int = 10) -> Shares:
    """Share of rows for which `held` is true, in bins of x with equally many rows."""
    return shares(held, quantile_bins(x, bins), x, bins, level)


def quantile_bins(x: np.ndarray, bins: int) -> np.ndarray:
    """Bin index int64 [N]; equal values share a bin."""
    edges = np.quantile(x, np.linspace(0, 1, bins + 1)[1:-1]) if len(x) else np.zeros(bins - 1)
    return np.searchsorted(edges, x, side="left")


def shares(held: np.ndarray, where: np.ndarray, x: np.ndarray, bins: int, level: float) -> Shares:
    rows = np.bincount(where, minlength=bins)
    used = rows > 0
    n = rows[used]
    centre = np.bincount(where, weights=x, minlength=bins)[used] / n
    share = np.bincount(where, weights=held, minlength=bins)[used] / n
    lower, upper = wilson(share, n, level)
    return Shares(centre, share, lower, upper, n)


def wilson(share: np.ndarray, rows: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval for a binomial share (1927)."""
    from statistics import NormalDist

    z = NormalDist().inv_cdf(0.5 + level / 2)
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * np.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    # rounding must not put an end on the wrong side of the share itself
    return np.minimum(middle - half, share), np.maximum(middle + half, share)


def uncalibrated(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [N, classes] as they were before a temperature divided the logits."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-38)) * temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def confusion(truth: np.ndarray, said: np.ndarray, classes: int) -> np.ndarray:
    """Rows [classes true, classes said]."""
    return np.bincount(truth * classes + said, minlength=classes * classes).reshape(classes, classes)


def central(values: np.ndarray, share: float = 0.998) -> tuple[float, float]:
    """The range that holds the middle `share` of the values: outliers must not flatten a figure."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = np.quantile(finite, [(1 - share) / 2, (1 + share) / 2])
    if low == high:
        low, high = low - 0.5, high + 0.5
    return float(low), float(high)


def _counts(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives when everything down to each distinct score counts as positive, from none to all."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], positive[order].astype(np.int64)
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1) if len(ranked) else np.array([], dtype=np.int64)
    true = np.concatenate([[0], np.cumsum(hits)[last]])
    return true, np.concatenate([[0], last + 1]) - true


def _thin(x: np.ndarray, y: np.ndarray, *, along: np.ndarray) -> Curve:
    """At most POINTS points, evenly spread along a quantity that never falls; both ends are kept."""
    if len(x) > POINTS:
        chosen = np.searchsorted(along, np.linspace(along[0], along[-1], POINTS))
        chosen = np.unique(np.concatenate([[0], np.minimum(chosen, len(x) - 1), [len(x) - 1]]))[: POINTS + 1]
        x, y = x[chosen], y[chosen]
    return Curve(x, y)
