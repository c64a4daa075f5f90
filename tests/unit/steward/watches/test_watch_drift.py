"""What moved is named with its column, its bins and since when; and only what moved."""

import dataclasses
import re
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tidemill.settings import Objective
from tidemill.steward.watch import Reading, Watched
from tidemill.steward.watches.drift import Drift, Settings, build
from watched_rows import DAY, START, Change, period, watched

SETTINGS = {"alpha": 0.05, "half": 200, "days": 7, "smallest": 0.05, "unwatched": []}
WATCHED = watched()


def drift(given: Watched = WATCHED, **changed: object) -> Drift:
    return build(Settings(**{**SETTINGS, **changed}), given)  # type: ignore[arg-type]


def alarms(
    watch: Drift, change: Change, days: range, until: int, rows: int = 900, objective: Objective = Objective.BINARY
) -> list[dict[str, Reading]]:
    """What is alarmed, day after day, where the rows of some days are changed."""
    rng, found = np.random.default_rng(3), []
    for day in range(until):
        begin = START + day * DAY
        changed = change if day in days else lambda frame: frame
        watch.take(period(rng, rows, begin, change=changed, objective=objective))
        readings = watch.close(begin, begin + DAY)
        found.append({reading.subject: reading for reading in readings if reading.alarm})
    return found


def miles(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("distance") * 0.621)


def test_a_changed_unit_is_named_on_its_first_day_with_the_factor_and_ends() -> None:
    found = alarms(drift(), miles, range(9, 12), until=16)
    assert not any(found[:9])
    for day in found[9:12]:
        assert set(day) == {"distance"}
        reading = day["distance"]
        assert reading.since == START + 9 * DAY
        assert re.search(r"; values below \d+ are [678]\d\.\d% now, \d+\.\d% in the reference; ", reading.says)
        assert reading.effect > 0.4
        assert "; values are 0.6" in reading.says and "as if the unit had changed" in reading.says
    assert not found[15], "some days after it ended, not a week"


def test_a_drift_that_lasts_is_told_as_long_as_it_lasts() -> None:
    def more(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("distance") + 60)

    found = alarms(drift(), more, range(10, 40), until=48)
    days = [day for day, one in enumerate(found) if one]
    assert 11 <= days[0] <= 17 and days == list(range(days[0], days[-1] + 1)) and 39 <= days[-1] <= 42
    assert found[30]["distance"].says.count("now") == 1 and "unit" not in found[30]["distance"].says
    assert START + 8 * DAY <= found[days[0]]["distance"].since <= START + 12 * DAY  # type: ignore[operator]


def test_categories_booleans_and_missing_values_are_told_by_name() -> None:
    def several(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(
            pl.col("carrier").replace("EV", "DL"), night=~pl.col("night"), wind=pl.lit(None, pl.Float64)
        )

    found = alarms(drift(), several, range(8, 9), until=9)[8]
    assert set(found) == {"carrier", "night", "wind"}
    assert "'EV' are 0.0% now, 1" in found["carrier"].says or "'DL' are 3" in found["carrier"].says
    assert re.search(r"false are (19|20|21)\.\d% now, 80\.1% in the reference", found["night"].says)
    assert "missing values are 100.0% now, 5.0% in the reference" in found["wind"].says
    (threshold,) = {reading.log_threshold for reading in found.values()}
    assert threshold == pytest.approx(np.log(7 / (0.05 * 3))), "that of e-BH with three named of 7"


@pytest.mark.slow
def test_drift_of_too_few_rows_is_no_alarm_however_certain() -> None:
    def few(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.when(pl.int_range(pl.len()) % 8 > 0).then(pl.col("carrier")).alias("carrier"))

    assert not any(alarms(drift(smallest=0.15), few, range(20), until=20, rows=4_000))
    assert any(alarms(drift(), few, range(8), until=8, rows=4_000))


@pytest.mark.parametrize("objective", [Objective.BINARY, Objective.REGRESSION])
def test_answers_that_drift_are_told_apart_from_inputs(objective: Objective) -> None:
    watch = drift(watched(objective))
    rng = np.random.default_rng(0)
    for day in range(9):
        rows = period(rng, 900, START + day * DAY, objective=objective)
        if day == 8:
            label = pl.lit("yes").alias("label")
            rows = rows.with_columns(label if objective is Objective.BINARY else pl.col("upper") + 20)
        watch.take(rows)
        found = [(r.check, r.subject) for r in watch.close(START + day * DAY, START + (day + 1) * DAY) if r.alarm]
    assert found == [("answer drift", "label" if objective is Objective.BINARY else "width")]


def test_a_day_s_rhythm_is_no_drift() -> None:
    """Nights differ from days; a look has as many of each."""
    watch, rng, hour = drift(smallest=0.0), np.random.default_rng(0), timedelta(hours=1)
    found = []
    for step in range(24 * 9):
        dark = step % 24 < 8
        rows = period(
            rng, 60, START + step * hour, hour, change=lambda f, dark=dark: f.with_columns(night=pl.lit(dark))
        )
        watch.take(rows)
        readings = watch.close(START + step * hour, START + (step + 1) * hour)
        found += [(step, reading.says) for reading in readings if reading.alarm and reading.subject != "night"]
        night = next(reading for reading in readings if reading.subject == "night")
        if step >= 24:
            assert night.effect == pytest.approx(1 / 3 - 0.2, abs=0.02)
    assert not found


def test_categories_that_chance_made_frequent_are_no_drift() -> None:
    """The profile names 100 of 400 equally frequent values: those that training had most of."""
    assert not any(alarms(drift(smallest=0.0), lambda frame: frame, range(0), until=30))


def test_what_the_ledger_covers_is_not_compared() -> None:
    def hashed(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("distance").cast(pl.String))

    assert not any(alarms(drift(unwatched=["carrier"]), hashed, range(9), until=9))


def test_widths_that_only_rounding_changes_are_not_compared() -> None:
    given = watched(Objective.REGRESSION)
    width = given.profile["answers"]["columns"]["width"]
    edges = [16 + edge * 1e-6 for edge in range(len(width["edges"]))]
    answers = {"columns": {**given.profile["answers"]["columns"], "width": {**width, "edges": edges}}}
    watch = drift(dataclasses.replace(given, profile={**given.profile, "answers": answers}))
    assert {reading.subject for reading in watch.close(START, START + DAY)} & {"value", "width"} == {"value"}
