"""The loss that a bundle's test split showed, of which the live one must not exceed the upper end of its interval."""

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.bundle.manifest import Manifest
from tidemill.steward.losses import Loss

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
FEW = 200
"""Labelled answers below which a loss above that of a constant may be chance."""


def allowed_loss(losses: Loss, manifest: Manifest, column: str = "", value: str = "") -> float | None:
    """The loss, in [0, 1], that the test split says is not exceeded; None where the bundle has no such figure.

    The upper end of its interval, as the test split is a sample too; with evaluation.bootstrap=0 the figure itself.
    Losses are clipped and the manifest's metrics are not, so that the limit can only be too high.

    Args:
        column, value: of a slice; empty for the whole split.
    """
    test: Mapping[str, Any] = manifest.results.get("test") or {}
    if column:
        found = [part for part in test.get("slices", ()) if part["column"] == column and part["value"] == value]
        test = found[0] if found else {}
    most = _loss(losses, test.get("metrics", ()), worst=True)
    if most is None:
        return None
    return min(max((most - losses.low) / (losses.high - losses.low), _NEAREST), 1 - _NEAREST)


def figures(losses: Loss, manifest: Manifest) -> dict[str, float | None]:
    """What the test split showed, in the loss's own units: `promised`, the `promised_most` that its interval allows,
    and the loss of a `constant` answer."""
    test: Mapping[str, Any] = manifest.results.get("test") or {}
    trivial = next((one["metrics"] for one in test.get("baselines", ()) if one["name"] == "trivial"), ())
    return {
        "promised": _loss(losses, test.get("metrics", ())),
        "promised_most": _loss(losses, test.get("metrics", ()), worst=True),
        "constant": _loss(losses, trivial),
    }


def _loss(losses: Loss, metrics: Sequence[Mapping[str, Any]], *, worst: bool = False) -> float | None:
    """The loss that follows from its metric, or from the worse end of the metric's interval."""
    metric = next((each for each in metrics if each["name"] == METRICS.get(losses.name)), None)
    if metric is None:
        return None
    end = (metric["lower"] if metric["higher_is_better"] else metric["upper"]) if worst else None
    figure = float(metric["value"] if end is None else end)
    return {"zero_one": 1 - figure, "squared_error": figure**2}.get(losses.name, figure)


def sentence(found: Mapping[str, Any], alarms: Sequence[Mapping[str, Any]]) -> str:
    """The live loss beside that of the test split, and what is certain of it.

    Args:
        found: `figures`, with `metric`, `rows` and `live` (None: nothing was weighed yet).
        alarms: those that stand.
    """
    live, most, constant = (found[name] for name in ("live", "promised_most", "constant"))
    compared = f"promised {found['promised']:.4g}, at most {most:.4g}" if most is not None else "nothing was promised"
    compared += f", a constant answer has {constant:.4g} on the test split" if constant is not None else ""
    if live is None:
        return f"Performance: no labels are weighed yet; {compared}."
    warning = ""
    if any(one["check"] == "performance" and not one["subject"] for one in alarms):
        warning = "WORSE THAN PROMISED: "
    if constant is not None and live > constant and found["rows"] >= FEW:
        warning = "WORSE THAN A CONSTANT ANSWER: "
    return f"Performance: {warning}{found['metric']} is {live:.4g} on {found['rows']:,} labelled answers; {compared}."
