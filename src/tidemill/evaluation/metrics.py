"""The metrics of each objective: torchmetrics gives the value, a counted kernel the bootstrap interval.

To add a metric, add one line to `METRICS`: its name, the objectives it is for, whether higher is
better, a function that gives its value on some rows, and the same as a kernel over row counts
(`counted.mean_of` makes one for a mean over rows). The contract suite then holds one to the other.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill.errors import TrainingError
from tidemill.evaluation import counted, intervals
from tidemill.evaluation.comparison import row_losses
from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.results import MAIN, Answered, Metric, Standing
from tidemill.settings import Objective

if TYPE_CHECKING:
    from torch import Tensor

ECE_BINS = 15

CLASSIFICATION = (Objective.BINARY, Objective.MULTICLASS)
REGRESSION = (Objective.REGRESSION,)


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric; `value` and the kernel give NaN where it is undefined.

    by_class: it says something about each class, and nothing where a class has no row.
    interval: where the resampled values' percentiles would not hold the true value; null: they do.
    """

    name: str
    objectives: tuple[Objective, ...]
    higher_is_better: bool
    value: Callable[[Answered], float]
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
    values = {metric.name: metric.value(answered) for metric in definitions} if len(answered.labels) else {}
    defined = [metric for metric in definitions if math.isfinite(values.get(metric.name, math.nan))]
    resampled = _resample(answered, defined, bootstrap)
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


def _resample(answered: Answered, definitions: list[Definition], bootstrap: Bootstrap) -> dict[str, np.ndarray]:
    if bootstrap.number == 0 or not definitions:
        return {}
    kernels = {metric.name: metric.kernel(answered) for metric in definitions if metric.interval is None}
    chunks = [
        {name: kernel(counts_RN) for name, kernel in kernels.items()}
        for counts_RN in bootstrap.counts(len(answered.labels))
    ]
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


def _tensor(values: np.ndarray) -> "Tensor":
    import torch

    return torch.tensor(np.ascontiguousarray(values))  # a copy: torch warns of arrays that cannot be written to


def _labelled(name: str) -> Callable[[Answered], float]:
    """A torchmetrics classification function of predicted and true classes."""

    def value(answered: Answered) -> float:
        from torchmetrics.functional import classification

        predicted, labels = _tensor(answered.predicted), _tensor(answered.labels)
        if answered.objective is Objective.BINARY:
            return float(getattr(classification, f"binary_{name}")(predicted, labels, validate_args=False))
        function = getattr(classification, f"multiclass_{name}")
        average = "micro" if name == "accuracy" else "macro"
        classes = max(2, answered.probabilities.shape[1])
        return float(function(predicted, labels, num_classes=classes, average=average, validate_args=False))

    return value


def _defined_if(holds: Callable[[Answered], bool], value: Callable[[Answered], float]) -> Callable[[Answered], float]:
    return lambda answered: value(answered) if holds(answered) else math.nan


def _ranked(name: str) -> Callable[[Answered], float]:
    """A torchmetrics function of scores, averaged over one class against the rest."""

    def value(answered: Answered) -> float:
        from torchmetrics.functional import classification

        function = getattr(classification, f"binary_{name}")
        values = [
            float(function(_tensor(np.clip(score, 0, 1)), _tensor(positive.astype(np.int64)), validate_args=False))
            for score, positive in counted.one_vs_rest(answered)
        ]
        return float(np.mean(values)) if values else math.nan

    return value


def _ece(answered: Answered) -> float:
    from torchmetrics.functional import classification

    confidence, right = counted.confidences(answered)
    # Of several classes, torchmetrics would reduce them to the same two, but settle ties in its own way.
    return float(
        classification.binary_calibration_error(
            _tensor(np.clip(confidence, 0, 1)),
            _tensor(right.astype(np.int64)),
            n_bins=ECE_BINS,
            norm="l1",
            validate_args=False,
        )
    )


def _regression(name: str, **options: Any) -> Callable[[Answered], float]:
    def value(answered: Answered) -> float:
        import torchmetrics.functional

        function = getattr(torchmetrics.functional, name)
        return float(function(_tensor(answered.value), _tensor(answered.labels.astype(np.float64)), **options))

    return value


def _row_mean(values_of: Callable[[Answered], np.ndarray]) -> Callable[[Answered], float]:
    return lambda answered: float(np.mean(values_of(answered)))


def _brier(answered: Answered) -> np.ndarray:
    """Squared error of the positive class's probability; of several, of all of them together (Brier 1950)."""
    if answered.objective is Objective.BINARY:
        return np.asarray(np.square(answered.probabilities[:, 1] - answered.labels))
    truth = answered.labels[:, None] == np.arange(answered.probabilities.shape[1])
    return np.asarray(np.square(answered.probabilities - truth).sum(axis=1))


def _covered(answered: Answered) -> np.ndarray:
    lower, upper = answered.answers["lower"], answered.answers["upper"]
    return np.asarray((lower <= answered.labels) & (answered.labels <= upper))


def _width(answered: Answered) -> np.ndarray:
    return np.asarray(answered.answers["upper"], np.float64) - np.asarray(answered.answers["lower"], np.float64)


def _has_intervals(answered: Answered) -> bool:
    return "lower" in answered.answers and "upper" in answered.answers


def _any_predicted(answered: Answered) -> bool:
    return answered.objective is Objective.MULTICLASS or bool((answered.predicted == 1).any())


def _any_positive(answered: Answered) -> bool:
    return answered.objective is Objective.MULTICLASS or bool((answered.labels == 1).any())


def _varied(answered: Answered) -> bool:
    return len(np.unique(answered.labels)) > 1


METRICS: tuple[Definition, ...] = (
    Definition(
        "accuracy",
        CLASSIFICATION,
        True,
        _labelled("accuracy"),
        counted.mean_of(lambda answered: answered.predicted == answered.labels),
    ),
    Definition(
        "precision", CLASSIFICATION, True, _defined_if(_any_predicted, _labelled("precision")), counted.precision, True
    ),
    Definition("recall", CLASSIFICATION, True, _defined_if(_any_positive, _labelled("recall")), counted.recall, True),
    Definition(
        "f1",
        CLASSIFICATION,
        True,
        _defined_if(lambda answered: _any_positive(answered) or _any_predicted(answered), _labelled("f1_score")),
        counted.f1,
        True,
    ),
    Definition("auroc", CLASSIFICATION, True, _ranked("auroc"), counted.auroc, True),
    Definition(
        "average_precision", CLASSIFICATION, True, _ranked("average_precision"), counted.average_precision, True
    ),
    Definition("log_loss", CLASSIFICATION, False, _row_mean(row_losses), counted.mean_of(row_losses)),
    Definition("brier", CLASSIFICATION, False, _row_mean(_brier), counted.mean_of(_brier)),
    Definition("ece", CLASSIFICATION, False, _ece, counted.ece(ECE_BINS), interval=counted.ece_interval(ECE_BINS)),
    Definition("rmse", REGRESSION, False, _regression("mean_squared_error", squared=False), counted.rmse),
    Definition(
        "mae",
        REGRESSION,
        False,
        _regression("mean_absolute_error"),
        counted.mean_of(lambda answered: np.abs(answered.value - answered.labels)),
    ),
    Definition("r2", REGRESSION, True, _defined_if(_varied, _regression("r2_score")), counted.r2),
    Definition(
        "coverage", REGRESSION, True, _defined_if(_has_intervals, _row_mean(_covered)), counted.mean_of(_covered)
    ),
    Definition("width", REGRESSION, False, _defined_if(_has_intervals, _row_mean(_width)), counted.mean_of(_width)),
)
