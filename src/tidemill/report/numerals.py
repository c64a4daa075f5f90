"""How numbers are written: as many digits as they mean."""

import math
from collections.abc import Iterable, Sequence

from tidemill.evaluation.results import Metric

NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "ece": "Calibration error (ECE)",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "coverage": "Interval coverage",
    "width": "Interval width",
}


def metric_name(name: str) -> str:
    return NAMES.get(name, name.replace("_", " "))


def number(value: float | None, significant: int = 4) -> str:
    """1234567 → 1,234,567; 0.123456 → 0.1235; 1.2e-9 → 1.2e-09."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -5 or size > 14:
        return f"{value:.{significant - 1}g}".replace("-", "−", 1) if value < 0 else f"{value:.{significant - 1}g}"
    if value == int(value) or size >= significant - 1:
        return _fixed(value, 0)
    return _fixed(value, significant - 1 - size).rstrip("0")


def plain(value: float | None) -> str:
    """A value of the user's own column: 2015 may be a year, 48212 an id, so that no digits are grouped."""
    return number(value).replace(",", "")


def share(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    percent = value * 100
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f} %"


def interval(lower: float | None, upper: float | None) -> str:
    """Both ends, with two digits of the interval's own width; empty without one."""
    if lower is None or upper is None or not math.isfinite(upper - lower):
        return ""
    digits = _digits(lower, upper)
    return f"{_fixed(lower, digits)} to {_fixed(upper, digits)}"


def estimate(value: float, lower: float | None, upper: float | None) -> str:
    """0.7201 (0.7178 to 0.7224): the value has as many digits as its interval gives it."""
    ends = interval(lower, upper)
    if lower is None or upper is None or not ends:
        return number(value)
    return f"{_fixed(value, _digits(lower, upper)) if abs(value) < 1e15 else number(value)} ({ends})"


def value_of(metric: Metric) -> str:
    """The figure alone, as `estimate` writes it."""
    return estimate(metric.value, metric.lower, metric.upper).partition(" ")[0]


def with_interval(metric: Metric | None) -> str:
    """As `estimate`, or – where there is no metric."""
    return "–" if metric is None else estimate(metric.value, metric.lower, metric.upper)


def metric_rows(metrics: Iterable[Metric], level: float) -> tuple[tuple[str, ...], Sequence[tuple[str, ...]]]:
    """The head and the rows of a table of metrics."""
    head = ("metric", "value", f"{level:.0%} interval", "better is")
    rows = [
        (
            metric_name(m.name),
            value_of(m),
            interval(m.lower, m.upper) or "–",
            "higher" if m.higher_is_better else "lower",
        )
        for m in metrics
    ]
    return head, rows


def difference(value: float, lower: float, upper: float) -> str:
    """+0.012 (0.004 to 0.020), the difference with its sign; "0 (the same answers)" where nothing differs."""
    if value == lower == upper == 0:
        return "0 (the same answers)"
    ends = interval(lower, upper)
    return signed(value, lower, upper) + (f" ({ends})" if ends else "")


def signed(value: float, lower: float, upper: float) -> str:
    text = _fixed(value, _digits(lower, upper)) if math.isfinite(upper - lower) else number(value)
    return text if value < 0 else f"+{text}"


def _digits(lower: float, upper: float) -> int:
    half = (upper - lower) / 2
    if half <= 0:
        return 4
    size = math.floor(math.log10(max(abs(lower), abs(upper))))
    return min(max(0, 1 - math.floor(math.log10(half))), max(0, 4 - size))


def _fixed(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".replace("-", "−")
