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
    own = _own(losses, figure)
    assert own is not None
    low, high = losses.unscaled(0.0), losses.unscaled(1.0)
    return min(max((own - low) / (high - low), _NEAREST), 1 - _NEAREST)


def _worst(metrics: Sequence[Mapping[str, Any]], name: str) -> float | None:
    for metric in metrics:
        if metric["name"] == name:
            end = metric["lower"] if metric["higher_is_better"] else metric["upper"]
            return float(metric["value"] if end is None else end)
    return None


def figures(losses: Losses, manifest: Manifest) -> dict[str, float | None]:
    """What the test split showed, in the loss's own units: `promised`, the `promised_most` that its interval allows,
    and the loss of a `constant` answer."""
    test: Mapping[str, Any] = manifest.results.get("test") or {}
    trivial = next((one["metrics"] for one in test.get("baselines", ()) if one["name"] == "trivial"), ())
    name = METRICS.get(losses.name, "")
    return {
        "promised": _own(losses, _value(test.get("metrics", ()), name)),
        "promised_most": _own(losses, _worst(test.get("metrics", ()), name)),
        "constant": _own(losses, _value(trivial, name)),
    }


def _own(losses: Losses, figure: float | None) -> float | None:
    """A metric as the loss that it is about."""
    if figure is None:
        return None
    return {"zero_one": 1 - figure, "squared_error": figure**2}.get(losses.name, figure)


def _value(metrics: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return next((float(metric["value"]) for metric in metrics if metric["name"] == name), None)


FEW = 200
"""Labelled answers below which a loss above that of a constant may be chance."""


def sentence(found: Mapping[str, Any], alarms: Sequence[Mapping[str, Any]]) -> str:
    """The live loss beside what was promised, and what is certain of it.

    Args:
        found: `figures`, with `metric`, `rows` and `live` (None: nothing was weighed yet).
        alarms: those that stand.
    """
    live, most, constant = (found[name] for name in ("live", "promised_most", "constant"))
    known = [f"promised {found['promised']:.4g}, at most {most:.4g}" if most is not None else "nothing was promised"]
    known += [f"a constant answer has {constant:.4g} on the test split"] if constant is not None else []
    if live is None:
        return f"Performance: no labels are weighed yet; {', '.join(known)}."
    said = ""
    if any(one["check"] == "performance" and not one["subject"] for one in alarms):
        said = "WORSE THAN PROMISED: "
    if constant is not None and live > constant and found["rows"] >= FEW:
        said = "WORSE THAN A CONSTANT ANSWER: "
    return (
        f"Performance: {said}{found['metric']} is {live:.4g} on {found['rows']:,} labelled answers; {', '.join(known)}."
    )
