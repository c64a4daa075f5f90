"""A long time without records: passed quickly, with the same evidence and decisions as period by period."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from looking import BEGIN, HOUR, look, rules
from served import MODEL, Served

from tidemill.ledger.commits import Table
from tidemill.steward import policy
from tidemill.steward.book import Book, readings
from tidemill.steward.records import DuePeriods, Records

HOURS = 75


def lived(served: Any, clock: Any) -> Any:
    """Answers of some hours, a long time without any, and answers again; what the steward came to."""
    served.challenge("2")
    served.crowned(BEGIN - HOURS * HOUR)
    for hour in (0, 1, 2, 3, HOURS - 12):
        served.answer(BEGIN + (hour - HOURS) * HOUR, 250, champion=("1", 0.1), shadow=("2", 0.3))
    given = replace(rules(time={"clock": clock}, triggers={"every_days": 1.0}), watches=policy.read(None).watches)
    look(served, 6, given)
    file = served.place / "ledger" / MODEL / "steward" / "state.json"
    decisions = [(one.kind, one.moment, one.reason, one.evidence) for one in Book(served.ledger, MODEL).decisions()]
    state = json.loads(file.read_text())["weighing"]
    del state["compared"][0]  # when its decision was carried out, by the wall clock
    return state, decisions, readings(served.ledger, MODEL).collect()


@pytest.mark.slow
@pytest.mark.parametrize("clock", list(policy.Clock))
def test_periods_without_answers_are_passed_without_reading_and_come_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Any
) -> None:
    reads, commits = [], []
    for calls, kind, name in ((reads, Records, "_parts"), (commits, Table, "add")):
        real = getattr(kind, name)
        monkeypatch.setattr(
            kind, name, lambda self, given, calls=calls, real=real: calls.append(1) or real(self, given)
        )
    state, decisions, read = lived(Served(tmp_path / "quick"), clock)
    few = len(reads), len(commits)
    monkeypatch.setattr(Records, "due", lambda records, span, period: DuePeriods(period=period))
    walked = lived(Served(tmp_path / "walked"), clock)
    assert (state, decisions) == walked[:2]
    assert decisions and state["progress"]["labelled_until"] > state["progress"]["began"]
    same = walked[2].join(read, on=["moment", "check", "subject"], how="semi", maintain_order="left")
    assert read.equals(same), "what is written is the same"
    alarms = [set(every.filter("alarm").select("check", "subject", "says").iter_rows()) for every in (read, walked[2])]
    assert {one[:2] for one in alarms[0]} == {one[:2] for one in alarms[1]}, "no alarm is left out"
    assert few[0] < 40 and 3 * few[1] < len(commits) - few[1]
