"""What a bundle promises about its loss: that on its test split, or a slice of it, at the upper end of its interval."""

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.bundle.manifest import Manifest
from tidemill.steward.watch import Losses

METRICS = {
    "log_loss": "log_loss",
    "brier": "brier",
    "zero_one": "accuracy",
    "absolute_error": "mae",
    "squared_error": "rmse",
}
"""The manifest's metric from which each loss follows."""

_NEAREST = 1e-6
"""To 0 and 1: a baseline lies inside."""


def promised(losses: Losses, manifest: Manifest, column: str = "", value: str = "") -> float | None:
    """The loss that the test split says is not exceeded, in [0, 1]; None where the bundle has no such figure.

    The upper end of its interval, as the test split is a sample too; with evaluation.bootstrap=0 the figure itself.
    Losses are clipped and the manifest's metrics are not, which can only make the promise a weaker one.

    Args:
        column, value: of a slice; empty for the whole split.
    """
    test: Mapping[str, Any] = manifest.results.get("test") or {}
    if column:
        found = [part for part in test.get("slices", ()) if part["column"] == column and part["value"] == value]
        test = found[0] if found else {}
    figure = _worst(test.get("metrics", ()), METRICS.get(losses.name, ""))
    if figure is None:
        return None
    own = {"zero_one": 1 - figure, "squared_error": figure**2}.get(losses.name, figure)
    low, high = losses.unscaled(0.0), losses.unscaled(1.0)
    return min(max((own - low) / (high - low), _NEAREST), 1 - _NEAREST)


def _worst(metrics: Sequence[Mapping[str, Any]], name: str) -> float | None:
    for metric in metrics:
        if metric["name"] == name:
            end = metric["lower"] if metric["higher_is_better"] else metric["upper"]
            return float(metric["value"] if end is None else end)
    return None
