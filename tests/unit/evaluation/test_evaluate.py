import numpy as np
import polars as pl
import pytest

from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import SettingsError
from tidemill.evaluation.evaluate import Tables, check, evaluate
from tidemill.evaluation.results import Answered, Evaluation, Importance
from tidemill.evaluation.slices import SEEN
from tidemill.settings import EvaluationSettings, Kind, Objective

SCHEMA = Schema(
    columns=(
        Column(name="x", kind=Kind.NUMERIC),
        Column(name="sex", kind=Kind.CATEGORICAL, role=Role.SENSITIVE),
        Column(name="y", kind=Kind.BOOLEAN, role=Role.TARGET),
    )
)


def settings(slices: list[str], baselines: list[str]) -> EvaluationSettings:
    return EvaluationSettings(
        level=0.9,
        bootstrap=50,
        calibrate=True,
        coverage=0.9,
        slices=slices,
        min_slice_rows=20,
        baselines=baselines,
        importance_rows=0,
    )


def test_everything_is_measured_on_the_same_rows() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    positive = 1 / (1 + np.exp(-2 * x))
    labels = (rng.random(400) < positive).astype(np.int64)
    rows = pl.DataFrame({"x": x, "sex": np.where(np.arange(400) % 3 == 0, "f", "m")})
    tables = Tables(schema=SCHEMA, train=rows[:200], train_labels=labels[:200], test=rows[200:])
    answers = {"probabilities": np.stack([1 - positive, positive], axis=1)[200:]}
    answered = Answered(objective=Objective.BINARY, labels=labels[200:], answers=answers)
    importance = (Importance(column="x", increase=1.0, lower=0.5, upper=1.5),)
    found = evaluate(answered, tables, settings(["x"], ["linear"]), importance=importance, seed=0)
    assert (found.objective, found.rows, found.importance) == (Objective.BINARY, 200, importance)
    assert [baseline.name for baseline in found.baselines] == ["trivial", "linear"]
    by_column = {column: sum(part.rows for part in found.slices if part.column == column) for column in ("x", "sex")}
    assert by_column == {"x": 200, "sex": 200}
    assert found.baselines[0].comparison.upper < 0
    assert len(found.metrics) == 9


def test_names_of_slices_are_checked_before_training() -> None:
    check(SCHEMA, settings(["x"], ["boosting"]))
    with pytest.raises(SettingsError, match="'z'"):
        check(SCHEMA, settings(["z"], []))


def measured(train: pl.DataFrame, test: pl.DataFrame, labels: np.ndarray) -> Evaluation:
    positive = np.linspace(0.1, 0.9, test.height)
    answers = {"probabilities": np.stack([1 - positive, positive], axis=1)}
    answered = Answered(objective=Objective.BINARY, labels=labels, answers=answers)
    tables = Tables(schema=SCHEMA, train=train, train_labels=np.arange(train.height) % 2, test=test)
    return evaluate(answered, tables, settings([], []), seed=0)


def rows(start: int, count: int) -> pl.DataFrame:
    return pl.DataFrame({"x": np.arange(start, start + count).astype(float), "sex": ["f"] * count})


def test_rows_that_train_has_too_are_told_from_new_ones() -> None:
    found = measured(rows(0, 100), rows(60, 100), np.arange(100) % 2)
    parts = {part.value: part for part in found.slices if part.column == SEEN}
    assert {value: part.rows for value, part in parts.items()} == {"no": 60, "yes": 40}
    assert {"auroc", "log_loss"} <= {metric.name for metric in parts["no"].metrics}
    for start in (200, 0):  # none, and all of them
        assert not [part for part in measured(rows(0, 100), rows(start, 100), np.arange(100) % 2).slices
                    if part.column == SEEN]  # fmt: skip


def test_a_class_that_the_test_split_lacks_has_no_figures() -> None:
    found = measured(rows(0, 100), rows(100, 100), np.ones(100, dtype=np.int64))
    by_class = {"precision", "recall", "f1", "auroc", "average_precision"}
    assert {metric.name for metric in found.metrics}.isdisjoint(by_class)
    assert set(found.unmeasured) == by_class
    assert all({metric.name for metric in baseline.metrics}.isdisjoint(by_class) for baseline in found.baselines)
    assert measured(rows(0, 100), rows(100, 100), np.arange(100) % 2).unmeasured == ()
