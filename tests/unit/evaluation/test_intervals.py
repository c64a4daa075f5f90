import numpy as np
import pytest

from tidemill.evaluation import counted, intervals
from tidemill.evaluation.intervals import Bootstrap, mean_quantiles, percentile, sum_of_sizes
from tidemill.evaluation.metrics import ECE_BINS
from tidemill.evaluation.results import Answered
from tidemill.settings import Objective


@pytest.mark.parametrize("rows", [1, 7, 1_000, intervals.CHUNK + 1])
def test_every_resample_has_as_many_rows_as_there_are(rows: int) -> None:
    number = 3 if rows > 1_000 else 60
    counts = np.concatenate(list(Bootstrap(level=0.9, number=number, seed=0).counts(rows)))
    assert counts.shape == (number, rows)
    assert (counts.sum(axis=1) == rows).all()


def test_resamples_differ() -> None:
    counts = np.concatenate(list(Bootstrap(level=0.9, number=50, seed=0).counts(30)))
    assert len(np.unique(counts, axis=0)) == 50


def test_an_interval_of_mostly_undefined_values_is_none() -> None:
    assert percentile(np.array([1.0, np.nan, np.nan]), 0.9) is None
    assert percentile(np.array([1.0, 2.0, np.nan]), 0.5) == (1.25, 1.75)


def test_percentile_intervals_cover_a_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(400):
        sample = rng.exponential(size=100)
        means = np.concatenate(
            [counts @ sample / 100 for counts in Bootstrap(level=0.9, number=200, seed=trial).counts(100)]
        )
        lower, upper = percentile(means, 0.9) or (np.nan, np.nan)
        covered += lower <= 1 <= upper
    assert 0.85 < covered / 400 < 0.94  # standard error 0.015; the percentile method is a little narrow here


def test_one_sided_bounds_of_a_skewed_mean_err_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    above = below = 0
    for trial in range(400):
        sample = rng.exponential(size=100)
        lower, upper = mean_quantiles(sample, (0.05, 0.95), Bootstrap(level=0.9, number=400, seed=trial))
        above += lower > 1
        below += upper < 1
    assert 0.02 < above / 400 < 0.085
    assert 0.02 < below / 400 < 0.085


def test_too_few_rows_bound_nothing() -> None:
    assert mean_quantiles(np.array([3.0]), (0.05, 0.95), Bootstrap(level=0.9, number=50, seed=0)) == (-np.inf, np.inf)
    assert mean_quantiles(np.array([]), (0.95,), Bootstrap(level=0.9, number=50, seed=0)) == (np.inf,)


def test_equal_values_leave_no_doubt() -> None:
    assert mean_quantiles(np.full(10, 2.5), (0.05, 0.95), Bootstrap(level=0.9, number=50, seed=0)) == (2.5, 2.5)


def test_values_equal_but_for_rounding_leave_no_doubt_either() -> None:
    values = np.tile([0.1 + 0.2, 0.3], 50)
    lower, upper = mean_quantiles(values, (0.05, 0.95), Bootstrap(level=0.9, number=50, seed=0))
    assert lower == upper == pytest.approx(0.3)


def test_many_rows_take_the_normal_bounds_and_agree_with_the_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = np.random.default_rng(0).exponential(size=intervals.MANY_ROWS + 1)
    bootstrap = Bootstrap(level=0.9, number=2_000, seed=0)
    normal = mean_quantiles(sample, (0.05, 0.95), bootstrap)
    monkeypatch.setattr(intervals, "MANY_ROWS", len(sample))
    resampled = mean_quantiles(sample, (0.05, 0.95), bootstrap)
    assert np.array(resampled) - sample.mean() == pytest.approx(np.array(normal) - sample.mean(), rel=0.1)


def test_two_rows_give_an_interval_around_their_mean() -> None:
    lower, upper = mean_quantiles(np.array([0.0, 1.0]), (0.05, 0.95), Bootstrap(level=0.9, number=50, seed=0))
    assert lower <= 0.5 <= upper


@pytest.mark.parametrize("temperature", [1.0, 1.5])
@pytest.mark.parametrize("rows", [300, 3_000])
def test_the_interval_of_the_calibration_error_covers_the_true_one(temperature: float, rows: int) -> None:
    """Of calibrated answers the true error is 0, and percentiles of resamples never reach down to it."""

    def said_and_true(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        logits = rng.normal(size=count)
        return 1 / (1 + np.exp(-logits * temperature)), 1 / (1 + np.exp(-logits))

    said, true = said_and_true(1_000_000, np.random.default_rng(99))
    bins = np.floor(said * ECE_BINS).astype(int)
    error = np.abs(np.bincount(bins, said - true)).sum() / len(said)
    covered, zero = 0, 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        said, true = said_and_true(rows, rng)
        probabilities = np.stack([1 - said, said], axis=1)
        labels = (rng.random(rows) < true).astype(np.int64)
        answered = Answered(objective=Objective.BINARY, labels=labels, answers={"probabilities": probabilities})
        lower, upper = counted.ece_interval(ECE_BINS)(answered, Bootstrap(level=0.9, number=1, seed=trial))
        covered += lower <= error + 1e-9 and error <= upper
        zero += lower == 0
    assert covered >= 83  # of 100 at 0.9: fewer by chance once in a hundred
    assert zero >= 83 if temperature == 1 else rows < 1_000 or zero == 0


def test_the_interval_of_a_sum_of_sizes_bears_certain_and_empty_parts() -> None:
    assert sum_of_sizes(np.zeros(3), np.zeros(3), 0.95, 0) == (0.0, 0.0)
    lower, upper = sum_of_sizes(np.array([0.3, 0.0, -0.1]), np.array([0.001, 0.0, 0.001]), 0.95, 0)
    assert 0.39 < lower < 0.4 < upper < 0.41
