"""The target: from a column's values to numbers for the loss, and back to labels."""

from dataclasses import dataclass

import numpy as np

from tidemill.settings import Objective


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What is predicted.

    classes: labels as text, in the order of the model's outputs (empty for regression). For binary,
        classes[1] is the positive class, the one whose probability `answers["probability"]` is.
    """

    name: str
    objective: Objective
    classes: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """K: 1 for binary and regression, the number of classes for multiclass."""
        return len(self.classes) if self.objective is Objective.MULTICLASS else 1


Labels = np.ndarray
"""Encoded target, shape [rows]: int64 class index, or float64 value for regression."""
