"""Targets: the objective, the classes, and numbers for the loss."""

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from table_settings import settings_for

from tidemill.data import target
from tidemill.data.target import Target
from tidemill.errors import SchemaError, SettingsError
from tidemill.settings import Objective


def fit(values: list[Any], **changes: Any) -> Target:
    return target.fit(pl.Series("y", values), settings_for(**changes))


@pytest.mark.parametrize(
    ("values", "objective", "classes", "outputs"),
    [
        (["b", "a", None, "a"], "binary", ("a", "b"), 1),
        ([True, False], "binary", ("false", "true"), 1),
        ([1.0, 0.0, None, float("nan")], "binary", ("0", "1"), 1),
        ([1.0, 10.0, 2.0], "multiclass", ("1", "2", "10"), 3),
        (["1", "10", "2"], "multiclass", ("1", "10", "2"), 3),
        ([0.5, 1.5], "binary", ("0.5", "1.5"), 1),
        ([0.5, 1.5, 2.0], "regression", (), 1),
        ([float(i) for i in range(20)], "multiclass", tuple(map(str, range(20))), 20),
        ([float(i) for i in range(21)], "regression", (), 1),
        ([f"c{i:03}" for i in range(1000)], "multiclass", tuple(f"c{i:03}" for i in range(1000)), 1000),
    ],
)
def test_objectives_are_told_by_the_values(values: list[Any], objective: str, classes: Any, outputs: int) -> None:
    fitted = fit(values)
    assert (fitted.objective, fitted.classes, fitted.outputs) == (Objective(objective), classes, outputs)


def test_settings_decide_the_objective_and_the_positive_class() -> None:
    assert fit([0.0, 1.0], objective="regression").classes == ()
    assert fit([0.0, 1.0], objective="multiclass").outputs == 2
    assert fit([float(i) for i in range(30)], objective="multiclass").outputs == 30
    assert fit(["yes", "no"], positive="no").classes == ("yes", "no")


@pytest.mark.parametrize(
    ("values", "changes", "said"),
    [
        ([1.0, 1.0, None], {}, "every row has '1'"),
        (["a"], {}, "every row has 'a'"),
        ([None, float("nan")], {}, "all values are missing"),
        ([datetime(2013, 1, 1), datetime(2013, 1, 2)], {}, "it holds timestamps"),
        ([f"c{i}" for i in range(1001)], {}, "1,001 different values"),
        (["a", "b", "c"], {"objective": "binary"}, "A binary target has two classes"),
        (["a", "b"], {"objective": "regression"}, "Regression needs a numeric target"),
        ([0.5, 1.5, float("inf")], {}, "must be finite"),
    ],
)
def test_targets_that_nothing_can_be_learned_from(values: list[Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaError) as caught:
        target.fit(pl.Series("y", values, strict=False), settings_for(**changes))
    assert said in str(caught.value)
    assert "'y'" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "positive", "said"),
    [
        (["yes", "no"], "yess", "did you mean 'yes'?"),
        (["a", "b", "c"], "a", "the target is multiclass"),
        ([0.5, 1.5, 2.5], "1", "is a regression target"),
    ],
)
def test_a_positive_class_must_be_one(values: list[Any], positive: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        fit(values, positive=positive)
    assert said in str(caught.value)


def test_encoding() -> None:
    codes = fit(["b", "a"]).encode(pl.Series(["a", "b", "b"]))
    assert codes.dtype == np.int64
    assert codes.tolist() == [0, 1, 1]
    assert fit([True, False]).encode(pl.Series([True, False])).tolist() == [1, 0]
    assert fit([1.0, 10.0, 2.0]).encode(pl.Series([10.0, 1.0])).tolist() == [2, 0]
    values = fit([0.5, 1.5, 2.5]).encode(pl.Series([0.25, 9.0]))
    assert values.dtype == np.float64
    assert values.tolist() == [0.25, 9.0]
    assert fit(["b", "a"]).encode(pl.Series([], dtype=pl.String)).tolist() == []


def test_a_value_that_is_no_class_is_named() -> None:
    with pytest.raises(SchemaError, match=r"3 row.s. with 'c', 'd'; the classes are a, b"):
        fit(["b", "a"]).encode(pl.Series(["c", "a", "d", "c"]))
    with pytest.raises(SchemaError, match=r"1 row.s. with missing"):
        fit(["b", "a"]).encode(pl.Series(["a", None]))
    with pytest.raises(SchemaError, match="Every value of the target 'y' must be a number"):
        fit([0.5, 1.5, 2.5]).encode(pl.Series([0.5, None]))
