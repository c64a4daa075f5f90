"""Metrics of many resamples at once, as functions of how often each holds each row.

Shape suffixes: R resamples, N rows, P positive rows, L classes.

Every function here takes the rows once (sorting them where ranks matter) and gives a *kernel*:
counts_RN → values_R, NaN where a metric is undefined on a resample. `tests/contracts/test_metrics.py`
holds each kernel to the torchmetrics function that stands beside it in `metrics.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tidemill.evaluation.intervals import Bootstrap, sum_of_sizes
from tidemill.evaluation.results import Answered
from tidemill.settings import Objective

Kernel = Callable[[np.ndarray], np.ndarray]


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above ÷ below, NaN where below is 0."""
    return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0))


def mean_of(values_of: Callable[[Answered], np.ndarray]) -> Callable[[Answered], Kernel]:
    """The kernel of any metric that is a mean over rows."""

    def prepare(answered: Answered) -> Kernel:
        values_N = np.asarray(values_of(answered), dtype=np.float64)
        return lambda counts_RN: (counts_RN @ values_N) / counts_RN.sum(axis=1)

    return prepare


def one_vs_rest(answered: Answered) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(score, is positive) by row, for the positive class, or for each class of several.

    Classes that all rows have, or none, cannot be ranked and are left out.
    """
    classes = answered.probabilities.shape[1]
    for index in [1] if answered.objective is Objective.BINARY else range(classes):
        positive_N = answered.labels == index
        if 0 < positive_N.sum() < len(positive_N):
            yield answered.probabilities[:, index], positive_N


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Where the positive rows stand once all rows are sorted from the highest score: ties stand together.

    order: row numbers [N]; positive: places of the positive rows [P].
    first, last: for each positive row, the number of rows above its ties, and down to the last of them [P].
    positive_first, positive_last: the same, counting positive rows only [P].
    """

    order: np.ndarray
    positive: np.ndarray
    first: np.ndarray
    last: np.ndarray
    positive_first: np.ndarray
    positive_last: np.ndarray

    @classmethod
    def of(cls, score_N: np.ndarray, positive_N: np.ndarray) -> "_Ranking":
        order_N = np.argsort(-score_N, kind="stable")
        positive_P = np.flatnonzero(positive_N[order_N])
        descending_N = -score_N[order_N]
        first_P = np.searchsorted(descending_N, descending_N[positive_P], side="left")
        last_P = np.searchsorted(descending_N, descending_N[positive_P], side="right")
        positive_first_P, positive_last_P = np.searchsorted(positive_P, [first_P, last_P], side="left")
        return cls(order_N, positive_P, first_P, last_P, positive_first_P, positive_last_P)

    def down_to(self, counts_RN: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Counts of the positive rows [R, P], of all rows from the top [R, N + 1], of positives [R, P + 1]."""
        sorted_RN = np.take(counts_RN, self.order, axis=1)
        positive_RP = np.take(sorted_RN, self.positive, axis=1)
        return positive_RP, _cumulative(sorted_RN), _cumulative(positive_RP)

    def auroc(self, counts_RN: np.ndarray) -> np.ndarray:
        positive_RP, rows_RN, positives_RP = self.down_to(counts_RN)
        misses_RP = (
            np.take(rows_RN, self.first, axis=1)
            + np.take(rows_RN, self.last, axis=1)
            - np.take(positives_RP, self.positive_first, axis=1)
            - np.take(positives_RP, self.positive_last, axis=1)
        ) / 2
        hits_R = positives_RP[:, -1]
        misses_R = rows_RN[:, -1] - hits_R
        wrong_R = np.einsum("rp,rp->r", positive_RP, misses_RP)
        return 1 - ratio(wrong_R, hits_R * misses_R)

    def average_precision(self, counts_RN: np.ndarray) -> np.ndarray:
        positive_RP, rows_RN, positives_RP = self.down_to(counts_RN)
        hits_RP = np.take(positives_RP, self.positive_last, axis=1)
        rows_RP = np.take(rows_RN, self.last, axis=1)
        # A resample without any row so far has no hit to weigh either, so it may be divided by 1.
        precision_R = np.einsum("rp,rp->r", positive_RP, hits_RP / np.maximum(rows_RP, 1))
        both_R = np.where(rows_RN[:, -1] > positives_RP[:, -1], positives_RP[:, -1], 0)
        return ratio(precision_R, both_R)


def _cumulative(values: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, … columns."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def auroc(answered: Answered) -> Kernel:
    """Share of pairs of a positive and a negative row in the right order; ties count half."""
    rankings = [_Ranking.of(*rows) for rows in one_vs_rest(answered)]
    return lambda counts_RN: _nan_mean([ranking.auroc(counts_RN) for ranking in rankings], len(counts_RN))


def average_precision(answered: Answered) -> Kernel:
    """Precision at each positive row's score, averaged over the positive rows."""
    rankings = [_Ranking.of(*rows) for rows in one_vs_rest(answered)]
    return lambda counts_RN: _nan_mean([ranking.average_precision(counts_RN) for ranking in rankings], len(counts_RN))


def _nan_mean(values: list[np.ndarray], resamples: int) -> np.ndarray:
    """Mean over classes, of those that a resample defines."""
    values_LR = np.array(values).reshape(len(values), resamples)
    defined_LR = np.isfinite(values_LR)
    return ratio(np.where(defined_LR, values_LR, 0.0).sum(axis=0), defined_LR.sum(axis=0).astype(np.float64))


def precision(answered: Answered) -> Kernel:
    return _by_class(answered, lambda hit, predicted, actual: ratio(hit, predicted))


def recall(answered: Answered) -> Kernel:
    return _by_class(answered, lambda hit, predicted, actual: ratio(hit, actual))


def f1(answered: Answered) -> Kernel:
    return _by_class(answered, lambda hit, predicted, actual: ratio(2 * hit, predicted + actual))


def _by_class(answered: Answered, metric: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Kernel:
    """The positive class's figure; for several classes the mean over those that are there or predicted.

    A class of several that is never predicted counts as 0, as torchmetrics does; in a binary
    objective that figure is undefined.
    """
    binary = answered.objective is Objective.BINARY
    classes = np.array([1]) if binary else np.arange(answered.probabilities.shape[1])
    predicted_NL = answered.predicted[:, None] == classes
    actual_NL = answered.labels[:, None] == classes
    masks = [mask.astype(np.float64) for mask in (predicted_NL & actual_NL, predicted_NL, actual_NL)]

    def kernel(counts_RN: np.ndarray) -> np.ndarray:
        hit_RL, predicted_RL, actual_RL = (counts_RN @ mask for mask in masks)
        values_RL = metric(hit_RL, predicted_RL, actual_RL)
        if binary:
            return values_RL[:, 0]
        there_RL = (predicted_RL + actual_RL) > 0
        zero_for_never_RL = np.nan_to_num(values_RL) * there_RL
        return ratio(zero_for_never_RL.sum(axis=1), there_RL.sum(axis=1).astype(np.float64))

    return kernel


def confidences(answered: Answered) -> tuple[np.ndarray, np.ndarray]:
    """What should agree on average: the positive class's probability and whether a row is positive.

    For several classes, the most probable one's, and whether the row is of that class.
    """
    if answered.objective is Objective.BINARY:
        return answered.probabilities[:, 1], answered.labels == 1
    return answered.probabilities.max(axis=1), answered.predicted == answered.labels


def ece(bins: int) -> Callable[[Answered], Kernel]:
    """Expected calibration error over equal bins of confidence (Guo et al. 2017), as torchmetrics cuts them."""

    def prepare(answered: Answered) -> Kernel:
        confidence_N, right_N, bin_N = _binned(answered, bins)
        gap = np.zeros((len(confidence_N), bins + 1))
        gap[np.arange(len(gap)), bin_N] = confidence_N - right_N
        return lambda counts_RN: np.abs(counts_RN @ gap).sum(axis=1) / counts_RN.sum(axis=1)

    return prepare


def ece_interval(bins: int) -> Callable[[Answered, Bootstrap], tuple[float, float]]:
    """The interval for the calibration error that is left without what chance adds to the figure."""

    def interval(answered: Answered, bootstrap: Bootstrap) -> tuple[float, float]:
        confidence_N, right_N, bin_N = _binned(answered, bins)
        rows_B, right_B, confidence_B = (
            np.bincount(bin_N, weights, bins + 1) for weights in (None, right_N, confidence_N)
        )
        share_B = (right_B + 0.5) / (rows_B + 1)  # never 0 or 1: a bin of three rows that are all right is not sure
        error_B = np.sqrt(rows_B * share_B * (1 - share_B))
        gap_B, rows = confidence_B - right_B, len(bin_N)
        return sum_of_sizes(gap_B / rows, error_B / rows, bootstrap.level, bootstrap.seed)

    return interval


def _binned(answered: Answered, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence, whether it is right, and the bin of each row; a confidence of exactly 1 has a bin of its own."""
    confidence_N, right_N = confidences(answered)
    bin_N = np.clip(np.searchsorted(np.linspace(0, 1, bins + 1), confidence_N, side="right") - 1, 0, bins)
    return confidence_N, right_N, bin_N


def rmse(answered: Answered) -> Kernel:
    mean_square = mean_of(lambda rows: np.square(rows.value - rows.labels))(answered)
    return lambda counts_RN: np.sqrt(mean_square(counts_RN))


def r2(answered: Answered) -> Kernel:
    residual_N = np.square(answered.value - answered.labels)
    centred_N = answered.labels - answered.labels.mean()
    sums = np.stack([residual_N, centred_N, np.square(centred_N)], axis=1)

    def kernel(counts_RN: np.ndarray) -> np.ndarray:
        rows_R = counts_RN.sum(axis=1)
        error_R, shift_R, square_R = (counts_RN @ sums).T
        spread_R = square_R - np.square(shift_R) / rows_R
        spread_R = np.where(spread_R > 1e-12 * square_R, spread_R, 0.0)  # all of one value, but for rounding
        return 1 - ratio(error_R, spread_R)

    return kernel
