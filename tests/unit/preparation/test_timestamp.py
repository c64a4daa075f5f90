"""Timestamps: the graph's calendar is Polars' calendar, for every day of years 1 to 9999."""

from datetime import UTC, datetime

import numpy as np
import onnxruntime
import polars as pl
import pytest
import spox
from preparation_parts import column, fitted, prepare, settings

from tidemill.data.raw import MISSING_TIMESTAMP
from tidemill.preparation import timestamp
from tidemill.settings import CalendarPart, TimestampSettings

ALL = list(CalendarPart)
DAY = timestamp.MICROSECONDS_PER_DAY
ODD_DAYS = [
    "0001-01-01", "0001-12-31", "0004-02-29", "0100-02-28", "0100-03-01", "0400-02-29", "1582-10-10", "1600-12-31",
    "1899-12-31", "1900-02-28", "1900-03-01", "1969-12-31", "1970-01-01", "1999-12-31", "2000-02-29", "2000-12-31",
    "2024-02-29", "2024-12-31", "2100-02-28", "2100-03-01", "9999-12-31",
]  # fmt: skip


def asked(parts: list[CalendarPart], *, cyclic: bool = False, elapsed: bool = False) -> TimestampSettings:
    return TimestampSettings(parts=parts, cyclic=cyclic, elapsed=elapsed)


def moments(ticks: np.ndarray) -> pl.Series:
    return pl.Series("t", ticks, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))


@pytest.mark.parametrize("part", ALL)
def test_parts_are_those_of_polars_from_year_1_to_9999(part: CalendarPart) -> None:
    rng = np.random.default_rng(11)
    start = pl.Series(ODD_DAYS).str.to_datetime(time_unit="us").to_physical().to_numpy()
    ticks = np.concatenate(
        [
            rng.integers(timestamp.FIRST, timestamp.LAST, 50_000, endpoint=True),
            rng.integers(-3 * 365 * DAY, 3 * 365 * DAY, 10_000),
            start,
            start + DAY - 1,
        ]
    )
    raw = spox.argument(spox.Tensor(np.int64, ("T", "N")))
    model = spox.build({"raw": raw}, {"part": timestamp.Calendar(raw)[part]})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"raw": ticks.reshape(1, -1)})
    np.testing.assert_array_equal(found[0], timestamp.part(moments(ticks), part).to_numpy())


def test_a_day_by_hand() -> None:
    """Friday, 2024-03-01, 13:45, the 61st day of a leap year."""
    series = pl.Series([datetime(2024, 3, 1, 13, 45, tzinfo=UTC)], dtype=pl.Datetime("us", "UTC"))
    found = [timestamp.part(series, part).item() for part in ALL]
    assert found == [13 * 60 + 45, 13, 4, 0, 60, 2, 2024]


def test_sine_and_cosine_go_round() -> None:
    table = pl.DataFrame({"t": pl.Series([0, 6, 12, 18, 23]) * (DAY // 24)}).cast(pl.Datetime("us", "UTC"))
    preparation, prepared = prepare(table, settings(timestamp=asked([CalendarPart.HOUR], cyclic=True)))
    assert preparation.numeric_names == ("t (hour, sine)", "t (hour, cosine)")
    angle = 2 * np.pi * np.array([0, 6, 12, 18, 23]) / 24
    np.testing.assert_allclose(prepared.numeric.T, [np.sin(angle), np.cos(angle)], atol=1e-6)


def test_without_cyclic_a_part_is_scaled_to_one() -> None:
    table = pl.DataFrame({"t": pl.Series(range(7)) * DAY}).cast(pl.Datetime("us"))
    preparation, prepared = prepare(table, settings(timestamp=asked([CalendarPart.WEEKDAY])))
    weekdays = np.array([3, 4, 5, 6, 0, 1, 2])  # 1970 began on a Thursday
    np.testing.assert_allclose(column(preparation, prepared, "t (weekday)"), weekdays / 3 - 1, atol=1e-6)


@pytest.mark.parametrize("cyclic", [False, True])
def test_missing_is_neutral_and_indicated(cyclic: bool) -> None:
    ticks = pl.Series("t", [0, 400 * DAY + 3_700_000_000, None, MISSING_TIMESTAMP, 40 * DAY], dtype=pl.Int64)
    table = pl.DataFrame({"t": ticks.cast(pl.Datetime("us"))})
    preparation, prepared = prepare(table, settings(timestamp=asked(ALL, cyclic=cyclic, elapsed=True)))
    assert preparation.numeric_names[-1] == "t (missing)"
    assert prepared.numeric[:, -1].tolist() == [0, 0, 1, 1, 0]
    np.testing.assert_allclose(prepared.numeric[2:4, :-1], 0, atol=1e-6)
    assert (np.abs(prepared.numeric[[0, 1, 4], :-1]).max(axis=1) > 0).all()


def test_elapsed_days_and_years_go_on_after_the_training_split() -> None:
    ticks = np.arange(0, 800, 100) * DAY
    preparation = fitted(
        pl.DataFrame({"t": moments(ticks)}), settings(timestamp=asked([CalendarPart.YEAR], elapsed=True))
    )
    assert preparation.numeric_names == ("t (elapsed days)", "t (year)")
    later = preparation.run({"t": np.array([0, 10_000]) * DAY}).numeric
    days, years = np.arange(0, 800, 100), np.array([1970, 1970, 1970, 1970, 1971, 1971, 1971, 1971])
    np.testing.assert_allclose(later[:, 0], (np.array([0, 10_000]) - days.mean()) / days.std(), rtol=1e-6)
    np.testing.assert_allclose(later[:, 1], (np.array([1970, 1997]) - years.mean()) / years.std(), rtol=1e-6)


def test_parts_that_do_not_vary_are_left_out_for_each_column() -> None:
    table = pl.DataFrame({"days": moments(np.arange(20) * DAY), "hours": moments(np.arange(20) * (DAY // 24))})
    parts = [CalendarPart.YEAR, CalendarPart.HOUR, CalendarPart.DAY_OF_MONTH]
    assert fitted(table, settings(timestamp=asked(parts))).numeric_names == (
        "hours (hour)",
        "days (day of month)",
    )


@pytest.mark.parametrize("cyclic", [False, True])
def test_any_64_bits_give_finite_numbers(cyclic: bool) -> None:
    rng = np.random.default_rng(2)
    table = pl.DataFrame({"t": moments(rng.integers(-DAY * 1000, DAY * 1000, 100))})
    preparation = fitted(table, settings(timestamp=asked(ALL, cyclic=cyclic, elapsed=True)))
    ends = [MISSING_TIMESTAMP, MISSING_TIMESTAMP + 1, 2**63 - 1, timestamp.FIRST - 1, timestamp.LAST + 1, 0, -1]
    ticks = np.concatenate([rng.integers(-(2**63), 2**63 - 1, 5_000), np.array(ends)])
    assert np.isfinite(preparation.run({"t": ticks}).numeric).all()
