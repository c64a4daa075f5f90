"""What evidence may be given: values inside the limits its guarantee rests on; and its state as JSON holds it."""

from dataclasses import asdict
from typing import Any

import numpy as np

from tidemill.errors import SettingsError

NOTHING = -1e9
"""Log of no evidence at all: its exponential is 0, and JSON can hold it, unlike minus infinity."""


def require_share(name: str, value: float) -> None:
    """Raises: SettingsError, unless 0 < value < 1."""
    if not 0 < value < 1:
        raise SettingsError(
            f"{name} lies between 0 and 1, both excluded", observed=f"{value}", remedy="give a share such as 0.05"
        )


def require_positive(name: str, value: float) -> None:
    """Raises: SettingsError, unless 0 < value < ∞."""
    if not 0 < value < np.inf:
        raise SettingsError(f"{name} is greater than 0 and finite", observed=f"{value}", remedy="give a larger one")


def within(values: Any, low: float, high: float) -> np.ndarray:
    """The values as float64 [..., n], a single one as [1].

    Raises:
        SettingsError: one is outside [low, high] or not a number: every guarantee rests on these bounds.
    """
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    outside = ~((array >= low) & (array <= high))
    if outside.any():
        raise SettingsError(
            f"Values lie in [{low:g}, {high:g}]",
            observed=f"{array[outside][0]}",
            remedy="set the bounds that the values have, or clip them to these",
        )
    return array


def plain(evidence: Any) -> dict[str, Any]:
    """A dataclass's fields as JSON holds them; the same fields make it again: `type(evidence)(**plain(evidence))`."""
    found = asdict(evidence)
    return {
        name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value for name, value in found.items()
    }


def log_mean(logs: np.ndarray) -> np.ndarray:
    """Log of the mean over the last axis of values given by their logs."""
    return np.asarray(np.logaddexp.reduce(logs, axis=-1) - np.log(logs.shape[-1]))
