"""What evidence may be given.

The guarantees of this package rest on values that lie inside stated limits, so every entrance checks them here. Logs
take the place of e-values throughout, as those get larger than any floating-point number.
"""

from typing import Any

import numpy as np

from tidemill.errors import SettingsError

NOTHING = -1e9
"""Log of no evidence at all: its exponential is 0, and JSON can hold it, unlike minus infinity."""


def require_share(name: str, value: float) -> None:
    """Check a probability or a share.

    Raises:
        SettingsError: unless 0 < value < 1.
    """
    if not 0 < value < 1:
        raise SettingsError(
            f"{name} lies between 0 and 1, both excluded", observed=f"{value}", remedy="give a share such as 0.05"
        )


def require_positive(name: str, value: float) -> None:
    """Check a size or a number.

    Raises:
        SettingsError: unless 0 < value < ∞.
    """
    if not 0 < value < np.inf:
        raise SettingsError(f"{name} is greater than 0 and finite", observed=f"{value}", remedy="give a larger one")


def within(values: Any, low: float, high: float) -> np.ndarray:
    """Return the values as float64 [..., n], a single one as [1].

    Raises:
        SettingsError: one of them is outside [low, high] or not a number.

    >>> within([0, 1], 0.0, 1.0)
    array([0., 1.])
    >>> within(1.5, 0.0, 1.0)
    Traceback (most recent call last):
    tidemill.errors.SettingsError: Values lie in [0, 1]. Got: 1.5. Remedy: ...
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


def at_peak(values: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """Return the value [...] beside the highest peak, over the last axis of both."""
    best = np.argmax(peak, axis=-1)[..., None]
    return np.asarray(np.take_along_axis(np.broadcast_to(values, peak.shape), best, axis=-1)[..., 0])


def log_mean(logs: np.ndarray) -> np.ndarray:
    """Return the log of the mean over the last axis, of values that are given by their logs.

    >>> import numpy as np
    >>> float(np.exp(log_mean(np.log([1.0, 3.0]))).round(9))
    2.0
    """
    return np.asarray(np.logaddexp.reduce(logs, axis=-1) - np.log(logs.shape[-1]))
