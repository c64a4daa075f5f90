"""Moments made of parts and offsets: what they are, what is refused, and that every reader of the table has them."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from table_settings import settings_for

from tidemill.data import infer, made_moments, proposals, schema_file, sources, typed
from tidemill.data.schema import Role, Schema
from tidemill.errors import SettingsError
from tidemill.settings import Kind

BOOKED = {"year": "year", "month": "month", "day": "day", "minus_days": "lead"}
ROWS = "year,month,day,lead,y\n2015,July,1,342,a\n2016,feb,29,0,b\n2015,12,31,1.5,a\n2015,February,30,1,b\n"


def opened(path: Path, moments: dict[str, dict[str, object]], **changes: object) -> pl.DataFrame:
    return sources.open(settings_for(path, moments=moments, **changes)).collect()


def moment(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def test_a_moment_is_made_of_year_month_day_less_days(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "t.csv").write_text(ROWS)
    with caplog.at_level(logging.INFO):
        made = opened(tmp_path / "t.csv", {"booked_at": BOOKED})["booked_at"]
    assert made.to_list() == [moment(2014, 7, 24), moment(2016, 2, 29), moment(2015, 12, 29, 12), None]
    assert "3 of 4 rows have it" in caplog.text
    assert "1 rows have parts that make no moment booked_at" in caplog.text
    assert "'2015, February, 30, 1'" in caplog.text


def test_stored_types_make_the_same_moment_as_text(tmp_path: Path) -> None:
    table = pl.DataFrame({"year": [2015.0, 2016.0], "month": ["July", "Feb."], "day": [1, 29], "lead": [342, 0]})
    table.write_parquet(tmp_path / "t.parquet")
    made = opened(tmp_path / "t.parquet", {"booked_at": BOOKED})["booked_at"].to_list()
    assert made == [moment(2014, 7, 24), moment(2016, 2, 29)]


def test_times_of_day_and_dates_in_a_notation(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("d,t,h\n13.01.2022,14:05,1\n02.03.2022,00:00:30,2\n02.03.2022,25:00,3\n")
    made = opened(
        tmp_path / "t.csv",
        {"a": {"date": "d", "time": "t"}, "b": {"date": "d", "hour": "h", "plus_minutes": 30}},
    )
    assert made["a"].to_list() == [moment(2022, 1, 13, 14, 5), moment(2022, 3, 2, 0, 0, 30), None]
    assert made["b"].to_list()[0] == moment(2022, 1, 13, 1, 30)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"yaer": "year", "month": "month"}, "did you mean year?"),
        ({"year": "year"}, "A moment is made of year and month (and day), or of date"),
        ({**BOOKED, "date": "day"}, "A moment is made of year and month (and day), or of date"),
        ({**BOOKED, "day": "dya"}, "did you mean 'day'?"),
        ({**BOOKED, "day": True}, "a column's name, or a number"),
        ({**BOOKED, "time": "y", "hour": 1}, "one column (time, like 14:05), or hour"),
        ({**BOOKED, "month": "y"}, "none of 4 rows do"),
        ({"date": "y"}, "The part `date` of a moment is a column of dates"),
    ],
)
def test_what_makes_no_moment_is_refused_by_its_key(tmp_path: Path, parts: dict[str, object], said: str) -> None:
    (tmp_path / "t.csv").write_text(ROWS)
    with pytest.raises(SettingsError) as caught:
        opened(tmp_path / "t.csv", {"booked_at": parts})
    assert said in str(caught.value)
    assert "booked_at" in str(caught.value)


def test_the_schema_keeps_how_it_was_made_and_can_be_pinned(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(ROWS.replace("30,1,b", "27,1,b"))
    settings = settings_for(tmp_path / "t.csv", target="y", time="booked_at", moments={"booked_at": BOOKED})
    schema = infer.infer(sources.open(settings), settings)
    column = schema["booked_at"]
    assert (column.kind, column.role, dict(column.made_of)) == (Kind.TIMESTAMP, Role.TIME, BOOKED)
    assert Schema.from_dict(schema.to_dict()) == schema
    schema_file.write(schema, tmp_path / "schema.yaml")
    pinned = settings_for(tmp_path / "t.csv", schema=str(tmp_path / "schema.yaml"))
    frame = sources.open(pinned)
    assert typed.apply(frame, infer.infer(frame, pinned)).table["booked_at"][0] == moment(2014, 7, 24)


def test_separate_test_tables_have_the_moment_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(ROWS)
    settings = settings_for(tmp_path / "t.csv", test_path=str(tmp_path / "t.csv"), moments={"booked_at": BOOKED})
    test = sources.open_separate(settings, "test")
    assert test is not None
    assert test.collect()["booked_at"][0] == moment(2014, 7, 24)


def test_records_of_production_get_theirs_from_their_parts(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(ROWS)
    records = pl.DataFrame({"year": [2017.0], "month": ["March"], "day": [4.0], "lead": [3.0], "y": ["a"]})
    records.write_parquet(tmp_path / "records.parquet")
    options = {"base": "files", "records": str(tmp_path / "records.parquet")}
    table = opened(tmp_path / "t.csv", {"booked_at": BOOKED}, source="production", options=options, target="y")
    assert table["booked_at"].to_list()[-1] == moment(2017, 3, 1)


def test_bulk_makes_it_of_a_files_parts_and_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(ROWS)
    settings = settings_for(tmp_path / "t.csv", target="y", moments={"booked_at": BOOKED})
    schema = infer.infer(sources.open(settings), settings)
    file = pl.LazyFrame({"year": [2015], "month": ["July"], "day": [1], "lead": [342]})
    assert made_moments.of_schema(file, schema.columns).collect()["booked_at"].to_list() == [moment(2014, 7, 24)]
    own = file.with_columns(booked_at=pl.lit("2020-01-01"))
    assert made_moments.of_schema(own, schema.columns).collect()["booked_at"].to_list() == ["2020-01-01"]
    assert "booked_at" not in made_moments.of_schema(file.drop("lead"), schema.columns).collect_schema()


def test_parts_of_a_date_are_proposed_in_words_that_can_be_pasted() -> None:
    names = ["lead_time", "arrival_date_year", "arrival_date_month", "arrival_date_day_of_month", "y"]
    said = proposals.moment(names, [])
    assert said is not None
    assert (
        "'data.moments.arrival_date={year: arrival_date_year, month: arrival_date_month, "
        "day: arrival_date_day_of_month, minus_days: lead_time}'" in said
    )
    made = made_moments.Moment(name="m", made_of=(("year", "arrival_date_year"), ("month", "arrival_date_month")))
    assert proposals.moment(names, [made]) is None
