"""The metrics of each objective. One kernel gives a metric's value and, over resampled rows, its bootstrap interval.

To add a metric, add one line to `METRICS`: its name, the objectives it is for, whether higher is better, and a kernel
over row counts (`counted.mean_of` makes one for a mean over rows). The contract suite holds kernels to torchmetrics.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tidemill.errors import TrainingError
from tidemill.evaluation import counted, intervals
from tidemill.evaluation.comparison import row_losses
from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.results import MAIN, Answered, Metric, Standing
from tidemill.settings import Objective

ECE_BINS = 15

CLASSIFICATION = (Objective.BINARY, Objective.MULTICLASS)
REGRESSION = (Objective.REGRESSION,)


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric; its kernel gives NaN where it is undefined.

    by_class: it says something about each class, and nothing where a class has no row.
    interval: where the resampled values' percentiles would not hold the true value; null: they do.
    """

    name: str
    objectives: tuple[Objective, ...]
    higher_is_better: bool
    kernel: Callable[[Answered], counted.Kernel]
    by_class: bool = False
    interval: Callable[[Answered, Bootstrap], tuple[float, float]] | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A model's metrics, and the objective's main one with its value on each resample, for comparisons.

    Resamples of one bootstrap hold the same rows for every model that answers as many.
    """

    metrics: tuple[Metric, ...]
    main: Metric | None
    main_R: np.ndarray


def compute(answered: Answered, bootstrap: Bootstrap, *, part: bool = False) -> tuple[Metric, ...]:
    """The metrics alone, as `measure` gives them."""
    return measure(answered, bootstrap, part=part).metrics


def measure(answered: Answered, bootstrap: Bootstrap, *, part: bool = False) -> Measured:
    """Every metric of the objective that these rows define, each with its interval.

    A metric that needs what the rows lack (AUROC on one class, coverage without intervals) is left out.

    Args:
        part: the rows are some of a split, like a slice: classes may be absent, and figures are about those present.

    Raises:
        TrainingError: an answer is not a finite number.
    """
    _check_finite(answered)
    left_out = () if part else unmeasured(answered)
    definitions = [m for m in METRICS if answered.objective in m.objectives and m.name not in left_out]
    rows = len(answered.labels)
    kernels = {metric.name: metric.kernel(answered) for metric in definitions} if rows else {}
    values = {name: float(kernel(np.ones((1, rows)))[0]) for name, kernel in kernels.items()}
    defined = [metric for metric in definitions if math.isfinite(values.get(metric.name, math.nan))]
    resampled = _resample({m.name: kernels[m.name] for m in defined if m.interval is None}, rows, bootstrap)
    found = {name: intervals.percentile(values_R, bootstrap.level) for name, values_R in resampled.items()}
    found |= {m.name: m.interval(answered, bootstrap) for m in defined if m.interval and bootstrap.number}
    metrics = tuple(_metric(metric, values[metric.name], found.get(metric.name)) for metric in defined)
    main = next((metric for metric in metrics if metric.name == MAIN[answered.objective]), None)
    main = main if main is not None and main.name in resampled else None
    return Measured(metrics, main, resampled[main.name] if main else np.empty(0))


def stand(ours: Measured, theirs: Measured, level: float) -> Standing | None:
    """Both models in the main metric; None where it is undefined, or nothing was resampled."""
    if ours.main is None or theirs.main is None:
        return None
    interval = intervals.percentile(ours.main_R - theirs.main_R, level)
    if interval is None:
        return None
    return Standing(
        metric=ours.main.name,
        ours=ours.main.value,
        theirs=theirs.main.value,
        lower=interval[0],
        upper=interval[1],
        higher_is_better=ours.main.higher_is_better,
    )


def unmeasured(answered: Answered) -> tuple[str, ...]:
    """Names of the metrics that are left out because a class has no row: recall without a positive row is no recall."""
    if answered.objective is Objective.REGRESSION:
        return ()
    rows = np.bincount(answered.labels, minlength=answered.probabilities.shape[1])
    return () if rows.all() else tuple(metric.name for metric in METRICS if metric.by_class)


def _metric(definition: Definition, value: float, interval: tuple[float, float] | None) -> Metric:
    lower, upper = interval or (None, None)
    if lower is not None and upper is not None:
        # What chance adds to a calibration error can lift its value above the interval for the error itself.
        lower, upper = min(lower, value), max(upper, value)
    return Metric(
        name=definition.name, value=value, lower=lower, upper=upper, higher_is_better=definition.higher_is_better
    )


def _resample(kernels: dict[str, counted.Kernel], rows: int, bootstrap: Bootstrap) -> dict[str, np.ndarray]:
    if bootstrap.number == 0 or not kernels:
        return {}
    chunks = [{name: kernel(counts) for name, kernel in kernels.items()} for counts in bootstrap.counts(rows)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in kernels}


def _check_finite(answered: Answered) -> None:
    for name in ("probabilities", "value", "lower", "upper"):
        if name in answered.answers:
            values = np.asarray(answered.answers[name])
            bad = int((~np.isfinite(values)).any(axis=tuple(range(1, values.ndim))).sum())
            if bad:
                raise TrainingError(
                    "A model's answers must be finite numbers",
                    observed=f"{name} is NaN or infinite on {bad} of {len(values)} rows",
                    remedy="lower training.learning_rate, or set training.gradient_clip and preparation.numeric.clip",
                )


def _brier(answered: Answered) -> np.ndarray:
    """Squared error of the positive class's probability; of several, of all of them together (Brier 1950)."""
    if answered.objective is Objective.BINARY:
        return np.asarray(np.square(answered.probabilities[:, 1] - answered.labels))
    truth = answered.labels[:, None] == np.arange(answered.probabilities.shape[1])
    return np.asarray(np.square(answered.probabilities - truth).sum(axis=1))


def _covered(answered: Answered) -> np.ndarray:
    lower, upper = _ends(answered)
    inside = (lower <= answered.labels) & (answered.labels <= upper)
    return np.where(np.isnan(lower), np.nan, inside)


def _width(answered: Answered) -> np.ndarray:
    lower, upper = _ends(answered)
    return np.asarray(upper - lower)


def _ends(answered: Answered) -> tuple[np.ndarray, np.ndarray]:
    """Of each row's interval, float64; NaN where the model gives none."""
    absent = np.full(len(answered.labels), np.nan)
    lower, upper = (np.asarray(answered.answers.get(end, absent), np.float64) for end in ("lower", "upper"))
    return lower, upper


METRICS: tuple[Definition, ...] = (
    Definition("accuracy", CLASSIFICATION, True, counted.mean_of(lambda rows: rows.predicted == rows.labels)),
    Definition("precision", CLASSIFICATION, True, counted.precision, by_class=True),
    Definition("recall", CLASSIFICATION, True, counted.recall, by_class=True),
    Definition("f1", CLASSIFICATION, True, counted.f1, by_class=True),
    Definition("auroc", CLASSIFICATION, True, counted.auroc, by_class=True),
    Definition("average_precision", CLASSIFICATION, True, counted.average_precision, by_class=True),
    Definition("log_loss", CLASSIFICATION, False, counted.mean_of(row_losses)),
    Definition("brier", CLASSIFICATION, False, counted.mean_of(_brier)),
    Definition("ece", CLASSIFICATION, False, counted.ece(ECE_BINS), interval=counted.ece_interval(ECE_BINS)),
    Definition("rmse", REGRESSION, False, counted.rmse),
    Definition("mae", REGRESSION, False, counted.mean_of(lambda rows: np.abs(rows.value - rows.labels))),
    Definition("r2", REGRESSION, True, counted.r2),
    Definition("coverage", REGRESSION, True, counted.mean_of(_covered)),
    Definition("width", REGRESSION, False, counted.mean_of(_width)),
)
