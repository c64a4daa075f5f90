"""Derived features: the graph computes what the statistics were fitted on."""

import numpy as np
import polars as pl
import pytest
from preparation_parts import column, feature, fitted, numeric, own, prepare, settings

from tidemill.data.raw import MISSING_TIMESTAMP
from tidemill.settings import FeatureOperation, FeatureSettings, Imputation, PreparationSettings, Scaling

INF, NAN = float("inf"), float("nan")
HOUR = 3_600_000_000


def asked(*features: FeatureSettings) -> PreparationSettings:
    """As they are, missing values showing as -99."""
    plain = numeric(scaling=Scaling.NONE, missing=Imputation.CONSTANT, missing_value=-99.0)
    return settings(numeric=plain, features=list(features))


def test_a_ratio_has_a_default_for_a_zero_denominator() -> None:
    table = pl.DataFrame({"a": [6.0, 5.0, None, 8.0, 0.0, NAN], "b": [3.0, 0.0, 2.0, NAN, 4.0, -0.0]})
    preparation, prepared = prepare(table, asked(feature("a/b", FeatureOperation.RATIO, ["a", "b"], default=7.0)))
    assert column(preparation, prepared, "a/b").tolist() == [2.0, 7.0, -99.0, -99.0, 0.0, 7.0]
    assert column(preparation, prepared, "a/b (missing)").tolist() == [0, 0, 1, 1, 0, 0]


def test_a_ratio_of_infinities_is_missing_and_one_that_overflows_is_the_largest_seen() -> None:
    table = pl.DataFrame({"a": [1.0, 10.0, INF, 1e308], "b": [1.0, 2.0, INF, 1e-308]})
    preparation, prepared = prepare(table, asked(feature("a/b", FeatureOperation.RATIO, ["a", "b"])))
    assert column(preparation, prepared, "a/b").tolist() == [1.0, 5.0, -99.0, 5.0]


def test_a_difference_of_numbers() -> None:
    table = pl.DataFrame({"a": [6.0, 5.0, None, INF], "b": [3.0, 7.5, 2.0, INF]})
    preparation, prepared = prepare(table, asked(feature("a-b", FeatureOperation.DIFFERENCE, ["a", "b"])))
    assert column(preparation, prepared, "a-b").tolist() == [3.0, -2.5, -99.0, -99.0]


def test_a_difference_of_timestamps_is_in_hours() -> None:
    ticks = pl.DataFrame({"a": [0, HOUR * 5, None, -HOUR], "b": [HOUR, -HOUR // 2, 0, 0]})
    table = ticks.cast(pl.Datetime("us", "UTC"))
    preparation, prepared = prepare(table, asked(feature("a-b", FeatureOperation.DIFFERENCE, ["a", "b"])))
    assert column(preparation, prepared, "a-b").tolist() == [-1.0, 5.5, -99.0, -1.0]
    far = {"a": np.array([2**63 - 1, MISSING_TIMESTAMP]), "b": np.array([MISSING_TIMESTAMP + 1, 0])}
    assert column(preparation, preparation.run(far), "a-b").tolist() == [np.float32(2**64 / HOUR), -99.0]


def test_a_lookup_has_a_default_and_keeps_missing_missing() -> None:
    table = pl.DataFrame({"a": ["x", "y", "z", None, ""]})
    lookup = feature("n", FeatureOperation.LOOKUP, ["a"], table={"x": 1.5, "y": 1e300, "ü": 3.0}, default=-1.0)
    preparation, prepared = prepare(table, asked(lookup))
    found = column(preparation, prepared, "n").tolist()
    assert found == [1.5, np.finfo(np.float32).max, -1.0, -99.0, -99.0]
    later = preparation.run({"a": np.array(["ü", "unseen"], dtype=object)})
    assert column(preparation, later, "n").tolist() == [3.0, -1.0]


def test_a_lookup_without_a_table_is_the_default_and_so_no_feature() -> None:
    table = pl.DataFrame({"a": ["x", "y"]})
    assert fitted(table, asked(feature("n", FeatureOperation.LOOKUP, ["a"]))).numeric_names == ()


def test_derived_features_are_treated_like_raw_ones() -> None:
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"a": rng.normal(size=50), "b": rng.normal(size=50)})
    settled = settings(
        features=[feature("a-b", FeatureOperation.DIFFERENCE, ["a", "b"])], columns={"a-b": own(log=True, clip=1.0)}
    )
    preparation, prepared = prepare(table, settled)
    difference = (table["a"] - table["b"]).to_numpy()
    logged = np.sign(difference) * np.log1p(np.abs(difference))
    expected = np.clip((logged - logged.mean()) / logged.std(), -1, 1)
    np.testing.assert_allclose(column(preparation, prepared, "a-b"), expected, atol=1e-6)


def test_a_column_that_only_a_derived_feature_reads_stays_an_input() -> None:
    table = pl.DataFrame({"a": [1.0, 2.0], "b": [4.0, 4.0]})
    preparation, prepared = prepare(table, asked(feature("a/b", FeatureOperation.RATIO, ["a", "b"])))
    assert [one.name for one in preparation.inputs] == ["a", "b"]
    assert preparation.numeric_names == ("a", "a/b")
    assert prepared.numeric[:, 1].tolist() == [0.25, 0.5]


@pytest.mark.parametrize("scaling", list(Scaling))
def test_whatever_goes_in_finite_numbers_come_out(scaling: Scaling) -> None:
    hostile = [0.0, -0.0, 5e-324, 1.7e308, -1.7e308, INF, -INF, NAN, 1.0]
    rng = np.random.default_rng(4)
    table = pl.DataFrame({"a": rng.choice(hostile, 40), "b": rng.choice(hostile, 40), "c": rng.choice(["x", ""], 40)})
    features = [
        feature("ratio", FeatureOperation.RATIO, ["a", "b"], default=INF),
        feature("difference", FeatureOperation.DIFFERENCE, ["a", "b"]),
        feature("lookup", FeatureOperation.LOOKUP, ["c"], table={"x": INF, "y": NAN}, default=3.0),
    ]
    _, prepared = prepare(table, settings(numeric=numeric(scaling=scaling), features=features))
    assert np.isfinite(prepared.numeric).all()
