"""How many test rows a gate needs to decide, computed before a retraining begins from what the champion's bundle says.

The gate passes a version when a one-sided bound, at its `level`, of mean(new − (1 + margin) · champion) lies below 0,
where both are losses. This is a test that the new version is not worse by more than the margin. If the two are in truth
equally good, that mean is −margin · L, with L the champion's mean loss, and the bound lies below 0 with probability
`POWER` from

    n = ((z(level) + z(POWER)) · s / (margin · L))²

rows on, with s the standard deviation, over rows, of new − (1 + margin) · champion (Julious, Sample sizes for clinical
trials with Normal data, Statistics in Medicine 2004, the section on non-inferiority). Here s² = d² + (margin · c)²: d
is the standard deviation of the difference of two models on a row, and c that of the champion's loss. Both follow from
the width of intervals in the manifest. Where the champion's loss has risen, a new version is expected to be better by a
gain g. Then g is added to margin · L, and g² to s², as models that differ in the mean differ by row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite, sqrt
from statistics import NormalDist
from typing import Any

from tidemill.bundle.manifest import Manifest

POWER = 0.8
"""The probability with which a version that is as good as the champion passes."""
_CORRELATION = 0.9
"""Of the losses of two models on the same row, where no comparison in the manifest says more."""
_BASELINE = "trivial"


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What a gate needs to decide, and what that follows from; as a text, a sentence for people.

    >>> need = Need(rows=1200, loss=0.31, margin=0.01, level=0.95, spread=0.05)
    >>> need.records
    1800
    >>> str(need)[:83]
    'with a margin of 1.0% of a loss of 0.31, its gate needs 1,200 test rows to pass one'

    Attributes:
        rows: of the test split.
        loss: the champion's mean loss.
        margin, level: the gate's settings.
        spread: s in the formula above.
        gain: by which the loss of a new version is expected to be lower.
    """

    rows: int
    loss: float
    margin: float
    level: float
    spread: float
    gain: float = 0.0

    @property
    def records(self) -> int:
        """Records in all: those of the test split, and half as many to choose the best epoch by."""
        return self.rows + (self.rows + 1) // 2

    def __str__(self) -> str:
        expected = f"one that is better by {self.gain:.4g}" if self.gain else "one that is as good as the champion"
        return (
            f"with a margin of {self.margin:.1%} of a loss of {self.loss:.4g}, its gate needs {self.rows:,} test rows "
            f"to pass {expected} in {POWER:.0%} of cases, and half as many choose the epoch"
        )


def needed(champion: Manifest, words: Sequence[str], gain: float = 0.0) -> Need | None:
    """Return what the gate of a retraining needs; None where the bundle has no figures from which that follows.

    Args:
        champion: the manifest of the bundle that serves.
        words: of the retraining's command; what they set of the gate counts before what the champion's run had set.
        gain: in units of the loss, by which a new version is expected to be better.
    """
    gate: Mapping[str, Any] = champion.settings.get("gate") or {}
    given = {key.lstrip("+"): value for key, _, value in (word.partition("=") for word in words)}
    test: Mapping[str, Any] = champion.results.get("test") or {}
    try:
        margin = float(given.get("gate.margin", gate["margin"]))
        level = float(given.get("gate.level", gate["level"]))
        rows = int(test["rows"])
    except (KeyError, TypeError, ValueError):
        return None
    wide = float((champion.settings.get("evaluation") or {}).get("level", 0.95))
    found = _loss(test.get("metrics", ()), wide, rows)
    if found is None or margin < 0 or margin + gain <= 0:
        return None
    loss, deviation = found
    apart = _apart(test.get("baselines", ()), champion.results.get("gate") or {})
    differs = apart if apart is not None else deviation * sqrt(2 * (1 - _CORRELATION))
    spread = sqrt(differs**2 + (margin * deviation) ** 2 + gain**2)
    quantiles = NormalDist().inv_cdf(level) + NormalDist().inv_cdf(POWER)
    return Need(
        rows=max(1, ceil((quantiles * spread / (margin * loss + gain)) ** 2)),
        loss=loss,
        margin=margin,
        level=level,
        spread=spread,
        gain=gain,
    )


def _loss(metrics: Sequence[Mapping[str, Any]], level: float, rows: int) -> tuple[float, float] | None:
    """Mean and standard deviation of a row's loss: log loss, or squared error of a regression."""
    for metric in metrics:
        name, value, ends = metric["name"], metric["value"], (metric["lower"], metric["upper"])
        if name in ("log_loss", "rmse") and None not in ends:
            power = 2 if name == "rmse" else 1
            deviation = _deviation(ends[0] ** power, ends[1] ** power, level, rows)
            if value > 0 and isfinite(deviation):
                return value**power, deviation
    return None


def _apart(baselines: Sequence[Mapping[str, Any]], gate: Mapping[str, Any]) -> float | None:
    """Deviation of a row's difference in loss between two models that are no constants: the smallest that is known."""
    trivial = next((one["comparison"] for one in baselines if one["name"] == _BASELINE), None)
    comparisons = [one["comparison"] for one in baselines if one["name"] != _BASELINE]
    if gate.get("comparison") and (trivial is None or gate["comparison"]["difference"] != trivial["difference"]):
        comparisons.append(gate["comparison"])  # with the champion before it
    found = [_deviation(one["lower"], one["upper"], one["level"], one["rows"]) for one in comparisons]
    return min((one for one in found if one > 0 and isfinite(one)), default=None)


def _deviation(lower: float, upper: float, level: float, rows: int) -> float:
    """Of one row, from the interval of a mean over rows."""
    return (upper - lower) / (2 * NormalDist().inv_cdf((1 + level) / 2)) * sqrt(rows)
