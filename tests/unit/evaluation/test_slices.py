from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import SettingsError
from tidemill.evaluation import slices
from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.results import Answered
from tidemill.settings import EvaluationSettings, Kind, Objective

BOOTSTRAP = Bootstrap(level=0.9, number=50, seed=0)


def settings(**changes: Any) -> EvaluationSettings:
    values: dict[str, Any] = {
        "level": 0.9,
        "bootstrap": 50,
        "calibrate": True,
        "coverage": 0.9,
        "slices": [],
        "min_slice_rows": 2,
        "baselines": ["trivial"],
        "importance_rows": 0,
    }
    return EvaluationSettings(**{**values, **changes})


def answered(rows: int) -> Answered:
    value = np.zeros(rows)
    return Answered(objective=Objective.REGRESSION, labels=np.arange(float(rows)), answers={"value": value})


def cut(values: pl.Series, kind: Kind, *, role: Role = Role.FEATURE, min_rows: int = 1) -> list[tuple[str, int]]:
    column = Column(name="x", kind=kind, role=role)
    found = slices.slices(
        pl.DataFrame({"x": values}), (column,), answered(len(values)), min_rows=min_rows, bootstrap=BOOTSTRAP
    )
    return [(part.value, part.rows) for part in found]


def test_categories_by_frequency_and_missing_last() -> None:
    values = pl.Series(["b", "a", "b", None, "", "b", "a", "ü ‚\n"])
    assert cut(values, Kind.CATEGORICAL)[0] == ("b", 3)
    assert cut(values, Kind.CATEGORICAL)[-1] == ("missing", 2)
    assert ("ü ‚\n", 1) in cut(values, Kind.CATEGORICAL)


def test_of_many_categories_the_largest_are_kept() -> None:
    values = pl.Series([f"c{number}" for number in range(30) for _ in range(number + 1)])
    found = cut(values, Kind.CATEGORICAL)
    assert len(found) == slices.MOST_VALUES
    assert found[0] == ("c29", 30)


def test_booleans() -> None:
    values = pl.Series([True, False, None, True])
    assert cut(values, Kind.BOOLEAN) == [("false", 1), ("true", 2), ("missing", 1)]


def test_numbers_by_quartile_hold_all_rows() -> None:
    values = pl.Series([*np.arange(100.0), np.nan, None])
    assert cut(values, Kind.NUMERIC) == [
        ("0 to 24", 24),
        ("24 to 49", 25),
        ("49 to 74", 25),
        ("74 to 99", 26),
        ("missing", 2),
    ]


def test_few_numbers_by_value() -> None:
    assert cut(pl.Series([2.0, 1.0, 2.0, -0.5]), Kind.NUMERIC) == [("-0.5", 1), ("1", 1), ("2", 2)]


def test_large_numbers_keep_the_digits_that_tell_them_apart() -> None:
    assert cut(pl.Series([1234567.0, 1234568.0]), Kind.NUMERIC) == [("1234567", 1), ("1234568", 1)]
    found = cut(pl.Series(1_357_000_000.0 + np.arange(100)), Kind.NUMERIC)
    assert [rows for _, rows in found] == [24, 25, 25, 26]


def test_quartiles_that_coincide() -> None:
    values = pl.Series([0.0] * 90 + [float(number) for number in range(1, 11)])
    assert cut(values, Kind.NUMERIC) == [("0 to 10", 100)]


def test_infinite_and_huge_numbers() -> None:
    values = pl.Series([-np.inf, np.inf, 1e308, *np.arange(20.0)])
    assert sum(rows for _, rows in cut(values, Kind.NUMERIC)) == 23


def test_timestamps_by_month() -> None:
    values = pl.Series([datetime(2013, 12, 31), datetime(2013, 2, 1), datetime(2013, 2, 28), None])
    assert cut(values, Kind.TIMESTAMP) == [("2013-02", 2), ("2013-12", 1), ("missing", 1)]


@pytest.mark.parametrize("kind", list(Kind))
def test_nothing_but_missing_values(kind: Kind) -> None:
    types = {
        Kind.NUMERIC: pl.Float64,
        Kind.CATEGORICAL: pl.String,
        Kind.BOOLEAN: pl.Boolean,
        Kind.TIMESTAMP: pl.Datetime("us"),
    }
    assert cut(pl.Series([None, None, None], dtype=types[kind]), kind) == [("missing", 3)]
    assert cut(pl.Series([], dtype=types[kind]), kind) == []


def test_small_groups_are_left_out_but_counted_if_sensitive() -> None:
    values = pl.Series(["a", "a", "a", "b"])
    assert cut(values, Kind.CATEGORICAL, min_rows=2) == [("a", 3)]
    assert cut(values, Kind.CATEGORICAL, role=Role.SENSITIVE, min_rows=2) == [("a", 3), ("b", 1)]


def test_each_slice_is_measured_on_its_own_rows() -> None:
    table = pl.DataFrame({"x": ["a", "b", "a", "b"]})
    found = slices.slices(
        table, (Column(name="x", kind=Kind.CATEGORICAL),), answered(4), min_rows=1, bootstrap=BOOTSTRAP
    )
    mae = {part.value: metric.value for part in found for metric in part.metrics if metric.name == "mae"}
    assert mae == {"a": 1.0, "b": 2.0}


def test_sensitive_columns_always_cut() -> None:
    schema = Schema(
        columns=(
            Column(name="sex", kind=Kind.CATEGORICAL, role=Role.SENSITIVE),
            Column(name="age", kind=Kind.NUMERIC),
        )
    )
    assert [column.name for column in slices.columns(schema, settings(slices=["age"]))] == ["age", "sex"]
    assert [column.name for column in slices.columns(schema, settings(slices=["sex"]))] == ["sex"]


def test_a_column_that_is_not_there_is_named() -> None:
    schema = Schema(columns=(Column(name="age", kind=Kind.NUMERIC),))
    with pytest.raises(SettingsError, match=r"evaluation\.slices must name columns.*'agee'; the table has age"):
        slices.columns(schema, settings(slices=["agee"]))


def test_a_column_that_is_not_read_cannot_cut() -> None:
    ignored = Column(name="note", kind=Kind.CATEGORICAL, role=Role.IGNORED, reason="prose")
    schema = Schema(columns=(Column(name="age", kind=Kind.NUMERIC), ignored))
    with pytest.raises(
        SettingsError, match=r"columns that are read.*'note', which is ignored \(prose\).*data\.sensitive"
    ):
        slices.columns(schema, settings(slices=["note"]))
