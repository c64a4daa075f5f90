"""Where training ends and traffic begins, and what was known there; what cannot be replayed is told before any work."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from replay_parts import BEGIN, data_settings, records

from tidemill.data.labels.maturity import Maturity
from tidemill.errors import QualityError, ReplayError, SchemaError
from tidemill.replay.table.label_times import LabelTimes
from tidemill.replay.table.window import Before, TimeWindow, cut
from tidemill.settings import DataSettings

HOUR = LabelTimes(delay=timedelta(hours=1))
SINCE = BEGIN + timedelta(days=3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Nine days, a record an hour in no order, labels known after five hours; moments as text."""
    table = records(216).with_columns(
        (pl.col("at") + pl.duration(hours=5)).dt.strftime("%d.%m.%Y %H:%M").alias("known")
    )
    table.with_columns(pl.col("at").dt.strftime("%Y-%m-%d %H:%M:%S")).write_csv(tmp_path / "t.csv")
    return tmp_path / "t.csv"


def settings(path: Path, **changes: Any) -> DataSettings:
    return data_settings(path, **{"time": "at", "target": "grade", "key": "id", "ignored": ["known"], **changes})


def test_the_first_third_is_before(path: Path) -> None:
    found, before = cut(settings(path), HOUR, None, None)
    assert found.since == SINCE, "a third is over then, at midnight"
    assert (found.end, found.lag) == (BEGIN + timedelta(hours=215), timedelta(hours=1))
    assert learnt_from(found, before) == 71, "the label of 23:00 was not known before midnight"
    assert before.table.height == 72, "but it may be learnt from later"
    assert set(before.table.columns) == {*records(1).columns, "known", "label_known_at"}
    assert found.per_day == pytest.approx(24)
    one_day = settings(path, limit=None)
    pl.read_csv(path).filter(pl.col("at") < "2013-04-02").write_csv(path)
    assert cut(one_day, HOUR, None, None)[0].since == BEGIN + timedelta(hours=8), "there is no midnight in it"


@pytest.mark.slow
def test_only_labels_that_were_known_are_learnt_from(path: Path) -> None:
    found, before = cut(settings(path), LabelTimes(column="known"), SINCE, None)
    assert found.lag == timedelta(hours=5)
    assert learnt_from(found, before) == 72 - 5, "that of 19:00 came at midnight"
    said = settings(path, ignored=[], label_time="known")
    assert cut(said, LabelTimes(), SINCE, None)[0] == found, "data.label_time says it as well"


@pytest.mark.parametrize("target", ["grade", "value"])
def test_records_whose_label_came_early_are_not_learnt_from_before_the_others_are(tmp_path: Path, target: str) -> None:
    """A third of all is "ä-high" and known at once, the rest after 20 hours: what is known early is no sample."""
    sort = pl.col("grade") == "ä-high"
    table = records(400).with_columns(value=pl.when(sort).then(pl.col("value") + 2.0**31).otherwise("value"))
    late = pl.when(sort).then(pl.col("at")).otherwise(pl.col("at") + pl.duration(hours=20)).alias("known")
    table.with_columns(late).write_parquet(tmp_path / "t.parquet")
    since = BEGIN + timedelta(hours=200)
    found, before = cut(settings(tmp_path / "t.parquet", target=target), LabelTimes(column="known"), since, None)
    assert found.lag == timedelta(hours=20)
    assert learnt_from(found, before) == 180
    chosen = before.table.filter(pl.col("at") < found.mature_until)
    assert chosen.height == learnt_from(found, before), "each of them has its label"
    young = found.maturity.young
    known_young = table.filter(pl.col("at").is_between(since - timedelta(hours=20), since, closed="left"), sort).height
    assert young.records == 20 and young.labelled == known_young
    assert young.classes[0][1] > 2 * young.classes[0][2], "one kind is far too frequent among them"
    assert "20 hours" in " ".join(found.maturity.sentences())


def test_a_class_whose_labels_come_after_the_whole_time_is_refused(tmp_path: Path) -> None:
    table = records(400)
    late = pl.when(pl.col("grade") == "mid").then(pl.col("at") + pl.duration(days=30)).otherwise("at").alias("known")
    table.with_columns(late).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(QualityError, match=r"all labels that came are 'ä-high'.*of records have none.*later --from"):
        cut(settings(tmp_path / "t.parquet"), LabelTimes(column="known"), BEGIN + timedelta(days=8), None)


@pytest.mark.slow
def test_flights_begin_in_april() -> None:
    flights = data_settings(
        Path(),
        source="flights",
        time="scheduled_departure",
        target="disrupted",
        key="flight_id",
        ignored=["flight_number", "plane_model"],
    )
    found, before = cut(flights, LabelTimes(), None, None)
    assert found.since == datetime(2013, 4, 1, tzinfo=UTC) and found.end.date().isoformat() == "2013-12-31"
    assert before.table.height == 80_789, "of January to March"
    left_out = 80_789 - learnt_from(found, before)
    assert found.lag < timedelta(hours=24) and 101 <= left_out < 900, "but those of the last hours"


def learnt_from(found: TimeWindow, before: Before) -> int:
    """Records that the first model is trained on."""
    name = "at" if "at" in before.table.columns else "scheduled_departure"
    moment, stored = pl.col(name), before.table.schema[name]
    if stored == pl.String:
        moment = moment.str.to_datetime("%Y-%m-%d %H:%M:%S")
    if stored == pl.String or stored.time_zone is None:
        moment = moment.dt.replace_time_zone("UTC")
    chosen = (moment < found.mature_until) & (pl.col(before.label_time) < found.since)
    return before.table.filter(chosen).height


@pytest.mark.parametrize(
    ("changes", "known", "since", "until", "said"),
    [
        ({"time": None}, HOUR, None, None, r"data\.time=None.*if a record is made at 'at', set data\.time=at"),
        ({"time": "size"}, HOUR, None, None, r"'size' is numeric.*data\.time"),
        ({"target": None}, HOUR, None, None, r"data\.target=None.*one of .*grade"),
        ({}, HOUR, BEGIN, None, r"--from lies within.*2013-04-01 00:00.*go from 2013-04-01 00:00 to 2013-04-09 23:00"),
        ({}, HOUR, datetime(2026, 1, 1, tzinfo=UTC), None, r"--from lies within.*2026-01-01"),
        ({}, HOUR, SINCE, SINCE, r"--until lies after --from.*2013-04-04 00:00"),
        ({}, LabelTimes(delay=timedelta(days=5)), SINCE, None, r"none of 72 records before 2013-04-04.*later --from"),
        ({}, LabelTimes(column="knwon"), None, None, r"--label-time names a column.*'knwon'; the table has id"),
        (
            {},
            LabelTimes(column="city"),
            None,
            None,
            r"--label-time names a column of timestamps.*'city' is categorical",
        ),
        ({"ignored": []}, LabelTimes(column="known"), None, None, r"no sooner than the label.*data\.ignored=\[known\]"),
        ({}, LabelTimes(), None, None, r"the source files does not say it.*--label-time COLUMN.*--label-delay"),
        ({"key": None}, LabelTimes(), None, None, r"no key to find it by"),
    ],
)
def test_what_cannot_be_replayed(
    path: Path, changes: dict[str, Any], known: LabelTimes, since: datetime | None, until: datetime | None, said: str
) -> None:
    with pytest.raises(ReplayError, match=said):
        cut(settings(path, **changes), known, since, until)


def stays(folder: Path, **more: pl.Expr) -> Path:
    """Bookings by week of arrival, and the day on which it was known whether the guests came: on arrival, or before."""
    random = np.random.default_rng(1)
    arrival, cancelled = random.integers(0, 364, 10_000), random.random(10_000) < 0.4
    known = np.where(cancelled, arrival - random.integers(30, 200, 10_000), arrival)
    table = pl.DataFrame({"week": arrival // 7, "price": random.normal(size=10_000), "cancelled": cancelled})
    start = pl.lit(BEGIN)
    table = table.with_columns(
        status_date=start + pl.duration(days=pl.Series(known)),
        **{name: start + pl.duration(days=pl.Series(arrival)) + one for name, one in more.items()},
    )
    table.write_parquet(folder / "stays.parquet")
    return folder / "stays.parquet"


def test_a_moment_after_the_prediction_is_never_proposed(tmp_path: Path) -> None:
    file = stays(tmp_path)
    with pytest.raises(ReplayError) as alone:
        cut(data_settings(file, target="cancelled"), HOUR, None, None)
    assert "data.time=status_date" not in alone.value.remedy and "data.moments" in alone.value.remedy
    assert "not 'status_date', known only after the prediction" in alone.value.remedy
    file = stays(tmp_path, paid=pl.duration(days=-300), booked=pl.duration(days=-303))
    with pytest.raises(ReplayError) as several:
        cut(data_settings(file, target="cancelled"), HOUR, None, None)
    assert "if a record is made at 'booked', set data.time=booked" in several.value.remedy
    assert cut(data_settings(file, target="cancelled", time="booked"), HOUR, None, None)[0].last


def test_a_moment_in_parts_is_proposed_as_it_is_made(tmp_path: Path) -> None:
    table = pl.read_parquet(stays(tmp_path)).with_columns(year=2013, month=pl.lit("May"), day=pl.col("week") % 28 + 1)
    table.write_parquet(tmp_path / "stays.parquet")
    with pytest.raises(ReplayError, match=r"'data\.moments\.date=\{year: year, month: month, day: day\}'"):
        cut(data_settings(tmp_path / "stays.parquet", target="cancelled"), HOUR, None, None)


def test_the_column_that_says_when_labels_came_is_never_proposed(tmp_path: Path) -> None:
    file = stays(tmp_path, left=pl.duration(days=3))
    with pytest.raises(ReplayError) as found:
        cut(data_settings(file, target="cancelled", ignored=["status_date"]), LabelTimes(column="left"), None, None)
    assert "data.time=left" not in found.value.remedy


def test_a_column_that_is_not_there(path: Path) -> None:
    with pytest.raises(SchemaError, match=r"data\.time names.*did you mean 'at'"):
        cut(settings(path, time="att"), HOUR, None, None)


def test_days() -> None:
    given = {
        "since": SINCE,
        "last": SINCE + timedelta(days=9),
        "per_day": 1.0,
        "maturity": Maturity(age=timedelta(), share=0.95),
    }
    assert TimeWindow(until=None, **given).days == 9 and TimeWindow(until=SINCE + timedelta(days=2), **given).days == 2
