"""Every metric's kernel must equal torchmetrics' value on resampled rows, and every metric must bear odd rows."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchmetrics.functional as torchmetrics

from tidemill.evaluation.comparison import SMALLEST_PROBABILITY
from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.metrics import ECE_BINS, METRICS, Definition, compute
from tidemill.evaluation.results import Answered
from tidemill.settings import Objective

CASES = [(metric, objective) for metric in METRICS for objective in metric.objectives]
NAMES = [f"{metric.name}-{objective}" for metric, objective in CASES]


def of_classes(name: str) -> Callable[[Answered], float]:
    """Of predicted classes; a binary figure without a row to divide by is undefined, where torchmetrics says 0."""

    def value(answered: Answered) -> float:
        predicted, labels = torch.tensor(answered.predicted), torch.tensor(answered.labels)
        if answered.objective is Objective.BINARY:
            below = {"precision": predicted, "recall": labels, "f1_score": predicted | labels}
            defined = bool(below.get(name, torch.ones(1)).any())
            return float(getattr(torchmetrics, name)(predicted, labels, task="binary")) if defined else np.nan
        average = "micro" if name == "accuracy" else "macro"
        classes = answered.probabilities.shape[1]
        function = getattr(torchmetrics, name)
        return float(function(predicted, labels, task="multiclass", num_classes=classes, average=average))

    return value


def of_scores(name: str) -> Callable[[Answered], float]:
    """Of one class against the rest; the mean over the classes that some rows have, and not all."""

    def value(answered: Answered) -> float:
        probabilities, labels = torch.tensor(answered.probabilities), torch.tensor(answered.labels)
        classes = [1] if answered.objective is Objective.BINARY else range(probabilities.shape[1])
        ranked = [index for index in classes if 0 < (labels == index).sum() < len(labels)]
        function = getattr(torchmetrics, name)
        values = [float(function(probabilities[:, i], (labels == i).long(), task="binary")) for i in ranked]
        return float(np.mean(values)) if values else np.nan

    return value


def of_values(name: str, **options: object) -> Callable[[Answered], float]:
    def value(answered: Answered) -> float:
        varied = name != "r2_score" or len(np.unique(answered.labels)) > 1
        function = getattr(torchmetrics, name)
        return (
            float(function(torch.tensor(answered.value), torch.tensor(answered.labels), **options))
            if varied
            else np.nan
        )

    return value


def log_loss(answered: Answered) -> float:
    log = torch.tensor(answered.probabilities).clamp(SMALLEST_PROBABILITY, 1).log()
    return float(torch.nn.functional.nll_loss(log, torch.tensor(answered.labels)))


def brier(answered: Answered) -> float:
    truth = np.eye(answered.probabilities.shape[1])[answered.labels]
    squares = np.square(answered.probabilities - truth).sum(axis=1)
    return float(squares.mean() / (2 if answered.objective is Objective.BINARY else 1))


def ece(answered: Answered) -> float:
    """Of the positive class; of several, of the most probable one."""
    confidence, right = answered.probabilities[:, 1], answered.labels == 1
    if answered.objective is Objective.MULTICLASS:
        confidence, right = answered.probabilities.max(axis=1), answered.predicted == answered.labels
    scores = torch.tensor(confidence.clip(0, 1))
    return float(torchmetrics.calibration_error(scores, torch.tensor(right).long(), task="binary", n_bins=ECE_BINS))


REFERENCES: dict[str, Callable[[Answered], float]] = {
    "accuracy": of_classes("accuracy"),
    "precision": of_classes("precision"),
    "recall": of_classes("recall"),
    "f1": of_classes("f1_score"),
    "auroc": of_scores("auroc"),
    "average_precision": of_scores("average_precision"),
    "log_loss": log_loss,
    "brier": brier,
    "ece": ece,
    "rmse": of_values("mean_squared_error", squared=False),
    "mae": of_values("mean_absolute_error"),
    "r2": of_values("r2_score"),
    "coverage": lambda answered: float(
        np.mean(
            [
                low <= label <= high
                for low, label, high in zip(
                    *(answered.answers["lower"], answered.labels, answered.answers["upper"]), strict=True
                )
            ]
        )
    ),
    "width": lambda answered: float((answered.answers["upper"] - answered.answers["lower"]).mean()),
}
"""The same figures by an independent way."""


def rows(objective: Objective, number: int, seed: int = 0, *, ties: bool = False) -> Answered:
    rng = np.random.default_rng(seed)
    if objective is Objective.REGRESSION:
        value = rng.normal(size=number)
        answers = {"value": value.astype(np.float32), "lower": value - 1.0, "upper": value + 1.5}
        return Answered(objective=objective, labels=value + rng.normal(size=number), answers=answers)
    classes = 2 if objective is Objective.BINARY else 5
    logits = rng.normal(size=(number, classes))
    if ties:
        logits = np.round(logits)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) > rng.random((number, 1))).argmax(axis=1)
    return Answered(objective=objective, labels=labels, answers={"probabilities": probabilities.astype(np.float32)})


@pytest.mark.parametrize(("metric", "objective"), CASES, ids=NAMES)
@pytest.mark.parametrize(("number", "ties"), [(400, False), (400, True), (25, True)])
def test_the_kernel_equals_the_reference_on_resampled_rows(
    metric: Definition, objective: Objective, number: int, ties: bool
) -> None:
    answered = rows(objective, number, ties=ties)
    (counts,) = Bootstrap(level=0.9, number=20, seed=1).counts(number)
    fast = metric.kernel(answered)(counts)
    slow = [REFERENCES[metric.name](answered.take(np.repeat(np.arange(number), row.astype(int)))) for row in counts]
    np.testing.assert_allclose(fast, slow, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("metric", "objective"), CASES, ids=NAMES)
def test_the_kernel_of_every_row_once_is_the_reference(metric: Definition, objective: Objective) -> None:
    answered = rows(objective, 3_000)
    np.testing.assert_allclose(
        metric.kernel(answered)(np.ones((1, 3_000)))[0], REFERENCES[metric.name](answered), rtol=2e-5
    )


@pytest.mark.parametrize("objective", [Objective.BINARY, Objective.MULTICLASS, Objective.REGRESSION])
@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_few_rows_give_fewer_metrics_and_no_warning(objective: Objective, number: int) -> None:
    metrics = compute(rows(objective, number, seed=3), Bootstrap(level=0.95, number=50, seed=0))
    assert all(np.isfinite(metric.value) for metric in metrics)
    assert (metrics == ()) == (number == 0)


@pytest.mark.parametrize("objective", [Objective.BINARY, Objective.MULTICLASS])
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_out_what_needs_two(objective: Objective, label: int) -> None:
    answered = rows(objective, 80)
    one = answered.take(answered.labels == label)
    names = {metric.name for metric in compute(one, Bootstrap(level=0.95, number=50, seed=0))}
    assert not names & {"auroc", "average_precision"}
    assert {"accuracy", "log_loss", "brier", "ece"} <= names


def test_answers_for_certain_are_measured_too() -> None:
    sure = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
    answered = Answered(objective=Objective.BINARY, labels=np.array([0, 1, 1]), answers={"probabilities": sure})
    metrics = {metric.name: metric.value for metric in compute(answered, Bootstrap(level=0.95, number=50, seed=0))}
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["log_loss"] == pytest.approx(-np.log(np.finfo(np.float32).eps) / 3, rel=1e-6)
    assert metrics["ece"] == pytest.approx(1 / 3)
