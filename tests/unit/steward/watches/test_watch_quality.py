"""Faults that a person would see at once are named at once; and alarms end."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from reread import reread
from tidemill.steward.snapshots import plain
from tidemill.steward.watch import Reading, Severity
from tidemill.steward.watches.quality import Quality, Settings, build
from watched_rows import DAY, START, Change, period, watched

WATCHED = watched()
SETTINGS = {"alpha": 0.05, "half": 200, "tolerance": 0.005, "harmful": 0.1, "volume": 2.0, "unwatched": []}
Days = Callable[[int], Change | None]


def quality(**changed: object) -> Quality:
    return build(Settings(**{**SETTINGS, **changed}), WATCHED)  # type: ignore[arg-type]


def fed(watch: Quality, rows: pl.DataFrame | None, begin: datetime, span: timedelta = DAY) -> dict[str, Reading]:
    if rows is not None:
        watch.take(rows)
    return {f"{reading.check} {reading.subject}".strip(): reading for reading in watch.close(begin, begin + span)}


def alarms(watch: Quality, faults: dict[int, Change], days: int, rows: int = 900) -> list[dict[str, Reading]]:
    """What is alarmed, day after day. faults: by day, what is wrong with its rows."""
    rng, found = np.random.default_rng(5), []
    for day in range(days):
        begin = START + day * DAY
        drawn = period(rng, rows, begin, change=faults.get(day, lambda frame: frame))
        found.append({name: one for name, one in fed(watch, drawn, begin).items() if one.alarm})
    return found


def missing(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(wind=pl.lit(None, pl.Float64))


def renamed(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("carrier").replace("B6", "JetBlue"))


@pytest.mark.parametrize("absent", [False, True])
def test_a_column_that_goes_missing_is_harm_from_the_first_day_and_ends_with_it(absent: bool) -> None:
    change = (lambda frame: frame.drop("wind")) if absent else missing
    found = alarms(quality(), {10: change, 11: change}, days=15)
    assert [set(day) for day in found[:10]] == [set()] * 10
    for day in found[10:12]:
        reading = day["missing wind"]
        assert reading.severity is Severity.HARM
        assert "wind is missing: 100.0% of 900 rows, 5.0% in training" in reading.says
        assert reading.since == START + 10 * DAY
        assert reading.effect == pytest.approx(0.95, abs=0.01)
    assert not found[14]


def test_a_renamed_category_is_named_with_both_names() -> None:
    found = alarms(quality(), {3: renamed, 4: renamed}, days=6)
    assert not any(found[:3]) and not found[5]
    reading = found[3]["unseen carrier"]
    assert reading.severity is Severity.HARM
    assert "values that training did not have: 2" in reading.says
    assert "'JetBlue' in 2" in reading.says and "'B6' (2" in reading.says and "no longer comes" in reading.says
    assert "'UA'" not in reading.says


def test_too_many_new_values_are_not_named() -> None:
    def each(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(carrier=pl.format("new {}", pl.int_range(pl.len())))

    (found,) = alarms(quality(), {0: each}, days=1, rows=1_500)
    assert "100.0% of 1,500 rows" in found["unseen carrier"].says and "'new" not in found["unseen carrier"].says
    watch = quality()
    watch.take(period(np.random.default_rng(0), 1_500, START, change=each))
    assert len(watch.state.period.new["carrier"]) <= 1_001


def test_what_a_client_sent_is_quoted_in_short_and_without_its_secrets() -> None:
    """An alarm with 11 MB of one client's text came back from GET /steward."""

    def long(frame: pl.DataFrame) -> pl.DataFrame:
        texts = ["x" * 1_000_000, "postgresql://me:Sesam1@db/x", "password=Sesam2"]
        return frame.with_columns(carrier=pl.Series([texts[row % 3] for row in range(len(frame))]))

    watch = quality()
    watch.take(period(np.random.default_rng(0), 90, START, change=long))
    assert len(json.dumps(plain(watch.state))) < 20_000
    reading = {one.check: one for one in watch.close(START, START + DAY) if one.subject == "carrier"}["unseen"]
    assert f"'{'x' * 59}…' in 30" in reading.says and "***" in reading.says
    assert len(reading.says) < 500 and "Sesam" not in reading.says


def test_a_reading_is_short_whatever_a_watch_of_ones_own_says_in_it() -> None:
    figures = {"log_e": 0.0, "log_threshold": 1.0, "effect": 0.0, "unit": "", "remedy": ""}
    subject, says = f"city={'x' * 10**6}", "token=Sesam " + "y" * 10**6
    made = Reading(check="own", subject=subject, severity=Severity.HARM, says=says, **figures)  # type: ignore[arg-type]
    assert len(made.subject) == 200 and len(made.says) == 2_000
    assert "Sesam" not in made.says


def test_values_out_of_range_are_advice_with_both_ranges() -> None:
    def miles(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("distance") * 1.609)

    reading = alarms(quality(), {2: miles}, days=3)[2]["range distance"]
    assert reading.severity is Severity.ADVICE
    assert " instead of from -433 to 2181" in reading.says

    def long_ago(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(scheduled=pl.datetime(1970, 1, 1, time_zone="UTC", time_unit="us"))

    found = alarms(quality(), {2: long_ago}, days=3)
    assert "range scheduled" in found[2] and "range scheduled" not in found[1], "later than training is no fault"


def test_a_small_rise_is_found_after_some_days_and_one_within_the_tolerance_never() -> None:
    def more(share: float) -> Change:
        return lambda frame: frame.with_columns(
            wind=pl.when(pl.int_range(pl.len()) % 1_000 >= 1_000 * share).then(pl.col("wind"))
        )

    late = alarms(quality(), dict.fromkeys(range(5, 30), more(0.04)), days=30)
    days = [day for day, found in enumerate(late) if found]
    assert 6 <= days[0] <= 12 and days[-1] == 29
    assert late[-1]["missing wind"].severity is Severity.ADVICE
    assert START + 3 * DAY <= late[-1]["missing wind"].since <= START + 8 * DAY  # type: ignore[operator]
    assert not any(alarms(quality(tolerance=0.06), dict.fromkeys(range(30), more(0.04)), days=30))


def test_unreadable_inputs_are_of_the_wrong_type_and_count_as_nothing_else() -> None:
    watch = quality()
    rows = period(np.random.default_rng(0), 900, START).with_columns(
        pl.when(pl.int_range(pl.len()) % 4 > 0).then(pl.col("inputs")).alias("inputs")
    )
    found = fed(watch, rows, START)
    assert found["type"].alarm and found["type"].says == "Inputs could not be read: 25.0% of 900 rows."
    assert not found["missing wind"].alarm and "of 675 rows" in found["missing wind"].says
    found = fed(watch, rows.with_columns(inputs=pl.lit(None)), START + DAY)
    assert "100.0% of 900 rows" in found["type"].says and found["missing wind"].says == "wind is missing: no rows."


def test_of_single_rows_counts_are_told_and_what_came_since_it_began() -> None:
    rng, watch, hour = np.random.default_rng(5), quality(), timedelta(hours=1)

    def far(frame: pl.DataFrame) -> pl.DataFrame:
        return missing(frame).with_columns(distance=pl.lit(9e6))

    told = [
        fed(watch, period(rng, 1, START + step * hour, hour, change=far), START + step * hour, hour)
        for step in range(9)
    ]
    assert not told[0]["range distance"].alarm and "1 of 1 row, 0." in told[0]["range distance"].says
    last = told[-1]["range distance"]
    assert last.alarm and last.severity is Severity.ADVICE
    assert "lies outside the range of training: 1 of 1 row now, 9 of 9 rows since 2013-06-03 00:00, 0." in last.says
    assert told[-1]["missing wind"].alarm and told[-1]["missing wind"].severity is Severity.HARM
    silent = fed(watch, None, START + 9 * hour, hour)["missing wind"]
    assert silent.alarm and silent.severity is Severity.HARM, "nothing says that it is over"
    assert "no rows now, 9 of 9 rows since" in silent.says
    again = quality()
    again.state = reread(watch.state)
    assert fed(again, None, START + 10 * hour, hour)["missing wind"].says == silent.says
    assert not any("100.0% of 1 row" in one.says for found in told for one in found.values())


def test_columns_that_the_ledger_covers_are_not_missing() -> None:
    def hashed(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("distance").cast(pl.String)).rename({"wind": "wind (hash)"})

    found = alarms(quality(unwatched=["carrier"]), dict.fromkeys(range(3), hashed), days=3)
    assert not any(found)
    assert not any("carrier" in name for name in fed(quality(unwatched=["carrier"]), None, START))


def test_silence_is_harm_however_long_it_lasts_and_ends_with_the_first_rows() -> None:
    rng, watch, told = np.random.default_rng(0), quality(), []
    for day in range(50):
        begin = START + day * DAY
        silent = 20 <= day < 45
        rows = None if silent else period(rng, int(rng.normal(900, 60)), begin)
        found = fed(watch, rows, begin)
        told.append(found["silence"].alarm)
        if silent:
            assert found["silence"].severity is Severity.HARM
            assert found["silence"].says.startswith("0 rows came from 2013-0")
    assert told == [20 <= day < 45 for day in range(50)]
    assert "is not known yet" in fed(quality(), None, START)["silence"].says


def test_a_quiet_night_is_no_silence_and_a_quiet_noon_is() -> None:
    rng, watch, hour = np.random.default_rng(0), quality(), timedelta(hours=1)
    told = []
    for step in range(24 * 12):
        begin = START + step * hour
        noon, down = 6 <= step % 24 < 22, step >= 24 * 11 + 12
        rows = period(rng, int(rng.poisson(100)), begin, hour) if noon and not down else None
        found = fed(watch, rows, begin, hour)
        if found["silence"].alarm:
            told.append(step)
            assert "days at" in found["silence"].says
    assert told[0] == 24 * 11 + 12


def test_twice_the_rows_are_advice_until_they_are_usual() -> None:
    rng, watch = np.random.default_rng(0), quality()
    told = []
    for day in range(45):
        begin = START + day * DAY
        found = fed(watch, period(rng, int(rng.normal(400, 20)) * (1 + 2 * (day >= 15)), begin), begin)
        told.append(found["volume"].alarm)
    assert not any(told[:15]) and any(told[15:17]) and not any(told[-10:])
