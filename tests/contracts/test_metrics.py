"""Every metric's kernel must equal its value on resampled rows, and every metric must bear odd rows."""

import numpy as np
import pytest

from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.metrics import METRICS, Definition, compute
from tidemill.evaluation.results import Answered
from tidemill.settings import Objective

CASES = [(metric, objective) for metric in METRICS for objective in metric.objectives]
NAMES = [f"{metric.name}-{objective}" for metric, objective in CASES]


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
def test_the_kernel_equals_the_value_on_resampled_rows(
    metric: Definition, objective: Objective, number: int, ties: bool
) -> None:
    answered = rows(objective, number, ties=ties)
    (counts,) = Bootstrap(level=0.9, number=20, seed=1).counts(number)
    fast = metric.kernel(answered)(counts)
    slow = [metric.value(answered.take(np.repeat(np.arange(number), row.astype(int)))) for row in counts]
    np.testing.assert_allclose(fast, slow, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("metric", "objective"), CASES, ids=NAMES)
def test_the_kernel_of_every_row_once_is_the_value(metric: Definition, objective: Objective) -> None:
    answered = rows(objective, 3_000)
    np.testing.assert_allclose(metric.kernel(answered)(np.ones((1, 3_000)))[0], metric.value(answered), rtol=2e-5)


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
