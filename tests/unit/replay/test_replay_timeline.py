"""Records in order of time, cut to a stretch, with the moment at which each label became known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from replay_parts import BEGIN, data_settings, records, target, timed, timeline_of

from tidemill.data.schema import Role, Schema
from tidemill.data.sources import flights
from tidemill.errors import ReplayError
from tidemill.replay.table import timeline
from tidemill.replay.table.label_times import LabelTimes


@pytest.fixture(scope="module")
def schema(small_multiclass: Any, tmp_path_factory: pytest.TempPathFactory) -> Schema:
    return timed(small_multiclass.folder, tmp_path_factory.mktemp("timed") / "bundle")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    table = records().with_columns(
        (pl.col("at") + pl.duration(hours=5)).alias("known"),
        pl.when(pl.col("id") == "r30").then(None).otherwise("open").alias("open"),
    )
    table.write_parquet(tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def test_order_stretch_and_what_is_sent(path: Path, schema: Schema) -> None:
    since, until = BEGIN + timedelta(hours=10), BEGIN + timedelta(hours=40)
    found = timeline.read(data_settings(path), schema, target(), LabelTimes(column="known"), since=since, until=until)
    ids = [f"r{number}" for number in range(10, 40) if number != 30]
    assert found.rows["id"].to_list() == ids
    assert found.unreadable == 1, "`open` may not be missing"
    assert found.rows.columns == ["id", "size", "value", "city", "open", "at", "constant"], "no target"
    assert found.moments.to_list() == [since + timedelta(hours=n) for n in range(30) if n != 20]
    assert (found.known - found.moments).unique().to_list() == [timedelta(hours=5)]
    truth = records().filter(pl.col("id").is_in(ids)).sort("at")["grade"].to_list()
    assert [found.target.classes[code] for code in found.labels] == truth


def test_a_delay_and_a_label_known_before_its_record(path: Path, schema: Schema) -> None:
    read = {"settings": data_settings(path), "schema": schema, "target": target(), "since": BEGIN, "until": None}
    found = timeline.read(**read, known=LabelTimes(delay=timedelta(hours=2)))
    assert (found.known - found.moments).unique().to_list() == [timedelta(hours=2)]
    table = pl.read_parquet(path).with_columns(
        known=pl.when(pl.col("id") == "r7").then(None).otherwise(pl.lit("2013-01-01 00:00:00"))
    )
    table.write_parquet(path)
    found = timeline.read(**read, known=LabelTimes(column="known"))
    never = found.rows["id"] == "r7"
    assert found.known.is_null().to_list() == never.to_list()
    assert found.known.filter(~never).to_list() == found.moments.filter(~never).to_list()


def test_shuffled_labels_are_the_same_ones_for_a_seed() -> None:
    plain = timeline_of(records(200))
    once, again, other = plain.shuffled(1), plain.shuffled(1), plain.shuffled(2)
    assert once.labels.tolist() == again.labels.tolist() != other.labels.tolist()
    assert sorted(once.labels) == sorted(plain.labels)
    assert once.labels.tolist() != plain.labels.tolist()


def without_time(schema: Schema) -> Schema:
    return replace(
        schema, columns=tuple(replace(c, role=Role.FEATURE) if c.name == "at" else c for c in schema.columns)
    )


def test_what_cannot_be_replayed(path: Path, schema: Schema) -> None:
    read = {"settings": data_settings(path), "target": target(), "until": None}
    hours = LabelTimes(delay=timedelta(hours=1))
    with pytest.raises(ReplayError, match="no time column"):
        timeline.read(schema=without_time(schema), known=hours, since=BEGIN, **read)
    with pytest.raises(ReplayError, match="none of 59 lies from 2020-01-01"):
        timeline.read(schema=schema, known=hours, since=datetime(2020, 1, 1, tzinfo=UTC), **read)


@pytest.mark.slow
def test_flights_say_when_they_had_landed() -> None:
    settings = data_settings(Path(), source="flights", target="disrupted")
    known = flights.labelled_at(settings).collect()
    assert known["flight_id"].n_unique() == known.height == 336_776
    table = flights.read(settings).join(known.lazy(), on="flight_id").collect()
    assert table.height == 336_776 and "labelled_at" not in flights.read(settings).collect_schema()
    hours = (table["labelled_at"] - table["scheduled_departure"]).dt.total_minutes() / 60
    assert hours.min() > 1 and hours.max() < 40  # type: ignore[operator]
    # UA1545-EWR, the first flight of the year: scheduled 5:15, left 2 minutes late, 227 minutes in the air
    (first,) = table.filter(pl.col("flight_id") == "UA1545-EWR-20130101T0515")["labelled_at"].to_list()
    assert first == datetime(2013, 1, 1, 5, 17) + timedelta(minutes=227 + 60)
