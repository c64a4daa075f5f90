"""A metric, as it would stand in `METRICS` of src/tidemill/evaluation/metrics.py.

The first function gives its value on some rows; the kernel gives the same for many bootstrap resamples at once, as a
function of how often each resample holds each row. `counted.mean_of` makes the kernel of any mean over rows.
"""

import numpy as np

from tidemill.evaluation import counted
from tidemill.evaluation.metrics import Definition
from tidemill.evaluation.results import Answered
from tidemill.settings import Objective


def _certain(answered: Answered) -> np.ndarray:
    """By row: whether the model gives its answer a probability of 0.9 or more."""
    return np.asarray(answered.probabilities.max(axis=1) >= 0.9)


def _value(answered: Answered) -> float:
    return float(_certain(answered).mean())


CERTAIN = Definition("certain", (Objective.BINARY, Objective.MULTICLASS), True, _value, counted.mean_of(_certain))
