"""Calibration, fitted on the validation split and built into the exported graph.

Temperature scaling: Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks" (2017).
Split-conformal intervals: Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World" (2005);
Lei, G'Sell, Rinaldo, Tibshirani & Wasserman, "Distribution-Free Predictive Inference for Regression" (2018).
"""

import math
from dataclasses import dataclass

import numpy as np

from tidemill.data.target import Labels

TEMPERATURES = (0.1, 10.0)
"""Bounds: separable validation rows would ask for 0, and then for answers without any doubt."""

FEWEST_ROWS = 30
"""With fewer validation rows, a fitted temperature says more about them than about the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Temperature:
    """What logits are divided by; above 1 makes a model less sure."""

    value: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Conformal:
    """An interval of the value ± half_width, in the target's units.

    coverage: share of new rows that it holds at least, if they are exchangeable with the validation
        rows. n rows can promise n / (n + 1) at most: with fewer rows than the share asked for needs,
        it is less than was asked for.
    """

    half_width: float
    coverage: float


def fit_temperature(logits: np.ndarray, labels: Labels) -> Temperature | None:
    """The temperature of least log loss on validation rows; 1 where none is better or rows are too few.

    None where a class has no row: how sure a model may be of it cannot be told.

    Args:
        logits: shape [rows, K], pooled over ensemble members; K = 1 for binary.
        labels: class index [rows].
    """
    from scipy.optimize import minimize_scalar

    scores = np.asarray(logits, dtype=np.float64)
    if scores.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
    if not np.bincount(labels, minlength=scores.shape[1]).all():
        return None
    if len(labels) < FEWEST_ROWS:
        return Temperature()
    # What each class's score is ahead of the true one's: the loss is the log of the sum of their exponentials.
    ahead = scores - scores[np.arange(len(labels)), labels][:, None]

    def log_loss(log_temperature: float) -> float:
        scaled = ahead / math.exp(log_temperature)
        top = scaled.max(axis=1)
        return float(np.mean(top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))))

    low, high = (math.log(bound) for bound in TEMPERATURES)
    best = minimize_scalar(log_loss, bounds=(low, high), method="bounded")
    return Temperature(value=math.exp(best.x)) if best.fun < log_loss(0.0) else Temperature()


def fit_conformal(values: np.ndarray, labels: Labels, coverage: float) -> Conformal:
    """The half width that covers a share of new rows, with the correction for finitely many validation rows.

    Args:
        values: predicted on validation rows [rows], in the target's units.
        coverage: asked for, between 0 and 1.
    """
    residuals = np.sort(np.abs(np.asarray(values, dtype=np.float64) - labels))
    rows = len(residuals)
    assert rows > 0, "the validation split is never empty"
    rank = math.ceil((rows + 1) * coverage)
    if rank > rows:
        return Conformal(half_width=float(residuals[-1]), coverage=rows / (rows + 1))
    return Conformal(half_width=float(residuals[rank - 1]), coverage=coverage)
