"""What the registry's history says: since when two versions are compared, and which decision led to it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tidemill.bundle.registry import rollout
from tidemill.bundle.registry.rollout import Action, Alias
from tidemill.steward.acting import canary_decision, compared_since
from tidemill.steward.book import Decision, Kind

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def told(*entries: Any) -> Any:
    """Changes, a day apart."""
    return [
        replace(rollout.change(alias, version, action, by=by, reason="r", **more), at=day(number).isoformat())
        for number, (alias, version, action, by, more) in enumerate(entries)
    ]


def day(number: Any) -> Any:
    return BEGIN + timedelta(days=number)


FIRST = (Alias.CHAMPION, "1", Action.PROMOTE, "ann", {})
SECOND = (Alias.CHALLENGER, "2", Action.PROMOTE, "steward, decision 1", {})
CANARY = (Alias.CHALLENGER, "2", Action.ROLLOUT, "steward, decision 1", {"mode": "canary", "share": 0.1})
MADE = Decision(number=1, kind=Kind.CANARY, moment=BEGIN, reason="r", generation=1, version="2", share=0.1)


def test_a_comparison_outlasts_what_does_not_touch_it() -> None:
    history = told(
        FIRST,
        SECOND,
        CANARY,
        (Alias.CHAMPION, "1", Action.UNLOAD, "ann", {}),
        (Alias.CHAMPION, "1", Action.LOAD, "ann", {}),
    )
    assert compared_since(rollout.desired(history), history) == day(2)
    wider = told(FIRST, SECOND, CANARY, (*CANARY[:3], "ann", {"mode": "canary", "share": 0.3}))
    assert compared_since(rollout.desired(wider), wider) == day(3)


def test_a_decision_leads_to_a_canary_until_the_versions_change() -> None:
    begun = (FIRST, SECOND, CANARY)
    assert canary_decision([MADE], told(*begun)) is MADE
    assert canary_decision([MADE], told(*begun, (*CANARY[:3], "ann", {"mode": "canary", "share": 0.3}))) is MADE
    assert canary_decision([MADE], told(*begun, (Alias.CHAMPION, "3", Action.PROMOTE, "ann", {}))) is None
    assert canary_decision([], told(*begun)) is None
