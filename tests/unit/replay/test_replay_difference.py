"""Differences whose figures can be computed by hand, and intervals that know that a day's records are alike."""

import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tidemill.replay.results import difference


def moments(*days: int) -> pl.Series:
    return pl.Series([datetime(2013, 4, day, 12, tzinfo=UTC) for day in days], dtype=pl.Datetime("us", "UTC"))


def test_a_mean_over_records_not_over_days() -> None:
    ours, theirs = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 2.0, 2.0])
    found = difference.between(ours, theirs, np.array([1, 1, 1, 2]))
    assert found is not None
    assert (found.rows, found.days, found.ours, found.theirs) == (4, 2, 2.5, 2.0)
    assert found.difference == 0.5
    # three resamples of two days: (1, 1) has mean 0, (2, 2) has mean 2, (1, 2) has mean 0.5
    assert (found.lower, found.upper) == (0.0, 2.0)


def test_one_day_says_nothing_for_certain_and_no_record_nothing_at_all() -> None:
    found = difference.between(np.array([1.0, 3.0]), np.array([0.0, 0.0]), np.array([7, 7]))
    assert found is not None
    assert (found.difference, found.lower, found.upper) == (2.0, -math.inf, math.inf)
    assert difference.between(np.empty(0), np.empty(0), np.empty(0, np.int64)) is None


def test_records_of_a_day_that_are_alike_do_not_count_as_many() -> None:
    """Intervals hold their level with days that differ; by records they would hold it in one of ten."""
    random = np.random.default_rng(5)
    held = 0
    for _ in range(100):
        effects = random.normal(0, 1, 60)
        values = np.repeat(effects, 100) + random.normal(0, 1, 6_000)
        found = difference.between(values, np.zeros(6_000), np.repeat(np.arange(60), 100))
        assert found is not None
        held += found.lower <= 0 <= found.upper
    assert held >= 88


def test_by_month() -> None:
    when = pl.concat([moments(29, 30), moments(1, 2).dt.offset_by("1mo")])
    april, may = difference.by_month(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.0, 2.0, 4.0]), when)
    assert (april[0], april[1].difference, april[1].rows) == (date(2013, 4, 1), 1.0, 2)
    assert (may[0], may[1].difference, may[1].theirs) == (date(2013, 5, 1), -3.0, 3.0)


def test_the_course_of_the_sum() -> None:
    found = difference.course(np.array([1.0, 2.0, 0.0, 5.0]), np.array([0.0, 0.0, 1.0, 3.0]), moments(1, 1, 3, 4))
    assert found.days == [date(2013, 4, 1), date(2013, 4, 3), date(2013, 4, 4)]
    assert found.total == [3.0, 2.0, 4.0]
    assert found.lower[0] == found.upper[0] == 3.0, "one day resampled is that day"
    assert all(low <= value <= high for low, value, high in zip(found.lower, found.total, found.upper, strict=True))
    assert found.lower[2] < 4.0 < found.upper[2]


def test_the_course_ends_where_the_mean_does() -> None:
    random = np.random.default_rng(1)
    begin = datetime(2013, 4, 1, tzinfo=UTC)
    when = pl.Series([begin + timedelta(hours=hour) for hour in range(24 * 90)], dtype=pl.Datetime("us", "UTC"))
    ours, theirs = random.normal(0.1, 1, len(when)), np.zeros(len(when))
    found = difference.course(ours, theirs, when)
    mean = difference.between(ours, theirs, difference.days_of(when))
    assert mean is not None
    assert found.total[-1] == pytest.approx(mean.difference * mean.rows)
    assert found.lower[-1] == pytest.approx(mean.lower * mean.rows, abs=0.15 * (mean.upper - mean.lower) * mean.rows)
    assert found.upper[-1] == pytest.approx(mean.upper * mean.rows, abs=0.15 * (mean.upper - mean.lower) * mean.rows)
