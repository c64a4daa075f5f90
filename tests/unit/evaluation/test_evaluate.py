import numpy as np
import polars as pl
import pytest

from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import SettingsError
from tidemill.evaluation.evaluate import Tables, check, evaluate
from tidemill.evaluation.results import Answered, Importance
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
