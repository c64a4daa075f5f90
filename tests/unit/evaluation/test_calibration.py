import numpy as np
import pytest

from tidemill.evaluation.calibration import Conformal, Temperature, fit_conformal, fit_temperature


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    return float(np.mean(np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]))


def drawn(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated logits and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes)) * 2
    scores = np.concatenate([np.zeros((rows, 1)), logits], axis=1) if classes == 1 else logits
    labels = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    return logits, labels


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_recovered(classes: int, temperature: float) -> None:
    logits, labels = drawn(20_000, classes)
    fitted = fit_temperature((logits * temperature).astype(np.float32), labels)
    assert fitted.value == pytest.approx(temperature, rel=0.06)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_never_worse_on_validation_than_none(seed: int) -> None:
    logits, labels = drawn(60, 3, seed)
    assert log_loss(logits / fit_temperature(logits, labels).value, labels) <= log_loss(logits, labels)


def test_separable_rows_do_not_take_all_doubt_away() -> None:
    labels = np.arange(100) % 2
    logits = np.where(labels == 1, 2.0, -2.0)[:, None]
    assert fit_temperature(logits, labels).value >= 0.1


def test_logits_that_are_always_wrong_stay_within_bounds() -> None:
    labels = np.arange(100) % 2
    logits = np.where(labels == 1, -900.0, 900.0)[:, None]
    assert 1 < fit_temperature(logits, labels).value <= 10


def test_equal_logits_keep_the_temperature_at_one() -> None:
    assert fit_temperature(np.zeros((100, 3)), np.arange(100) % 3) == Temperature()


def test_few_rows_keep_the_temperature_at_one() -> None:
    logits, labels = drawn(29, 3)
    assert fit_temperature(logits * 5, labels) == Temperature(value=1.0)


def test_the_conformal_half_width_is_the_corrected_quantile() -> None:
    labels = np.arange(1.0, 20.0)  # 19 residuals 1 … 19: rank ⌈20 · 0.9⌉ = 18
    assert fit_conformal(np.zeros(19), labels, 0.9) == Conformal(half_width=18.0, coverage=0.9)


def test_too_few_rows_promise_what_they_can() -> None:
    assert fit_conformal(np.zeros(4), np.array([1.0, -7.0, 2.0, 3.0]), 0.9) == Conformal(half_width=7.0, coverage=0.8)
    assert fit_conformal(np.zeros(1), np.array([2.0]), 0.9) == Conformal(half_width=2.0, coverage=0.5)


@pytest.mark.parametrize(("rows", "coverage"), [(50, 0.9), (200, 0.8), (10, 0.95)])
def test_new_rows_are_covered_as_often_as_promised(rows: int, coverage: float) -> None:
    rng = np.random.default_rng(0)
    shares, promised = [], 0.0
    for _ in range(500):
        validation, new = rng.standard_t(3, size=rows), rng.standard_t(3, size=200)
        fitted = fit_conformal(np.zeros(rows), validation, coverage)
        promised = fitted.coverage
        shares.append(np.mean(np.abs(new) <= fitted.half_width))
    assert promised - 0.01 < np.mean(shares) < promised + 1 / (rows + 1) + 0.01


@pytest.mark.parametrize("classes", [1, 3])
def test_a_class_without_rows_leaves_calibration_out(classes: int) -> None:
    logits, labels = drawn(2_000, classes)
    assert fit_temperature(logits, labels) is not None
    assert fit_temperature(logits[labels != 0], labels[labels != 0]) is None
