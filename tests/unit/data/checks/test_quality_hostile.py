"""Checks of the data on hostile and tiny tables, and on weights."""

import json

import numpy as np
import polars as pl
import pytest
from checked_tables import data_settings, schema_of, split_settings, tables
from quality_parts import ERROR, INFO, WARNING, N, frame

from tidemill.data.checks import quality, row_checks
from tidemill.data.profiles.profile import profile, profile_like
from tidemill.data.schema import Role
from tidemill.data.splitting.splits import split
from tidemill.data.target import Target
from tidemill.settings import AbsentClasses, Objective, SplitMethod


@pytest.mark.parametrize("rows", [3, 5])
def test_tiny_tables(rows: int) -> None:
    table = frame(rows, x=["a"] * rows, y=[1.0] * rows)
    schema, target = schema_of(table, y=Role.TARGET), Target(name="y", objective=Objective.REGRESSION, classes=())
    found = quality.check(split(table, schema, split_settings(), target), {}, schema, data_settings(), target)
    assert [finding.check for finding in found if finding.severity is ERROR] == ["constant_target"]


FLOATS = [0.0, -0.0, 1.0, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), float("nan"), None, 2.0**60]
TEXTS = ["", "a", "ü", "a" * 10_000, None, "NaN", "me@x.org", "\x00", "🜁", "4539 1488 0343 6467", "192.168.0.1", " "]
TIMES = [None, -(2**62), 2**62, 0, 1, 1_357_000_000_000_000]


@pytest.mark.parametrize("seed", range(12))
def test_hostile_tables_are_checked_and_profiled(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = (5, 60, 1_000)[seed % 3]

    def column(pool: list[object], dtype: type[pl.DataType]) -> pl.Series:
        few = [pool[i] for i in generator.integers(0, len(pool), 5)]
        return pl.Series([few[i] for i in generator.integers(0, 5, rows)], dtype=dtype)

    table = pl.DataFrame(
        {
            "f": column(FLOATS, pl.Float64),  # type: ignore[arg-type]
            "c": column(TEXTS, pl.String),  # type: ignore[arg-type]
            "b": column([True, False, None], pl.Boolean),
            "d": column(TIMES, pl.Int64).cast(pl.Datetime("us", "UTC")),  # type: ignore[arg-type]
            "t": pl.Series(range(rows)).cast(pl.Datetime("us", "UTC")),
            "y": generator.choice([1.5, -2.0, 1e300, float("inf")], rows),
        }
    )
    schema = schema_of(table, y=Role.TARGET, t=Role.TIME)
    target = Target(name="y", objective=Objective.REGRESSION, classes=())
    settings = data_settings(split=split_settings(SplitMethod.TIME))
    made = split(table, schema, settings.split, target)
    assert all(0 <= found.share <= 1 + 1e-12 for found in quality.check(made, {}, schema, settings, target))
    reference = profile(made.train, schema)
    assert json.dumps(reference, allow_nan=False)
    assert profile_like(made.train, reference) == {key: reference[key] for key in ("format", "rows", "columns")}


def weighted(rows: int, y: list[object], w: list[float]) -> pl.DataFrame:
    return frame(rows, y=y, w=w)


@pytest.mark.parametrize(
    ("train", "validation", "rows"),
    [([0.0] * N, [1.0] * N, [N]), ([0.0, 1.0] * (N // 2), [1.0] * N, [N // 2]), ([1.0] * N, [0.0] * N, [N])],
    ids=["all of train", "a class of train", "all of validation"],
)
def test_what_has_no_weight_would_not_count(train: list[float], validation: list[float], rows: list[int]) -> None:
    labels: list[object] = ["a", "b"] * (N // 2)
    made = tables(weighted(N, labels, train), target="y", validation=weighted(N, labels, validation), w=Role.WEIGHT)
    found = [finding for finding in row_checks.weights(made) if finding.severity is ERROR]
    assert [finding.rows for finding in found] == rows
    assert all(finding.column == "w" and "w in data.ignored" in finding.remedy for finding in found)


def test_what_weights_count_in_is_said() -> None:
    labels: list[object] = ["a", "b"] * (N // 2)
    one = weighted(N, labels, [1.0, 0.5] * (N // 2))
    (found,) = row_checks.weights(tables(one, target="y", validation=one, w=Role.WEIGHT))
    assert (found.check, found.severity) == ("weights", INFO)
    assert "counts in the training loss and in the validation loss" in found.message
    assert "metrics, baselines, calibration and the gate count every row once" in found.message


def test_an_accepted_class_without_rows_bars_a_champion() -> None:
    both, one = frame(y=["a", "b"] * (N // 2)), frame(y=["a"] * N)
    accept = data_settings(split=split_settings(absent_classes=AbsentClasses.ACCEPT))
    made = tables(both, target="y", validation=one, test=one, settings=accept)
    found = list(row_checks.classes(made))
    assert [(finding.severity, finding.bars) for finding in found] == [(WARNING, True)] * 2
    assert "calibration is left out" in found[0].message
    assert "figures by class are not measured" in found[1].message
    assert list(row_checks.classes(tables(both, target="y", validation=both, test=both, settings=accept))) == []
