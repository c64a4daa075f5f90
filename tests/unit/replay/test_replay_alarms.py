"""The steward's book read back: alarms counted once, and what named each fault."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from tidemill.replay.results import alarms
from tidemill.replay.table import faults
from tidemill.steward import book

BEGIN = datetime(2013, 8, 1, tzinfo=UTC)


def reading(day: int, check: str, subject: str, alarm: bool) -> dict[str, Any]:
    return {
        "moment": BEGIN + timedelta(days=day),
        "check": check,
        "subject": subject,
        "severity": "advice",
        "version": "1",
        "says": f"{check} of {subject} on day {day}",
        "log_e": 9.0 if alarm else 0.0,
        "log_threshold": 3.0,
        "effect": 0.1,
        "unit": "share",
        "alarm": alarm,
    }


def readings(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=book._READINGS)


def test_an_alarm_that_lasts_is_counted_once() -> None:
    on = [(1, False), (2, True), (3, True), (4, False), (5, True)]
    rows = [reading(day, "missing", "visib", alarm) for day, alarm in on]
    rows += [reading(day, "missing", "temp", day == 3) for day in range(1, 6)]
    found = alarms.begun(readings(*rows)).select("moment", "subject").rows()
    assert sorted(found) == sorted(
        (BEGIN + timedelta(days=day), subject) for day, subject in ((2, "visib"), (5, "visib"), (3, "temp"))
    )


def test_a_fault_is_named_by_the_first_alarm_about_its_column_that_began_with_it() -> None:
    made = [faults.parse("missing:visib@2013-08-03"), faults.parse("renamed:carrier=UA/U9@2013-08-03..2013-08-04")]
    rows = [reading(day, "drift", "visib", True) for day in range(1, 9)]  # in alarm before: it named nothing
    rows += [reading(day, "missing", "visib", day >= 4) for day in range(1, 9)]
    rows += [reading(day, "unseen", "visib", day >= 5) for day in range(1, 9)]
    rows += [reading(day, "missing", "visib_min_3h", day >= 3) for day in range(1, 9)]
    rows += [reading(day, "unseen", "carrier", day >= 6) for day in range(1, 9)]  # too late: it was over
    gone, renamed = alarms.named(made, readings(*rows))
    assert (gone.check, gone.says) == ("missing", "missing of visib on day 4")
    assert gone.delay == timedelta(days=2), "from 3 August to the end of the period, the 5th"
    assert (renamed.check, renamed.delay) == (None, None)
    slices = readings(*rows, reading(4, "performance", "carrier=U9", True))
    assert alarms.named(made, slices)[1].check == "performance"
