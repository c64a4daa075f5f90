"""Numeric columns: every number that can be sent comes out finite, and as the settings say."""

import numpy as np
import polars as pl
import pytest
from preparation_parts import column, feature, fitted, numeric, own, prepare, raw_of, settings
from sklearn.preprocessing import QuantileTransformer

from tidemill.data.schema import Column, Schema
from tidemill.preparation.columns import NumericPlan
from tidemill.preparation.fit import fit
from tidemill.preparation.statistics import measure_numeric
from tidemill.settings import FeatureOperation, Imputation, Kind, Scaling

INF, NAN = float("inf"), float("nan")
HOSTILE = [0.0, -0.0, 1.0, -1.0, 5e-324, 1e-308, 2.0**53, 2.0**53 - 1, 1e38, 3.5e38, 1.7e308, -1.7e308, INF, -INF, NAN]


@pytest.mark.parametrize(
    ("missing", "fill"), [(Imputation.MEDIAN, 2.0), (Imputation.MEAN, 4.0), (Imputation.CONSTANT, -7.0)]
)
def test_missing_values_are_filled_and_indicated(missing: Imputation, fill: float) -> None:
    table = pl.DataFrame({"a": [1.0, 2.0, None, 9.0, NAN], "full": [1.0, 2.0, 3.0, 4.0, 5.0]})
    asked = settings(numeric=numeric(missing=missing, missing_value=-7.0, scaling=Scaling.NONE))
    preparation, prepared = prepare(table, asked)
    assert preparation.numeric_names == ("a", "full", "a (missing)")
    assert column(preparation, prepared, "a").tolist() == [1.0, 2.0, fill, 9.0, fill]
    assert column(preparation, prepared, "a (missing)").tolist() == [0.0, 0.0, 1.0, 0.0, 1.0]


def test_without_the_indicator_only_the_value_is_left() -> None:
    table = pl.DataFrame({"a": [1.0, None, 3.0]})
    assert fitted(table, settings(numeric=numeric(missing_indicator=False))).numeric_names == ("a",)


def test_standardised_by_the_training_split_after_filling() -> None:
    table = pl.DataFrame({"a": [1.0, 2.0, None, 9.0], "b": [-1e9, 1e9, 3.0, 4.0]})
    preparation, prepared = prepare(table)
    for name, values in {"a": np.array([1.0, 2.0, 2.0, 9.0]), "b": table["b"].to_numpy()}.items():
        expected = (values - values.mean()) / values.std()
        np.testing.assert_allclose(column(preparation, prepared, name), expected, rtol=1e-6)
    later = preparation.run({"a": np.array([100.0]), "b": np.array([0.0])})
    filled = np.array([1.0, 2.0, 2.0, 9.0])
    assert later.numeric[0, 0] == pytest.approx((100 - filled.mean()) / filled.std(), rel=1e-6)


def test_infinity_becomes_the_finite_extreme_of_the_training_split() -> None:
    table = pl.DataFrame({"a": [1.0, INF, 5.0, -INF, 3.0]})
    _, prepared = prepare(table, settings(numeric=numeric(scaling=Scaling.NONE)))
    assert prepared.numeric[:, 0].tolist() == [1.0, 5.0, 5.0, 1.0, 3.0]


def test_log_keeps_the_sign() -> None:
    table = pl.DataFrame({"a": [-10.0, 0.0, 1e6], "b": [1.0, 2.0, 3.0]})
    preparation, prepared = prepare(table, settings(numeric=numeric(scaling=Scaling.NONE, log=["a"])))
    expected = np.sign(table["a"]) * np.log1p(np.abs(table["a"]))
    np.testing.assert_allclose(column(preparation, prepared, "a"), expected, rtol=1e-6)
    assert column(preparation, prepared, "b").tolist() == [1.0, 2.0, 3.0]


def test_clip_acts_after_scaling_and_by_column() -> None:
    table = pl.DataFrame({"a": [0.0] * 99 + [1e3], "b": [0.0] * 99 + [1e3]})
    asked = settings(numeric=numeric(clip=2.0), columns={"b": own(clip=0.5)})
    preparation, prepared = prepare(table, asked)
    assert column(preparation, prepared, "a").max() == 2.0
    assert column(preparation, prepared, "b").max() == 0.5


def test_every_setting_can_differ_for_one_column() -> None:
    values = [1.0, 2.0, None, 10.0]
    table = pl.DataFrame({"a": values, "b": values, "c": values, "d": values})
    columns = {
        "b": own(missing=Imputation.CONSTANT, missing_value=4.0, scaling=Scaling.NONE),
        "c": own(scaling=Scaling.QUANTILE),
        "d": own(log=True, scaling=Scaling.NONE),
    }
    preparation, prepared = prepare(table, settings(columns=columns))
    assert column(preparation, prepared, "b").tolist() == [1.0, 2.0, 4.0, 10.0]
    np.testing.assert_allclose(column(preparation, prepared, "c"), [-5.2, 0.0, 0.0, 5.2], atol=0.01)
    np.testing.assert_allclose(column(preparation, prepared, "d"), np.log1p([1.0, 2.0, 2.0, 10.0]), rtol=1e-6)
    assert abs(column(preparation, prepared, "a").mean()) < 1e-6


def test_a_boolean_stays_0_and_1() -> None:
    table = pl.DataFrame({"a": [True, False, None, True]})
    preparation, prepared = prepare(table, settings(numeric=numeric(clip=0.1)))
    assert preparation.numeric_names == ("a", "a (missing)")
    assert prepared.numeric.tolist() == [[1, 0], [0, 0], [1, 1], [1, 0]]


def test_whole_numbers_keep_all_53_bits_until_the_last_step() -> None:
    base = 2.0**53 - 4
    table = pl.DataFrame({"a": [base, base + 1, base + 2, base + 3, base + 4]})
    _, prepared = prepare(table)
    np.testing.assert_allclose(prepared.numeric[:, 0], np.array([-2, -1, 0, 1, 2]) / np.sqrt(2), rtol=1e-6)


def test_columns_that_do_not_vary_are_no_inputs() -> None:
    table = pl.DataFrame(
        {
            "same": [3.0, 3.0, 3.0],
            "empty": pl.Series([None, None, None], dtype=pl.Float64),
            "infinite": [INF, INF, -INF],
            "same_or_missing": [3.0, None, 3.0],
            "a": [1.0, 2.0, 3.0],
            "yes": [True, True, True],
        }
    )
    preparation, prepared = prepare(table)
    assert [one.name for one in preparation.inputs] == ["same_or_missing", "a"]
    assert [one.name for one in preparation.model.graph.input] == ["same_or_missing", "a"]
    assert preparation.numeric_names == ("a", "same_or_missing (missing)")
    assert prepared.numeric.shape == (3, 2)


def test_one_row_and_values_apart_by_the_smallest_step() -> None:
    step = np.nextafter(1e9, 2e9)
    _, prepared = prepare(pl.DataFrame({"a": [1e9, step], "b": [0.0, 5e-324], "c": [-1.7e308, 1.7e308]}))
    assert np.isfinite(prepared.numeric).all()
    assert (prepared.numeric[0] < prepared.numeric[1]).all()


@pytest.mark.parametrize("scaling", list(Scaling))
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("clip", [None, 3.0])
def test_whatever_goes_in_finite_numbers_come_out(scaling: Scaling, log: bool, clip: float | None) -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        count = int(rng.integers(2, 12))
        train = {name: rng.choice(HOSTILE, count) for name in "abc"} | {"safe": np.arange(float(count))}
        table = pl.DataFrame(train)
        missing = rng.choice(list(Imputation))
        asked = settings(
            numeric=numeric(
                scaling=scaling, clip=clip, missing=missing, log=["a", "b", "c"] if log else [], quantiles=5
            )
        )
        preparation = fitted(table, asked)
        for values in (table, pl.DataFrame(dict.fromkeys(table.columns, HOSTILE))):
            prepared = preparation.run(raw_of(values))
            assert np.isfinite(prepared.numeric).all(), (train, preparation.numeric_names)
            assert clip is None or np.abs(prepared.numeric).max() <= clip


@pytest.mark.parametrize("quantiles", [2, 3, 4, 5, 64, 65, 1000])
def test_quantile_scores_lie_on_the_line_between_two_landmarks(quantiles: int) -> None:
    rng = np.random.default_rng(5)
    table = pl.DataFrame({"a": rng.lognormal(size=2_000), "b": rng.integers(0, 7, 2_000).astype(float)})
    preparation = fitted(table, settings(numeric=numeric(scaling=Scaling.QUANTILE, quantiles=quantiles)))
    for name in ("a", "b"):
        plan = NumericPlan(
            name=name,
            missing=Imputation.MEDIAN,
            missing_value=0.0,
            indicator=False,
            scaling=Scaling.QUANTILE,
            quantiles=quantiles,
            clip=None,
            log=False,
        )
        landmarks = measure_numeric(table[name], plan).landmarks
        assert landmarks is not None
        values, scores = landmarks.values, landmarks.scores
        asked = np.concatenate([values, np.nextafter(values, -INF), np.nextafter(values, INF), table[name].to_numpy()])
        x = np.clip(asked, values[0], values[-1])
        at = np.searchsorted(values, x, side="right") - 1
        slopes = np.append(np.diff(scores) / np.diff(values), 0.0)
        expected = (scores[at] + (x - values[at]) * slopes[at]).astype(np.float32)
        prepared = preparation.run(dict.fromkeys(("a", "b"), asked))
        assert column(preparation, prepared, name).tolist() == expected.tolist()


@pytest.mark.parametrize("quantiles", [2, 10, 64, 100, 1000])
def test_quantile_scores_are_those_of_scikit_learn_at_the_landmarks(quantiles: int) -> None:
    rng = np.random.default_rng(3)
    values = rng.lognormal(size=(quantiles - 1) * 2 + 1)
    table = pl.DataFrame({"a": values, "b": -values})
    _, prepared = prepare(table, settings(numeric=numeric(scaling=Scaling.QUANTILE, quantiles=quantiles)))
    theirs = QuantileTransformer(n_quantiles=quantiles, output_distribution="normal").fit(table.to_numpy())
    landmarks = np.argsort(values)[::2]
    np.testing.assert_allclose(
        prepared.numeric[landmarks], theirs.transform(table.to_numpy())[landmarks], rtol=1e-5, atol=1e-5
    )


def test_quantile_scores_rise_with_the_value_and_are_normal() -> None:
    rng = np.random.default_rng(5)
    values = rng.exponential(size=20_000)
    preparation, prepared = prepare(
        pl.DataFrame({"a": values}), settings(numeric=numeric(scaling=Scaling.QUANTILE, quantiles=200))
    )
    scores = prepared.numeric[:, 0]
    assert scores.mean() == pytest.approx(0, abs=0.01)
    assert scores.std() == pytest.approx(1, abs=0.03)
    grid = preparation.run({"a": np.linspace(-5, 50, 5001)}).numeric[:, 0]
    assert (np.diff(grid) >= 0).all()
    assert grid[0] == pytest.approx(-5.1993, abs=1e-3)
    assert grid[-1] == pytest.approx(5.1993, abs=1e-3)


def test_a_value_that_most_rows_share_goes_to_the_middle_of_its_quantiles() -> None:
    table = pl.DataFrame({"a": [0.0] * 80 + list(np.arange(1.0, 22.0))})
    _, prepared = prepare(table, settings(numeric=numeric(scaling=Scaling.QUANTILE, quantiles=101)))
    assert prepared.numeric[0, 0] == pytest.approx(-0.2663, abs=1e-3)  # the normal quantile of .395


def test_the_graph_knows_numbers_that_stand_for_missing_values() -> None:
    marked = Column(name="a", kind=Kind.NUMERIC, missing_marks=("-999", "9999.0", "?"))
    table = pl.DataFrame({"a": [1.0, 2.0, None, 9.0], "b": [1.0, 3.0, 2.0, 5.0]})
    wanted = settings(features=[feature("ratio", FeatureOperation.RATIO, ["b", "a"])])
    preparation = fit(table, Schema(columns=(marked, Column(name="b", kind=Kind.NUMERIC))), wanted)
    sent, read = np.array([-999.0, 9999.0, 2.0]), np.array([NAN, NAN, 2.0])
    others = {"b": np.array([1.0, 2.0, 3.0])}
    got, expected = preparation.run({"a": sent, **others}), preparation.run({"a": read, **others})
    np.testing.assert_array_equal(got.numeric, expected.numeric)
