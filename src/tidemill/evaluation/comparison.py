"""Two models on the same rows: the paired difference in loss, which is far less noisy than two scores."""

import numpy as np

from tidemill.evaluation.intervals import Bootstrap, mean_quantiles
from tidemill.evaluation.results import Answered, Comparison
from tidemill.settings import Objective

SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)
"""Answers are float32: one less than this from 1 cannot be told from 1, so none counts as surer than that."""

RESAMPLES = 1_000
"""Comparisons decide things, so they do not depend on how many resamples a report asks for."""


def loss_name(objective: Objective) -> str:
    return "squared_error" if objective is Objective.REGRESSION else "log_loss"


def row_losses(answered: Answered) -> np.ndarray:
    """Loss of each row [rows], float64: log loss, or squared error in the target's units squared."""
    if answered.objective is Objective.REGRESSION:
        return np.asarray(np.square(answered.value - answered.labels))
    probability = answered.probabilities[np.arange(len(answered.labels)), answered.labels]
    return np.asarray(-np.log(np.clip(probability, SMALLEST_PROBABILITY, 1.0)))


def compare(ours: Answered, theirs: Answered, *, level: float, seed: int) -> Comparison:
    """The mean of our loss minus theirs, row by row, with a two-sided bootstrap interval."""
    assert ours.objective is theirs.objective
    assert np.array_equal(ours.labels, theirs.labels), "a paired comparison needs the same rows"
    difference = row_losses(ours) - row_losses(theirs)
    bootstrap = Bootstrap(level=level, number=RESAMPLES, seed=seed)
    lower, upper = mean_quantiles(difference, ((1 - level) / 2, (1 + level) / 2), bootstrap)
    return Comparison(
        loss=loss_name(ours.objective),
        difference=float(difference.mean()),
        lower=lower,
        upper=upper,
        level=level,
        rows=len(difference),
    )


def excess(ours: Answered, theirs: Answered, *, margin: float, level: float, seed: int) -> float:
    """Upper confidence bound (one-sided) of our mean loss minus (1 + margin) times theirs.

    Below 0: at this confidence, we are not worse than they are by more than the margin. The margin is a
    share of their loss on these same rows, so that the bound takes in how uncertain that is as well.
    """
    values = row_losses(ours) - (1 + margin) * row_losses(theirs)
    (bound,) = mean_quantiles(values, (level,), Bootstrap(level=level, number=RESAMPLES, seed=seed))
    return bound
