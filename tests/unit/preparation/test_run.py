"""The graph as a whole: any number of rows, any width, the same bytes, the same answers by either way in."""

from datetime import datetime, timedelta

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from preparation_parts import column, feature, fitted, numeric, prepare, raw_of, settings

from tidemill.errors import PreparationError
from tidemill.preparation import run
from tidemill.settings import (
    CalendarPart,
    CategoricalSettings,
    FeatureOperation,
    PreparationSettings,
    Scaling,
    TimestampSettings,
)


def mixed(rows: int, seed: int = 0) -> pl.DataFrame:
    """All kinds, with missing values."""
    rng = np.random.default_rng(seed)
    words = np.array(["", "é", "b", "c" * 40, "d", "e"])

    def some(values: np.ndarray) -> pl.Series:
        return pl.Series(values).set(pl.Series(rng.random(rows) < 0.1), None)

    moments = [datetime(2020, 1, 1) + timedelta(minutes=int(m)) for m in rng.integers(-(10**7), 10**6, rows)]
    return pl.DataFrame(
        {
            "a": some(rng.normal(size=rows)),
            "b": some(rng.lognormal(size=rows)),
            "flag": some(rng.random(rows) < 0.5),
            "word": some(rng.choice(words, rows)),
            "other": some(rng.choice(words, rows)),
            "at": pl.Series(moments, dtype=pl.Datetime("us")),
        }
    )


def everything() -> PreparationSettings:
    features = [
        feature("ratio", FeatureOperation.RATIO, ["a", "b"]),
        feature("pair", FeatureOperation.CROSS, ["word", "other"]),
        feature("number", FeatureOperation.LOOKUP, ["word"], table={"b": 1.0, "d": 2.0}),
    ]
    return settings(
        numeric=numeric(scaling=Scaling.QUANTILE, quantiles=50, log=["b"], clip=4.0),
        categorical=CategoricalSettings(min_count=5, max_categories=30),
        timestamp=TimestampSettings(parts=list(CalendarPart), cyclic=True, elapsed=True),
        features=features,
    )


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 4096])
def test_any_number_of_rows_gives_the_same_answers(rows: int) -> None:
    preparation = fitted(mixed(5000), everything())
    table = mixed(4096, seed=1)
    whole, part = preparation.run(raw_of(table)), raw_of(table.head(rows))
    (numbers, codes) = onnxruntime.InferenceSession(preparation.model.SerializeToString()).run(None, part)
    for found in (run.Prepared(numeric=numbers, categorical=codes), preparation.run(part)):
        assert found.numeric.dtype == np.float32
        assert found.categorical.dtype == np.int64
        np.testing.assert_array_equal(found.numeric, whole.numeric[:rows])
        np.testing.assert_array_equal(found.categorical, whole.categorical[:rows])


@pytest.mark.slow
@pytest.mark.parametrize("rows", [0, 1, 5000, run.ROWS_READ_AT_ONCE + 1])
def test_a_table_gives_what_its_arrays_give(rows: int) -> None:
    preparation = fitted(mixed(5000), everything())
    table = pl.concat([mixed(5000, seed=2)] * (rows // 5000 + 1)).head(rows)
    by_array, by_table = preparation.run(raw_of(table)), preparation.run_table(table)
    assert by_table.numeric.shape == (rows, len(preparation.numeric_names))
    np.testing.assert_array_equal(by_table.numeric, by_array.numeric)
    np.testing.assert_array_equal(by_table.categorical, by_array.categorical)


@pytest.mark.parametrize(
    ("table", "shapes"),
    [
        (pl.DataFrame({"a": [1.0, 2.0, 3.0]}), ((3, 1), (3, 0))),
        (pl.DataFrame({"a": ["x", "y", ""]}), ((3, 0), (3, 1))),
    ],
)
def test_an_output_without_features_has_width_0(table: pl.DataFrame, shapes: tuple[tuple[int, int], ...]) -> None:
    preparation, prepared = prepare(table)
    for found in (prepared, preparation.run_table(table)):
        assert (found.numeric.shape, found.categorical.shape) == shapes
        assert (found.numeric.dtype, found.categorical.dtype) == (np.float32, np.int64)
    empty = preparation.run(raw_of(table.clear()))
    assert (empty.numeric.shape, empty.categorical.shape) == tuple((0, width) for _, width in shapes)


def test_the_model_says_what_it_takes_and_gives() -> None:
    preparation = fitted(mixed(500), everything())
    onnx.checker.check_model(preparation.model, full_check=True)
    assert {one.domain: one.version for one in preparation.model.opset_import} == {"": 20, "ai.onnx.ml": 4}
    assert preparation.model.ir_version <= 10
    session = onnxruntime.InferenceSession(preparation.model.SerializeToString())
    types = {one.name: (one.type, one.shape) for one in session.get_inputs()}
    assert types == {
        "a": ("tensor(double)", ["rows"]),
        "b": ("tensor(double)", ["rows"]),
        "flag": ("tensor(double)", ["rows"]),
        "word": ("tensor(string)", ["rows"]),
        "other": ("tensor(string)", ["rows"]),
        "at": ("tensor(int64)", ["rows"]),
    }
    assert [(one.name, one.shape) for one in session.get_outputs()] == [
        ("numeric", ["rows", len(preparation.numeric_names)]),
        ("categorical", ["rows", len(preparation.categorical_names)]),
    ]


def test_fitting_twice_gives_the_same_bytes() -> None:
    table = mixed(3000)
    first, second = (fitted(table, everything()).model.SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_columns_may_have_any_name() -> None:
    names = ["a b", "a/b", "é", "rows", "0", "x\ny", "numeric "]
    table = pl.DataFrame({name: [float(i), 2.0, 3.0] for i, name in enumerate(names)} | {"🛫": ["x", "y", ""]})
    preparation, prepared = prepare(table)
    assert preparation.numeric_names == tuple(names)
    np.testing.assert_array_equal(preparation.run_table(table).numeric, prepared.numeric)


def test_columns_that_are_no_input_are_passed_over_and_one_that_lacks_is_named() -> None:
    preparation = fitted(pl.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0]}))
    raw = {"a": np.array([1.0]), "b": np.array([2.0]), "c": np.array([3.0])}
    assert preparation.run(raw).numeric.shape == (1, 2)
    with pytest.raises(
        PreparationError, match=r"Each input of the preparation must be there. Got: no 'b' among 'a', 'c'"
    ):
        preparation.run({"a": raw["a"], "c": raw["c"]})
    with pytest.raises(PreparationError, match=r"same number of rows. Got: a: 1, b: 2"):
        preparation.run({"a": raw["a"], "b": np.zeros(2)})


def test_only_the_training_split_decides() -> None:
    train, later = mixed(1000), mixed(1000, seed=9)
    preparation = fitted(train, everything())
    before = preparation.model.SerializeToString()
    preparation.run(raw_of(later))
    assert preparation.model.SerializeToString() == before
    alone = preparation.run(raw_of(later.head(1)))
    assert (column(preparation, alone, "a") == column(preparation, preparation.run_table(later), "a")[0]).all()
