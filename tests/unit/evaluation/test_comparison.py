import numpy as np
import pytest

from tidemill.evaluation.comparison import compare, excess, row_losses
from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.metrics import measure, stand
from tidemill.evaluation.results import Answered
from tidemill.settings import Objective


def regression(value: np.ndarray, labels: np.ndarray) -> Answered:
    return Answered(objective=Objective.REGRESSION, labels=labels, answers={"value": value})


def test_losses_row_by_row() -> None:
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]], dtype=np.float32)
    answered = Answered(
        objective=Objective.BINARY, labels=np.array([0, 0, 1]), answers={"probabilities": probabilities}
    )
    assert row_losses(answered) == pytest.approx([np.log(2), np.log(4), -np.log(np.finfo(np.float32).eps)])
    assert list(row_losses(regression(np.array([1.0, 5.0]), np.array([0.0, 2.0])))) == [1.0, 9.0]


def test_a_better_model_has_a_negative_difference() -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(size=500)
    good, bad = regression(labels + 0.1, labels), regression(labels + rng.normal(size=500), labels)
    comparison = compare(good, bad, level=0.95, seed=0)
    assert comparison.lower < comparison.difference < comparison.upper < 0
    assert (comparison.loss, comparison.rows, comparison.level) == ("squared_error", 500, 0.95)
    mirrored = compare(bad, good, level=0.95, seed=0)
    assert mirrored.difference == -comparison.difference
    assert mirrored.lower > 0


def test_pairing_sees_what_two_intervals_would_not() -> None:
    rng = np.random.default_rng(0)
    labels = rng.standard_t(3, size=1_000)
    comparison = compare(regression(labels * 0.01, labels), regression(labels * 0.0, labels), level=0.95, seed=0)
    assert comparison.upper < 0


def test_a_model_against_itself_differs_by_nothing() -> None:
    same = regression(np.zeros(20), np.arange(20.0))
    comparison = compare(same, same, level=0.95, seed=0)
    assert (comparison.difference, comparison.lower, comparison.upper) == (0.0, 0.0, 0.0)
    assert excess(same, same, margin=0.0, level=0.95, seed=0) == 0.0
    assert excess(same, same, margin=0.01, level=0.95, seed=0) < 0


def test_other_rows_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="the same rows"):
        compare(
            regression(np.zeros(2), np.array([1.0, 2.0])),
            regression(np.zeros(2), np.array([2.0, 1.0])),
            level=0.9,
            seed=0,
        )


def test_one_answer_a_row() -> None:
    with pytest.raises(AssertionError, match="one answer a row"):
        regression(np.zeros(2), np.zeros(3))


def test_the_main_metric_is_compared_on_the_same_rows() -> None:
    """Two intervals overlap where the paired one is clear of zero."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 2_000)
    signal = labels + rng.normal(size=2_000)

    def answered(score: np.ndarray) -> Answered:
        probability = 1 / (1 + np.exp(-score))
        answers = {"probabilities": np.stack([1 - probability, probability], axis=1)}
        return Answered(objective=Objective.BINARY, labels=labels, answers=answers)

    bootstrap = Bootstrap(level=0.95, number=200, seed=0)
    good, worse = answered(signal), answered(signal + 0.4 * rng.normal(size=2_000))
    first, second = (measure(one, bootstrap).main for one in (good, worse))
    assert (
        first is not None
        and first.lower is not None
        and second is not None
        and second.upper is not None
        and first.lower < second.upper
    )
    ours, theirs = measure(good, bootstrap), measure(worse, bootstrap)
    found, mirrored = stand(ours, theirs, 0.95), stand(theirs, ours, 0.95)
    assert found is not None and found.better and not found.worse
    assert mirrored is not None and mirrored.worse and mirrored.upper == pytest.approx(-found.lower)
    assert (found.metric, found.ours, found.theirs) == ("auroc", first.value, second.value)
    for rows in (labels == 1, labels > 1):  # where nothing can be ranked
        assert stand(measure(good.take(rows), bootstrap), measure(worse.take(rows), bootstrap), 0.95) is None
    same = stand(ours, ours, 0.95)
    assert same is not None and not same.better and not same.worse
