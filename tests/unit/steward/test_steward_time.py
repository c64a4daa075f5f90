"""When the steward takes records and labels in, by the clock or by events, and what it makes of late ones."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from looking import BEGIN, kinds, look, rules, served, status_text
from served import HOUR, MODEL

from tidemill.bundle.registry.rollout import Mode as Rollout
from tidemill.steward import policy
from tidemill.steward.book import Book, Kind, readings

__all__ = ["served"]

pytestmark = pytest.mark.slow  # whole looks at a real ledger, with retrainings in processes of their own


def test_labels_have_the_time_that_entries_take_to_the_tables(served: Any) -> None:
    served.answer(BEGIN, 100)
    given = rules(time={"grace_hours": 0.5})
    for hours, weighed in ((4.4, 0), (4.5, 1)):
        look(served, hours, given)
        assert json.loads(status_text(served))["labelled_until"].startswith(f"{BEGIN + weighed * HOUR:%Y-%m-%dT%H}")


def test_records_whose_labels_still_come_are_no_reason_to_train(served: Any) -> None:
    """Whoever bought is known at once, the others much later than labels are waited for."""
    served.answer(BEGIN, 1000, hours=60, late={"no": 80 * HOUR})
    look(served, 64, rules(triggers={"every_days": 1.0}))
    (held,) = Book(served.ledger, MODEL).decisions()
    assert held.kind is Kind.HOLD and "all labels that came are 'yes'" in held.reason
    assert "retrain.mature_share" in held.reason


def test_labels_that_do_not_come_raise_an_alarm(served: Any) -> None:
    served.answer(BEGIN, 100, labelled=0.2)
    look(served, 6)
    (reading,) = readings(served.ledger, MODEL).collect().filter(check="labels").head(1).to_dicts()
    assert reading["alarm"]
    assert (
        "of 100 answers have a label when they are weighed; half of these labels came within 2:00:00" in reading["says"]
    )


def test_by_events_time_is_that_of_the_records(served: Any) -> None:
    past = (BEGIN - timedelta(days=4000)).replace(hour=0)  # days begin at midnight, whatever time it is now
    for day in range(4):
        served.answer(past + day * 24 * HOUR, 240, hours=24, arrived=BEGIN)
    events = rules(time={"clock": policy.Clock.EVENT, "period_hours": 24, "grace_hours": 0.0, "label_wait_hours": 24.0})
    look(served, 1, events)
    told = json.loads(status_text(served))
    assert told["seen_until"].startswith(str((past + timedelta(days=4)).date()))
    assert told["labelled_until"].startswith(str((past + timedelta(days=3)).date()))


@pytest.mark.parametrize("canary", [True, False])
def test_a_canarys_answers_are_not_taken_for_the_champions(served: Any, canary: Any) -> None:
    served.challenge("2", Rollout.CANARY, 0.5)
    served.answer(BEGIN, 1000, canary=("2", 0.1, 0.5))
    given = replace(rules(trial={"minimum": 5000}), watches={"own.versions_seen": {"canary": canary}})
    look(served, 2, given)
    found = readings(served.ledger, MODEL).filter(pl.col("check") == "seen").collect()
    seen = dict(found.select("says", "effect").iter_rows())
    assert set(seen) == ({"1", "2"} if canary else {"1"})
    assert 400 < seen["1"] < 600


def test_by_events_labels_that_do_not_say_when_are_weighed_and_learnt_from(served: Any) -> None:
    past = (BEGIN - timedelta(days=4000)).replace(hour=0)  # days begin at midnight, whatever time it is now
    for day in range(5):
        served.answer(past + day * 24 * HOUR, 240, hours=24, arrived=BEGIN, lag=None)
    time = {"clock": policy.Clock.EVENT, "period_hours": 24, "grace_hours": 0.0, "label_wait_hours": 24.0}
    look(served, 1, rules(time=time, triggers={"every_days": 2.0}))
    assert kinds(served) == ["retrain", "shadow"], Book(served.ledger, MODEL).decisions()[-1].reason
