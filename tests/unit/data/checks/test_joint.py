"""Two columns that give the target away together, and what then is no moment to split by."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from checked_tables import data_settings, split_settings, tables

from tidemill.data.checks import joint
from tidemill.data.checks.findings import Finding, Severity
from tidemill.data.checks.record_time import candidates
from tidemill.data.schema import Role
from tidemill.data.tables import Tables
from tidemill.settings import Objective, SplitMethod

N = 10_000
RANDOM = np.random.default_rng(1)
DAY = datetime(2020, 1, 1)


def days(numbers: np.ndarray) -> pl.Series:
    return pl.Series([DAY + timedelta(days=int(number)) for number in numbers], dtype=pl.Datetime("us", "UTC"))


def bookings(n: int = N) -> pl.DataFrame:
    """Stays and cancellations: known on the day of arrival, or some time before it."""
    arrival, cancelled = RANDOM.integers(0, 364, n), RANDOM.random(n) < 0.4
    known = np.where(cancelled, arrival - RANDOM.integers(30, 200, n), arrival)
    return pl.DataFrame(
        {
            "week": (arrival // 7).astype(float),
            "price": RANDOM.normal(size=n),
            "status_date": days(known),
            "cancelled": cancelled,
        }
    )


def checked(made: Tables) -> dict[str, Finding]:
    return {finding.check: finding for finding in joint.check(made)}


def test_a_pair_that_gives_the_target_away_is_told_with_the_column_that_does_it() -> None:
    found = checked(tables(bookings(), target="cancelled"))
    assert "leak" not in found
    assert (found["joint_leak"].severity, found["joint_leak"].column) == (Severity.WARNING, "status_date")
    assert "'status_date' together with 'week' predicts 'cancelled' with AUROC" in found["joint_leak"].message
    assert "run once more with status_date in data.ignored" in found["joint_leak"].remedy


def test_a_pair_that_is_declared_honest() -> None:
    made = tables(bookings(), target="cancelled", settings=data_settings(allow_leaks=["status_date"]))
    assert checked(made)["joint_leak"].severity is Severity.INFO


def test_columns_that_only_help_each_other_are_no_leak() -> None:
    x, z = RANDOM.normal(size=(2, N))
    table = pl.DataFrame({"x": x, "z": z, "y": x + z + RANDOM.normal(size=N) > 0})
    assert "joint_leak" not in checked(tables(table, target="y"))


def test_a_pair_that_gives_a_number_away() -> None:
    x, z = RANDOM.integers(1, 10, size=(2, N)).astype(float)
    table = pl.DataFrame({"x": x, "z": z, "other": RANDOM.normal(size=N), "y": (x - 5) * (z - 5)})
    found = checked(tables(table, target="y", objective=Objective.REGRESSION))
    assert "absolute rank correlation 0.9" in found["joint_leak"].message


def test_pairs_are_bounded() -> None:
    wide = pl.DataFrame({f"c{i}": RANDOM.normal(size=500) for i in range(300)} | {"y": RANDOM.random(500) < 0.5})
    made = tables(wide, target="y")
    singles = {f"c{i}": float(i) for i in range(300)}
    pairs = [pair for _, pair in joint.pairs(made, singles)]
    assert len(pairs) == joint.PAIRS
    assert {pair[0] for pair in pairs} == {"c299", "c298", "c297", "c296"}, "the strongest columns with all others"


def test_a_leak_is_never_proposed_as_the_moment_of_prediction() -> None:
    found = checked(tables(bookings(), target="cancelled"))["random_split_of_moments"]
    assert found.column is None
    assert "data.time=status_date" not in found.remedy
    assert "'status_date' gives the target away" in found.message
    assert "data.moments" in found.remedy


def test_the_earliest_honest_moment_is_proposed() -> None:
    table = bookings()
    booked = days(RANDOM.integers(-400, -200, N))
    paid = booked + timedelta(days=3)
    found = checked(tables(table.with_columns(paid=paid, booked=booked), target="cancelled"))
    assert found["random_split_of_moments"].column == "booked"
    assert "data.time=booked data.split.method=time" in found["random_split_of_moments"].remedy


@pytest.mark.parametrize(
    "settings",
    [data_settings(split=split_settings(SplitMethod.TIME)), data_settings(test_path="test.csv")],
)
def test_who_splits_otherwise_is_left_alone(settings: object) -> None:
    made = tables(bookings(), target="cancelled", settings=settings)  # type: ignore[arg-type]
    assert "random_split_of_moments" not in checked(made)


def test_candidates_are_timestamps_that_are_no_target_key_or_ignored() -> None:
    table = bookings().with_columns(seen=days(RANDOM.integers(0, 9, N)))
    made = tables(table, target="cancelled", seen=Role.KEY)
    assert candidates(table, made.schema, set()) == ["status_date"]
    assert candidates(table, made.schema, {"status_date"}) == []
