"""Permutation importance (Breiman 2001; Fisher, Rudin & Dominici 2019) by raw column, on validation rows."""

from collections.abc import Callable

import numpy as np

from tidemill.data.raw import Raw
from tidemill.data.target import Labels
from tidemill.evaluation.comparison import RESAMPLES, row_losses
from tidemill.evaluation.intervals import Bootstrap, mean_quantiles
from tidemill.evaluation.results import Answered, Answers, Importance
from tidemill.settings import Objective

REPEATS = 3
"""Permutations of each column, averaged row by row."""


def permute(
    predict: Callable[[Raw], Answers], raw: Raw, labels: Labels, objective: Objective, *, level: float, seed: int
) -> tuple[Importance, ...]:
    """By how much the loss grows when one raw column's values change places; the largest growth first.

    The interval is over rows. Columns that carry the same information cover for each other, and each
    of them then looks unimportant.

    Args:
        predict: raw arrays to answers, the whole way through preparation and model.
        raw: raw arrays of the rows.
    """
    rng = np.random.default_rng(seed)
    rows = len(labels)
    bootstrap = Bootstrap(level=level, number=RESAMPLES, seed=seed)

    def losses(changed: Raw) -> np.ndarray:
        return row_losses(Answered(objective=objective, labels=labels, answers=predict(changed)))

    usual = losses(raw)
    found = []
    for column, values in raw.items():
        permuted = [losses({**raw, column: values[rng.permutation(rows)]}) for _ in range(REPEATS)]
        growth = np.mean(permuted, axis=0) - usual
        lower, upper = mean_quantiles(growth, ((1 - level) / 2, (1 + level) / 2), bootstrap)
        found.append(Importance(column=column, increase=float(growth.mean()), lower=lower, upper=upper))
    return tuple(sorted(found, key=lambda importance: -importance.increase))
