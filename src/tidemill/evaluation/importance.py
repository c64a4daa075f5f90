"""Permutation importance (Breiman 2001; Fisher, Rudin & Dominici 2019) by raw column, on validation rows."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from tidemill.data.raw import Raw
from tidemill.data.target import Labels
from tidemill.evaluation.comparison import RESAMPLES, row_losses
from tidemill.evaluation.intervals import Bootstrap, mean_quantiles
from tidemill.evaluation.results import Answered, Answers, Importance
from tidemill.settings import Objective

REPEATS, ENOUGH_ROWS = 3, 1_000
"""Permutations of each column, averaged row by row; of so many rows, one says as much as the interval shows."""
MOST_COLUMNS = 100
"""So many columns are measured: each costs REPEATS runs of the whole graph, whose own cost grows with the columns."""
_PARTS = 5
"""Into so many parts a group of columns is divided that may hold important ones."""


def permute(
    predict: Callable[[Raw], Answers], raw: Raw, labels: Labels, objective: Objective, *, level: float, seed: int
) -> tuple[Importance, ...]:
    """By how much the loss grows when one raw column's values change places; the largest growth first.

    The interval is over rows. Columns that carry the same information cover for each other, and each
    of them then looks unimportant. Of more than MOST_COLUMNS columns, those are measured that belong to the groups
    of columns whose joint permutation makes the loss grow most.

    Args:
        predict: raw arrays to answers, the whole way through preparation and model.
        raw: raw arrays of the rows.
    """
    rng = np.random.default_rng(seed)
    rows = len(labels)
    repeats = REPEATS if rows < ENOUGH_ROWS else 1
    bootstrap = Bootstrap(level=level, number=RESAMPLES, seed=seed)

    def losses(changed: Raw) -> np.ndarray:
        return row_losses(Answered(objective=objective, labels=labels, answers=predict(changed)))

    def permuted(columns: Sequence[str]) -> np.ndarray:
        order = rng.permutation(rows)
        return losses({**raw, **{column: raw[column][order] for column in columns}})

    usual = losses(raw)
    found = []
    for column in _screened(list(raw), lambda columns: float(permuted(columns).mean())):
        growth = np.mean([permuted([column]) for _ in range(repeats)], axis=0) - usual
        lower, upper = mean_quantiles(growth, ((1 - level) / 2, (1 + level) / 2), bootstrap)
        found.append(Importance(column=column, increase=float(growth.mean()), lower=lower, upper=upper))
    return tuple(sorted(found, key=lambda importance: -importance.increase))


def _screened(columns: list[str], loss: Callable[[list[str]], float]) -> list[str]:
    """At most MOST_COLUMNS of the columns: groups whose permutation hurts are divided, the others are left out.

    Args:
        loss: of all rows, when these columns are permuted together.
    """
    size = math.ceil(len(columns) / MOST_COLUMNS)
    while size > 1:
        groups = [columns[start : start + size] for start in range(0, len(columns), size)]
        smaller = math.ceil(size / _PARTS)
        kept = sorted(groups, key=loss, reverse=True)[: MOST_COLUMNS * smaller // size]
        columns, size = [column for group in kept for column in group], smaller
    return columns
