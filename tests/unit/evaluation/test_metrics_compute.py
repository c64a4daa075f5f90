import time

import numpy as np
import pytest

from tidemill.errors import TrainingError
from tidemill.evaluation import counted
from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.metrics import compute
from tidemill.evaluation.results import Answered
from tidemill.settings import Objective

BOOTSTRAP = Bootstrap(level=0.95, number=200, seed=0)


def binary(rows: int, seed: int = 0) -> Answered:
    rng = np.random.default_rng(seed)
    positive = rng.random(rows).astype(np.float32)
    labels = (rng.random(rows) < positive).astype(np.int64)
    return Answered(
        objective=Objective.BINARY, labels=labels, answers={"probabilities": np.stack([1 - positive, positive], 1)}
    )


def regression(value: np.ndarray, labels: np.ndarray) -> Answered:
    return Answered(objective=Objective.REGRESSION, labels=labels, answers={"value": value})


def test_every_metric_has_an_interval_around_its_value() -> None:
    metrics = compute(binary(2_000), BOOTSTRAP)
    assert [metric.name for metric in metrics] == [
        "accuracy",
        "precision",
        "recall",
        "f1",
        "auroc",
        "average_precision",
        "log_loss",
        "brier",
        "ece",
    ]
    for metric in metrics:
        assert metric.lower is not None and metric.upper is not None
        assert metric.lower <= metric.value <= metric.upper, metric


def test_the_same_seed_gives_the_same_interval() -> None:
    assert compute(binary(300), BOOTSTRAP) == compute(binary(300), BOOTSTRAP)


def test_without_resamples_there_is_no_interval() -> None:
    metrics = compute(binary(300), Bootstrap(level=0.95, number=0, seed=0))
    assert {(metric.lower, metric.upper) for metric in metrics} == {(None, None)}


def test_known_regression_figures() -> None:
    answered = regression(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 6.0]))
    values = {metric.name: metric.value for metric in compute(answered, BOOTSTRAP)}
    assert values == pytest.approx({"rmse": 1.0, "mae": 0.5, "r2": 1 - 4 / 14})


def test_coverage_and_width_of_intervals() -> None:
    value = np.zeros(4)
    answers = {"value": value, "lower": value - 1, "upper": value + 2}
    answered = Answered(objective=Objective.REGRESSION, labels=np.array([-1.0, 0.0, 2.0, 2.1]), answers=answers)
    values = {metric.name: metric.value for metric in compute(answered, BOOTSTRAP)}
    assert values["coverage"] == 0.75
    assert values["width"] == 3.0


def test_a_constant_target_has_no_r2() -> None:
    names = [metric.name for metric in compute(regression(np.arange(9.0), np.full(9, 0.1)), BOOTSTRAP)]
    assert names == ["rmse", "mae"]


def test_huge_values_stay_finite() -> None:
    labels = np.arange(50.0) * 1e150
    metrics = compute(regression(labels * 1.01, labels), BOOTSTRAP)
    assert [metric.name for metric in metrics] == ["rmse", "mae", "r2"]


def test_a_class_that_no_row_has_does_not_disturb() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), size=200)
    labels = rng.integers(0, 3, size=200)
    metrics = compute(
        Answered(objective=Objective.MULTICLASS, labels=labels, answers={"probabilities": probabilities}),
        BOOTSTRAP,
        part=True,
    )
    values = {metric.name: metric.value for metric in metrics}
    assert 0.35 < values["auroc"] < 0.65


def test_never_predicting_the_positive_class_leaves_precision_out() -> None:
    rows = binary(100)
    never = np.tile([[0.9, 0.1]], (100, 1))
    metrics = compute(
        Answered(objective=Objective.BINARY, labels=rows.labels, answers={"probabilities": never}), BOOTSTRAP
    )
    values = {metric.name: metric.value for metric in metrics}
    assert "precision" not in values
    assert values["recall"] == values["f1"] == 0.0
    assert values["auroc"] == 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_refused(bad: float) -> None:
    value = np.array([1.0, bad, 2.0])
    with pytest.raises(TrainingError, match=r"value is NaN or infinite on 1 of 3 rows.*learning_rate"):
        compute(regression(value, np.zeros(3)), BOOTSTRAP)


def test_a_metric_that_most_resamples_leave_undefined_has_no_interval() -> None:
    one = np.zeros(400, dtype=np.int64)
    one[0] = 1
    rows = Answered(objective=Objective.BINARY, labels=one, answers=binary(400).answers)
    undefined = np.isnan(counted.auroc(rows)(np.concatenate(list(BOOTSTRAP.counts(400))))).mean()
    assert 0.2 < undefined < 0.5  # (1 − 1/400)^400 ≈ 0.37 of the resamples lack the only positive row
    assert {metric.name: metric for metric in compute(rows, BOOTSTRAP)}["auroc"].lower is not None


@pytest.mark.slow
def test_a_large_test_split_takes_seconds() -> None:
    rows = binary(168_000)
    compute(binary(50), BOOTSTRAP)  # imports
    start = time.process_time()
    compute(rows, BOOTSTRAP)
    assert time.process_time() - start < 10
