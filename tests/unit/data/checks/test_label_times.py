"""`data.label_time`: what is learnt from where labels come late, and what is said of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from table_settings import settings_for

from tidemill.data import dataset, sources
from tidemill.data.checks.findings import Finding, Severity
from tidemill.data.dataset import Dataset
from tidemill.data.schema import Role
from tidemill.errors import QualityError, SchemaError, SettingsError
from tidemill.settings import DataSettings

START, DAYS, ROWS = datetime(2020, 1, 1), 400, 4_000
END = START + timedelta(days=DAYS)


def bookings(*, alike: bool = False, unlabelled: bool = True, seed: int = 0) -> pl.DataFrame:
    """Cancellations are known after 10 days on average, stays after 100: young records with a label are cancelled.

    As of `END`: a label of later is not there, or, without `unlabelled`, its record is not.
    """
    random = np.random.default_rng(seed)
    age, cancelled = random.uniform(0, DAYS, ROWS), random.random(ROWS) < 0.4
    wait = np.where(cancelled & (not alike), random.exponential(10, ROWS), random.uniform(90, 110, ROWS))
    made = [END - timedelta(days=float(one)) for one in age]
    table = pl.DataFrame(
        {
            "booked": made,
            "price": random.normal(size=ROWS),
            "city": random.choice(["Bern", "Ulm"], ROWS),
            "settled": [moment + timedelta(days=float(one)) for moment, one in zip(made, wait, strict=True)],
            "outcome": np.where(cancelled, "cancelled", "stayed"),
        }
    )
    known = pl.col("settled") <= END
    table = table.with_columns(
        pl.when(known).then("settled").alias("settled"), pl.when(known).then("outcome").alias("outcome")
    )
    return table if unlabelled else table.drop_nulls("outcome")


def load(table: pl.DataFrame, folder: Path, **changes: Any) -> Dataset:
    table.with_columns(pl.col("booked", "settled").dt.strftime("%d.%m.%Y %H:%M")).write_csv(folder / "t.csv")
    return dataset.load(settings(folder / "t.csv", **changes), folder)


def settings(file: Path, **changes: Any) -> DataSettings:
    return settings_for(file, **{"target": "outcome", "time": "booked", "label_time": "settled", **changes})


def rows(found: Dataset) -> pl.DataFrame:
    splits = found.splits
    test = splits.test.inspect("a test", lambda table: table)
    return pl.concat([splits.train, splits.validation, test])


def delay(found: Dataset) -> Finding:
    return next(finding for finding in found.findings if finding.check == "label_delay")


@pytest.mark.parametrize("unlabelled", [True, False])
def test_records_whose_label_came_early_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, unlabelled: bool
) -> None:
    caplog.set_level("INFO", logger="tidemill")
    table = bookings(unlabelled=unlabelled)
    kept = rows(load(table, tmp_path))
    assert (kept["outcome"] == "cancelled").mean() == pytest.approx(0.4, abs=0.03)
    youngest = END.replace(tzinfo=UTC) - kept["booked"].max()  # type: ignore[operator]
    assert timedelta(days=100) < youngest < timedelta(days=115)
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "Learnt from are records older than 1" in said and "Left out: " in said and "younger records" in said
    if unlabelled:
        lacking = table["outcome"].null_count()
        assert f"Left out: {lacking:,} of 4,000 records, which have no label" in said
    assert (
        not pl.read_parquet(tmp_path / "quarantine.parquet").height if (tmp_path / "quarantine.parquet").exists() else 1
    )


@pytest.mark.slow
def test_a_bias_that_is_accepted_is_told_with_numbers(tmp_path: Path) -> None:
    found = load(bookings(), tmp_path, mature_share=None)
    kept = rows(found)
    assert (kept["outcome"] == "cancelled").mean() > 0.45, "those whose label came early are far too many"
    warning = delay(found)
    assert warning.severity is Severity.WARNING and warning.column == "settled"
    assert "when a label comes depends on what it says" in warning.message
    assert "half of 'cancelled' had come after 7 days, of 'stayed' after 100 days" in warning.message
    assert "% of these labels are 'cancelled', where 4" in warning.message and "(2021-02-03)" in warning.message
    assert "data.mature_share=0.95" in warning.remedy
    assert delay(load(bookings(), tmp_path)).severity is Severity.INFO, "the remedy"


def test_delays_that_say_nothing_are_no_warning(tmp_path: Path) -> None:
    found = delay(load(bookings(alike=True), tmp_path, mature_share=None))
    assert found.severity is Severity.INFO and "labels come alike" in found.message


@pytest.mark.slow
def test_the_column_is_no_feature_whatever_else_is_said_of_it(tmp_path: Path) -> None:
    for ignored in ([], ["settled"]):
        found = load(bookings(), tmp_path, ignored=ignored)
        assert found.schema["settled"].role is Role.IGNORED
        assert "settled" not in {column.name for column in found.schema.inputs}
        assert "settled" not in found.splits.train.columns
    assert found.schema["settled"].reason is not None and "data.label_time" in found.schema["settled"].reason


@pytest.mark.slow
def test_numbers_are_looked_at_in_quarters(tmp_path: Path) -> None:
    """A repair that costs much takes long."""
    random = np.random.default_rng(0)
    age, cost = random.uniform(0, DAYS, ROWS), random.uniform(0, 100, ROWS)
    made = [END - timedelta(days=float(one)) for one in age]
    table = pl.DataFrame(
        {"booked": made, "size": cost + random.normal(scale=30, size=ROWS), "outcome": cost}
    ).with_columns(settled=pl.col("booked") + pl.duration(days=pl.Series(cost.round())))
    found = load(table.filter(pl.col("settled") <= END), tmp_path, mature_share=None)
    assert delay(found).severity is Severity.WARNING and "> 7" in delay(found).message
    left = rows(load(table.filter(pl.col("settled") <= END), tmp_path))
    assert left["outcome"].mean() == pytest.approx(50, abs=2)


def test_a_test_table_is_cut_at_its_own_end(tmp_path: Path) -> None:
    later = bookings(seed=1).with_columns(pl.col("booked", "settled") + pl.duration(days=DAYS))
    later.with_columns(pl.col("booked", "settled").dt.strftime("%d.%m.%Y %H:%M")).write_csv(tmp_path / "later.csv")
    found = load(bookings(), tmp_path, test_path=str(tmp_path / "later.csv"))
    test = found.splits.test.inspect("a test", lambda table: table)
    assert (test["outcome"] == "cancelled").mean() == pytest.approx(0.4, abs=0.03)


def test_a_retraining_leaves_out_what_was_too_young_at_the_end_of_the_base(tmp_path: Path) -> None:
    """Old as these rows are by then, which of them has a label was decided when the table was taken."""
    base = bookings()
    base.write_parquet(tmp_path / "base.parquet")
    records = bookings(alike=True, unlabelled=False, seed=2).drop("settled")
    records = records.with_columns((pl.col("booked") + pl.duration(days=DAYS)).dt.replace_time_zone("UTC"))
    records.write_parquet(tmp_path / "records.parquet")
    options = {"base": "files", "records": str(tmp_path / "records.parquet")}
    again = settings(tmp_path / "base.parquet", source="production", options=options)
    kept = rows(dataset.load(again, tmp_path))
    assert kept.filter(pl.col("booked") > END.replace(tzinfo=UTC)).height == records.height, "all of production's"
    old = kept.filter(pl.col("booked") <= END.replace(tzinfo=UTC))
    assert (old["outcome"] == "cancelled").mean() == pytest.approx(0.4, abs=0.03)
    assert sources.waits_for_labels(again) and not sources.waits_for_labels(settings(tmp_path / "base.parquet"))


@pytest.mark.slow
def test_what_cannot_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"data\.label_time.*needs data\.time"):
        load(bookings(), tmp_path, time=None)
    with pytest.raises(SettingsError, match=r"data\.label_time names a column of timestamps.*'city' is categorical"):
        load(bookings(), tmp_path, label_time="city")
    with pytest.raises(SchemaError, match=r"data\.label_time names must be in the table.*did you mean 'settled'"):
        load(bookings(), tmp_path, label_time="setled")
    with pytest.raises(SchemaError, match="one role"):
        load(bookings(), tmp_path, label_time="booked")
    slow = bookings().filter(pl.col("booked") > END - timedelta(days=100))
    with pytest.raises(QualityError, match=r"at the age of.*data\.mature_share"):
        load(slow, tmp_path)
    told = delay(load(slow, tmp_path, mature_share=None))
    assert told.severity is Severity.WARNING and "at the age of 9" in told.message
    assert "wait" in told.remedy and "mature_share" not in told.remedy, "which would not train at all"
