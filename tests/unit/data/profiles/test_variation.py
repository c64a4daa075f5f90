"""Runs of rows stray as they would by chance, or as what clusters them says; in order of time where it is known."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from checked_tables import schema_of

from tidemill.data.profiles.profile import profile
from tidemill.data.profiles.variation import RUNS, comparable, largest_figure
from tidemill.data.schema import Role
from tidemill.settings import Kind

DAY = datetime(2013, 1, 1, tzinfo=UTC)
ROWS = 20_000


def table() -> pl.DataFrame:
    """wind is missing for one day of a hundred; rising never falls; the rest is drawn row by row."""
    rng, row = np.random.default_rng(0), np.arange(ROWS)
    return pl.DataFrame(
        {
            "wind": np.where((row >= 7_000) & (row < 7_200), np.nan, rng.normal(size=ROWS)),
            "calm": np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(size=ROWS)),
            "rising": row + rng.normal(size=ROWS),
            "city": np.where(rng.random(ROWS) < 0.5, "A", rng.integers(0, 500, ROWS).astype(str)),
            "dark": row % 200 < 50,
            "at": pl.Series([DAY + timedelta(minutes=7 * int(i)) for i in row], dtype=pl.Datetime("us", "UTC")),
            "y": rng.choice(["a", "b"], ROWS),
        }
    )


TABLE = table()
FOUND = profile(TABLE, schema_of(TABLE, y=Role.TARGET, at=Role.TIME))["bursts"]


def test_a_column_that_was_missing_for_a_day_may_be_missing_for_a_day() -> None:
    assert FOUND["rows"] == [32, 128, 512]
    wind = FOUND["columns"]["wind"]["missing"]
    assert min(wind[:2]) > 0.9 and wind[2] == pytest.approx(200 / 512, abs=0.2)
    calm = FOUND["columns"]["calm"]["missing"]
    assert 0.1 < calm[0] < 0.3 and calm[2] < 0.11


def test_time_decides_which_rows_follow_each_other() -> None:
    shuffled = TABLE.sample(fraction=1, shuffle=True, seed=1)
    assert profile(shuffled, schema_of(TABLE, y=Role.TARGET, at=Role.TIME))["bursts"] == FOUND
    unknown = profile(shuffled, schema_of(TABLE, y=Role.TARGET, at=Role.IGNORED))["bursts"]
    assert unknown["columns"]["wind"]["missing"][1] < 0.1


def test_what_rises_is_always_outside_what_was_before() -> None:
    columns = FOUND["columns"]
    assert columns["rising"]["outside"] == [1.0, 1.0, 1.0]
    assert columns["wind"]["outside"][2] <= 2 / 512
    plain = profile(TABLE, schema_of(TABLE, y=Role.TARGET))["bursts"]["columns"]
    assert plain["at"]["outside"] == [0.0, 0.0, 0.0], "below it only"
    assert "outside" not in columns["city"] and "outside" not in columns["dark"]


def test_moved_is_the_distance_of_the_furthest_run() -> None:
    columns = FOUND["columns"]
    assert columns["dark"]["moved"][0] == pytest.approx(0.75, abs=0.1)
    assert columns["rising"]["moved"][2] > 0.85
    assert columns["calm"]["moved"][2] < 0.05


def test_values_of_which_training_happened_to_have_many_are_not_told_apart() -> None:
    entry = profile(TABLE, schema_of(TABLE, y=Role.TARGET))["columns"]["city"]
    kept = comparable(entry)
    assert list(kept["categories"]) == ["A"]
    assert kept["other"] == entry["other"] + sum(entry["categories"].values()) - kept["categories"]["A"]
    assert 0.4 < FOUND["columns"]["city"]["other"][2] < 0.55
    few = {"kind": Kind.CATEGORICAL, "missing": 0, "categories": {"A": 5, "B": 4}, "other": 0}
    assert comparable(few) is few, "all values are named"


def test_the_worst_run_is_one_as_long_or_shorter() -> None:
    wind = FOUND["columns"]["wind"]["missing"]
    assert [largest_figure(FOUND, "wind", "missing", rows) for rows in (10, 100, 600, 10**6)] == [
        wind[0],
        wind[0],
        *wind[2:] * 2,
    ]
    assert largest_figure(None, "wind", "missing", 100) is None
    assert (
        largest_figure(FOUND, "wind", "other", 100) is None and largest_figure(FOUND, "no such", "missing", 100) is None
    )


def test_too_few_rows_tell_nothing_and_empty_columns_are_no_error() -> None:
    few = TABLE.head(300)
    assert profile(few, schema_of(TABLE, y=Role.TARGET))["bursts"]["rows"] == []
    empty = TABLE.with_columns(
        wind=pl.lit(None, pl.Float64), city=pl.lit(None, pl.String), at=pl.lit(None, pl.Datetime("us", "UTC"))
    )
    found = profile(empty, schema_of(TABLE, y=Role.TARGET))["bursts"]["columns"]
    assert found["wind"]["missing"] == found["city"]["missing"] == [1.0] * 3
    assert found["at"]["missing"] == [1.0] * 3
    assert found["wind"]["moved"] == [0.0] * 3
    assert RUNS[0] == 32
