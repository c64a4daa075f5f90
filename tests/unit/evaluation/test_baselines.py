import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tidemill.data.schema import Column, Role, Schema
from tidemill.evaluation import baselines
from tidemill.evaluation.baselines import Columns, Problem
from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.metrics import compute, measure
from tidemill.evaluation.results import Answered
from tidemill.settings import Kind, Objective

BOOTSTRAP = Bootstrap(level=0.95, number=50, seed=0)
NONE = Bootstrap(level=0.95, number=0, seed=0)

SCHEMA = Schema(
    columns=(
        Column(name="number", kind=Kind.NUMERIC),
        Column(name="flag", kind=Kind.BOOLEAN),
        Column(name="word", kind=Kind.CATEGORICAL),
        Column(name="when", kind=Kind.TIMESTAMP),
        Column(name="who", kind=Kind.CATEGORICAL, role=Role.SENSITIVE),
        Column(name="y", kind=Kind.NUMERIC, role=Role.TARGET),
    )
)


def table(rows: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "number": rng.normal(size=rows),
            "flag": rng.random(rows) < 0.5,
            "word": [("a", "b", "ü", "")[index] for index in rng.integers(0, 4, rows)],
            "when": [datetime(2013, 1, 1) + timedelta(hours=int(hour)) for hour in rng.integers(0, 8_000, rows)],
            "who": ["x"] * rows,
        },
        schema_overrides={"when": pl.Datetime("us")},
    )


def score(rows: pl.DataFrame) -> np.ndarray:
    return rows["number"].to_numpy() + 2.0 * (rows["word"] == "b").to_numpy() - rows["flag"].to_numpy()


def labels(rows: pl.DataFrame, objective: Objective) -> np.ndarray:
    values = score(rows)
    if objective is Objective.REGRESSION:
        return values
    edges = [0.0] if objective is Objective.BINARY else [-0.5, 0.8]
    return np.digitize(values, edges).astype(np.int64)


def truth(rows: pl.DataFrame, objective: Objective) -> Answered:
    encoded = labels(rows, objective)
    if objective is Objective.REGRESSION:
        return Answered(objective=objective, labels=encoded, answers={"value": encoded})
    classes = 2 if objective is Objective.BINARY else 3
    return Answered(objective=objective, labels=encoded, answers={"probabilities": np.eye(classes)[encoded]})


@pytest.mark.parametrize("objective", [Objective.BINARY, Objective.MULTICLASS, Objective.REGRESSION])
def test_each_learns_more_than_the_one_before_can(objective: Objective) -> None:
    train, test = table(1_500), table(500, seed=1)
    ours = truth(test, objective)
    found = baselines.run(
        ["linear", "boosting"],
        SCHEMA,
        (train, labels(train, objective)),
        test,
        ours,
        measure(ours, BOOTSTRAP),
        BOOTSTRAP,
    )
    assert [baseline.name for baseline in found] == ["trivial", "linear", "boosting"]
    metric = "rmse" if objective is Objective.REGRESSION else "log_loss"
    trivial, linear, boosting = (
        next(found.value for found in baseline.metrics if found.name == metric) for baseline in found
    )
    assert linear < trivial / 2
    assert boosting < trivial / 2
    for baseline in found:
        assert baseline.comparison.upper < 0, "the truth beats everything"
        assert baseline.comparison.rows == 500
        assert baseline.standing is not None and not baseline.standing.worse
    assert found[0].standing is not None and found[0].standing.better


def test_trivial_is_the_frequencies_or_the_mean() -> None:
    empty = Columns(numeric=np.empty((3, 0)), categorical=np.empty((3, 0), np.int64))
    common: dict[str, Any] = {"train": empty, "test": empty, "seed": 0}
    task = Problem(objective=Objective.MULTICLASS, classes=3, labels=np.array([0, 0, 1]), **common)
    assert baselines.trivial(task)["probabilities"][0] == pytest.approx([3 / 6, 2 / 6, 1 / 6])
    task = Problem(objective=Objective.REGRESSION, classes=0, labels=np.array([1.0, 2.0, 6.0]), **common)
    assert list(baselines.trivial(task)["value"]) == [3.0] * 3


def test_columns_follow_the_training_split() -> None:
    train = table(100)
    odd = table(4).with_columns(
        pl.Series("word", ["never seen", None, "", "a"]),
        pl.Series("number", [np.nan, np.inf, -np.inf, None]),
        pl.Series("flag", [True, None, False, True]),
        pl.Series("when", [None, None, None, datetime(2013, 1, 7, 2, 5)], dtype=pl.Datetime("us")),
    )
    found = baselines.columns(train, odd, SCHEMA)
    assert found.numeric.shape == (4, 5)  # number, flag, minute of the day, weekday, day of the year
    assert np.isnan(found.numeric[:, 0]).all()
    np.testing.assert_array_equal(found.numeric[:, 1], [1, np.nan, 0, 1])
    np.testing.assert_array_equal(found.numeric[3, 2:], [125, 1, 7])
    assert found.categorical[:3, 0].tolist() == [-1, -1, -1]
    assert found.categorical[3, 0] >= 0


@pytest.mark.parametrize("name", ["trivial", "linear", "boosting"])
def test_a_class_that_training_lacks_and_columns_without_values(name: str) -> None:
    rows = pl.DataFrame({"number": [None] * 60, "word": [None] * 60}, schema={"number": pl.Float64, "word": pl.String})
    schema = Schema(columns=(Column(name="number", kind=Kind.NUMERIC), Column(name="word", kind=Kind.CATEGORICAL)))
    inputs = baselines.columns(rows, rows, schema)
    encoded = np.arange(60) % 2 * 2  # classes 0 and 2 of 0, 1, 2
    task = Problem(objective=Objective.MULTICLASS, classes=3, train=inputs, labels=encoded, test=inputs, seed=0)
    probabilities = baselines.BASELINES[name](task)["probabilities"]
    assert probabilities.shape == (60, 3)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert probabilities[0, 0] == pytest.approx(probabilities[0, 2])


@pytest.mark.slow
@pytest.mark.parametrize("objective", [Objective.BINARY, Objective.REGRESSION])
def test_default_boosting_is_lightgbm_by_itself(objective: Objective) -> None:
    import lightgbm

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(2_000, 6))
    values = np.sin(3 * inputs[:, 0]) + inputs[:, 1] * inputs[:, 2] + 0.1 * rng.normal(size=2_000)
    encoded = values if objective is Objective.REGRESSION else (values > 0).astype(np.int64)
    part = Columns(numeric=inputs, categorical=np.empty((2_000, 0), np.int64))
    ours = baselines.boosting(Problem(objective=objective, classes=2, train=part, labels=encoded, test=part, seed=0))
    if objective is Objective.REGRESSION:
        model = lightgbm.LGBMRegressor(verbosity=-1).fit(inputs, encoded)
        np.testing.assert_allclose(ours["value"], model.predict(inputs), rtol=1e-9)
    else:
        model = lightgbm.LGBMClassifier(verbosity=-1).fit(inputs, encoded)
        np.testing.assert_allclose(ours["probabilities"], model.predict_proba(inputs), rtol=1e-9)


DATA = os.environ.get("TIDEMILL_DATA")
"""A folder with `tabular/adult_*.csv.gz` and `tabular/california_housing.csv.gz` (UCI Adult; Pace & Barry 1997)."""


if DATA:  # without the published tables there is nothing to reproduce

    @pytest.mark.slow
    def test_metrics_reproduce_lightgbms_published_scores_on_adult() -> None:
        """TabR (2023), LightGBM with default settings, its best iteration 268 (by validation accuracy)."""
        import lightgbm
        from sklearn.model_selection import train_test_split

        folder = Path(str(DATA)) / "tabular"
        both = pl.concat([pl.read_csv(folder / f"adult_{part}.csv.gz") for part in ("train", "test")])
        encoded = (both["income"] == ">50K").to_numpy().astype(np.int64)
        numbers = both.select(pl.col(pl.Int64)).to_numpy()
        one_hot = both.drop("income").select(pl.col(pl.String)).to_dummies().to_numpy()
        inputs = np.hstack([numbers, one_hot]).astype(np.float64)
        known = np.arange(32_561)
        train, _ = train_test_split(known, test_size=0.2, random_state=1, stratify=encoded[known])
        model = lightgbm.LGBMClassifier(n_estimators=268, verbosity=-1, n_jobs=1).fit(inputs[train], encoded[train])
        answers = {"probabilities": np.asarray(model.predict_proba(inputs[32_561:]))}
        answered = Answered(objective=Objective.BINARY, labels=encoded[32_561:], answers=answers)
        values = {metric.name: metric.value for metric in compute(answered, NONE)}
        assert len(train) == 26_048
        assert values["accuracy"] == pytest.approx(0.8693569191, abs=1e-6)
        assert values["auroc"] == pytest.approx(0.9258204023, abs=1e-6)
        assert values["log_loss"] == pytest.approx(0.2804060912, abs=1e-6)
        assert values["f1"] == pytest.approx(0.7011381200, abs=1e-6)

    @pytest.mark.slow
    def test_metrics_reproduce_lightgbms_published_score_on_california() -> None:
        """TabR (2023), default settings and early stopping, the target standardised: 970 trees."""
        import lightgbm
        from sklearn.model_selection import train_test_split

        homes = pl.read_csv(Path(str(DATA)) / "tabular" / "california_housing.csv.gz")
        value = homes["median_house_value"].to_numpy() / 1e5
        inputs = homes.select(
            "median_income",
            "housing_median_age",
            rooms=pl.col("total_rooms") / pl.col("households"),
            bedrooms=pl.col("total_bedrooms") / pl.col("households"),
            population="population",
            occupants=pl.col("population") / pl.col("households"),
            latitude="latitude",
            longitude="longitude",
        ).to_numpy()
        rest, test = train_test_split(np.arange(len(value)), test_size=0.2, random_state=0)
        train, _ = train_test_split(rest, test_size=0.2, random_state=1)
        mean, scale = value[train].mean(), value[train].std()
        model = lightgbm.LGBMRegressor(n_estimators=970, verbosity=-1, n_jobs=1)
        model.fit(inputs[train], (value[train] - mean) / scale)
        predicted = np.asarray(model.predict(inputs[test])) * scale + mean
        answered = Answered(objective=Objective.REGRESSION, labels=value[test], answers={"value": predicted})
        values = {metric.name: metric.value for metric in compute(answered, NONE)}
        assert (len(train), len(test)) == (13_209, 4_128)
        assert values["rmse"] == pytest.approx(0.4494565855, abs=1e-6)
