"""A metric, as it would stand in `METRICS` of src/tidemill/evaluation/metrics.py.

Its kernel gives the metric of many bootstrap resamples at once, as a function of how often each resample holds each
row; with every row once, that is the value. `counted.mean_of` makes the kernel of any mean over rows.
"""

import numpy as np

from tidemill.evaluation import counted
from tidemill.evaluation.metrics import Definition
from tidemill.evaluation.results import Answered
from tidemill.settings import Objective


def _certain(answered: Answered) -> np.ndarray:
    """By row: whether the model gives its answer a probability of 0.9 or more."""
    return np.asarray(answered.probabilities.max(axis=1) >= 0.9)


CERTAIN = Definition("certain", (Objective.BINARY, Objective.MULTICLASS), True, counted.mean_of(_certain))
