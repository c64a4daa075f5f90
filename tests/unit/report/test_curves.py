import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from tidemill.report import curves
from tidemill.report.distributions import read


def test_roc_and_precision_recall_are_scikit_learns_thinned() -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(5_000) < 0.3
    scores = np.round(positive + rng.normal(size=5_000), 2)  # with ties
    ours = curves.roc(positive, scores)
    x, y, _ = roc_curve(positive, scores, drop_intermediate=False)
    assert {*zip(ours.x, ours.y, strict=True)} <= {*zip(x, y, strict=True)}
    assert len(ours.x) <= curves.POINTS + 1
    assert (ours.x[0], ours.y[0], ours.x[-1], ours.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(ours.y, ours.x) == pytest.approx(np.trapezoid(y, x), abs=1e-4)
    ours = curves.precision_recall(positive, scores)
    precision, recall, _ = precision_recall_curve(positive, scores)
    assert {*zip(ours.x, ours.y, strict=True)} <= {*zip(recall, precision, strict=True)}


def test_reliability_counts_every_row_once() -> None:
    probability = np.array([0.0, 0.02, 0.5, 1.0, 1.0])
    happened = np.array([False, False, True, True, False])
    found = curves.reliability(happened, probability, 0.95, bins=10)
    assert found.rows.tolist() == [2, 1, 2]
    assert found.share.tolist() == [0, 1, 0.5]
    assert found.centre.tolist() == pytest.approx([0.01, 0.5, 1.0])
    assert (found.lower <= found.share).all() and (found.share <= found.upper).all()


def test_wilson_by_hand() -> None:
    lower, upper = curves.wilson(np.array([0.8]), np.array([10]), 0.95)
    assert (lower[0], upper[0]) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_a_temperature_can_be_taken_back() -> None:
    logits = np.random.default_rng(2).normal(size=(50, 3)) * 5

    def softmax(z: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))

    assert curves.uncalibrated(softmax(logits / 1.7), 1.7) == pytest.approx(softmax(logits))
    assert np.isfinite(curves.uncalibrated(np.array([[0.0, 1.0]], dtype=np.float32), 3.0)).all()


def test_quantile_bins_keep_equal_values_together() -> None:
    assert set(curves.quantile_bins(np.zeros(9), 10)) == {0}
    assert curves.quantile_bins(np.array([]), 10).tolist() == []


def test_the_central_range_leaves_outliers_out() -> None:
    assert curves.central(np.array([np.nan, np.inf])) == (0.0, 1.0)
    assert curves.central(np.full(5, 2.0)) == (1.5, 2.5)
    assert curves.central(np.append(np.linspace(0, 1, 100_000), 1e9))[1] < 1.1


def test_a_value_seen_many_times_is_one_bar() -> None:
    entry = {"kind": "numeric", "missing": 10, "edges": [0.0, 5.0, 100.0, 100.1], "counts": [0, 80, 8, 2, 0]}
    entry |= {"minimum": 0.0, "maximum": 100.0}
    found = read({"rows": 100, "columns": {"gain": entry}})["gain"]
    assert found.rows.sum() == pytest.approx(90)
    assert found.rows[0] >= 80
    assert found.missing == 0.1
    assert found.text == "0 to 100, median about 0"


def test_columns_without_values() -> None:
    empty = {"kind": "numeric", "missing": 3, "edges": [], "counts": [0], "minimum": None, "maximum": None}
    words = {"kind": "categorical", "missing": 3, "categories": {}, "other": 0}
    found = read({"rows": 3, "columns": {"a": empty, "b": words}})
    assert found["a"].text == "no values"
    assert found["b"].rows.tolist() == []
    assert read({}) == {}


def test_instants_that_no_calendar_has() -> None:
    entry = {"kind": "timestamp", "missing": 0, "edges": [-(2**62), 0, 2**62], "counts": [0, 1, 1, 0]}
    entry |= {"minimum": -(2**62), "maximum": 2**62}
    assert read({"rows": 2, "columns": {"t": entry}})["t"].text.endswith("9999-12-31")
