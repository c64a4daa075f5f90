"""No one client decides a trial, and neither do labels that contradict each other."""

import datetime as dt
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake
from served import HOUR, MODEL, NOW, Served

from reread import reread
from tidemill.bundle.manifest import Identity
from tidemill.ledger import tables
from tidemill.settings import Objective
from tidemill.steward import losses, policy
from tidemill.steward.evidence.paired import Verdict
from tidemill.steward.policy import Clock
from tidemill.steward.records import Records, Span
from tidemill.steward.trial import checked as checked_trial
from tidemill.steward.trial.checked import CheckedTrial
from tidemill.steward.trial.comparison import Comparison, Stage

BEGIN = NOW - timedelta(hours=40)
IDENTITY = Identity(model=MODEL, version="1", created="", objective=Objective.BINARY, classes=["no", "yes"])
POLICY = policy.read(None)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def trial(
    stage: Stage = Stage.SHADOW,
    carried: dict[Any, Any] | None = None,
    most_contradicted: float | None = 0.05,
    **changes: Any,
) -> CheckedTrial:
    tried, other = ("1", "2") if stage is Stage.PROBATION else ("2", "1")
    comparison = Comparison(stage=stage, tried=tried, other=other, share=0.5 if stage is Stage.CANARY else 0.0)
    rules = replace(POLICY.trial, **{"minimum": 0, **changes})
    labels = replace(POLICY.labels, most_contradicted=most_contradicted)
    return CheckedTrial(rules, labels, comparison, losses.make(POLICY.losses, IDENTITY), carried)


def feed(one: CheckedTrial, served: Served, begin: dt.datetime = BEGIN) -> CheckedTrial:
    records = Records(served.ledger, MODEL, Clock.ARRIVAL, None)
    for piece in records.labelled(Span(begin=begin, end=NOW, since=begin), NOW + timedelta(days=9)):
        one.take(piece, records.shadows(piece, "2"))
    return one


def flattered(
    served: Served,
    champion: tuple[float | str, ...] = ("1", 0.3),
    shadow: tuple[float | str, ...] = ("2", 0.3),
    rows: int = 4000,
) -> None:
    """Two clients who tell the truth, and one with a tenth of the records who labels as the challenger answered."""
    for name, share in (("shop", 0.6), ("app", 0.3), ("rival", 0.1)):
        served.answer(
            BEGIN, round(rows * share), champion=champion, shadow=shadow, client=name, flatter=name == "rival"
        )


def test_labels_of_one_client_decide_nothing(served: Served) -> None:
    flattered(served)
    one = feed(trial(), served)
    assert one.whole.verdict()[0] is Verdict.BETTER, "what would be decided if everybody were believed"
    assert one.verdict() == (Verdict.UNDECIDED, "")
    assert "shown to be better, but not without the records of one client" in one.figures()["doubt"]
    assert "rival (10.0%)" in one.figures()["doubt"]
    assert [reading.check for reading in one.readings() if reading.alarm] == ["trial held"]


def test_a_policy_may_trust_all_clients(served: Served) -> None:
    flattered(served)
    assert feed(trial(client_share=None), served).verdict()[0] is Verdict.BETTER


def test_a_trial_in_doubt_ends_where_it_may_have_no_more_records(served: Served) -> None:
    flattered(served)
    assert feed(trial(maximum=4000), served).verdict()[0] is Verdict.INCONCLUSIVE


def test_what_honest_clients_show_is_decided(served: Served) -> None:
    flattered(served, champion=("1", 0.1), shadow=("2", 0.4))
    one = feed(trial(), served)
    assert one.verdict() == (Verdict.BETTER, "")
    assert one.figures()["doubt"] is None


def test_nobody_is_taken_back_on_one_clients_word(served: Served) -> None:
    flattered(served, rows=12_000)
    one = feed(trial(Stage.PROBATION), served)
    assert one.whole.verdict()[0] is Verdict.WORSE
    assert one.verdict()[0] is Verdict.UNDECIDED


@pytest.mark.parametrize("client", [None, "shop"])
def test_the_only_client_there_is_decides(served: Served, client: str | None) -> None:
    served.answer(BEGIN, 3000, shadow=("2", 0.4), client=client)
    assert feed(trial(), served).verdict()[0] is Verdict.BETTER


def test_one_with_most_of_the_records_decides(served: Served) -> None:
    served.answer(BEGIN, 3000, shadow=("2", 0.4), client="shop")
    served.answer(BEGIN, 1000, shadow=("2", 0.2), client="app")
    assert feed(trial(), served).verdict()[0] is Verdict.BETTER


def test_doubt_goes_on_through_stages_and_restarts(served: Served) -> None:
    flattered(served, rows=12_000)
    shadow = feed(trial(), served)
    again = trial()
    again.state = reread(shadow.state)
    assert (again.verdict(), again.figures()) == (shadow.verdict(), shadow.figures())
    canary = trial(Stage.CANARY, reread(shadow.carried()))
    assert canary.whole.verdict()[0] is Verdict.BETTER
    assert canary.verdict()[0] is Verdict.UNDECIDED


def test_who_comes_late_is_left_out_of_what_was_seen_before(served: Served) -> None:
    served.answer(BEGIN, 2000, shadow=("2", 0.4), client="shop")
    one = feed(trial(), served)
    served.answer(BEGIN + 2 * HOUR, 100, shadow=("2", 0.4), client="app")
    feed(one, served, BEGIN + 2 * HOUR)
    assert [one.without[one.state.groups[name]].records for name in ("shop", "app")] == [100, 2000]
    assert one.verdict()[0] is Verdict.BETTER


def test_however_many_clients_there_are_the_work_is_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked_trial, "GROUPS", 3)
    for number in range(7):
        served.answer(BEGIN + number * HOUR, 300, shadow=("2", 0.4), client=f"client {number}")
    one = feed(trial(), served)
    assert len(one.without) == 3
    assert sum(one.whole.records - part.records for part in one.without.values()) == one.whole.records
    assert one.verdict()[0] is Verdict.BETTER


def test_labels_that_contradict_each_other_decide_nothing(served: Served) -> None:
    served.answer(BEGIN, 3000, shadow=("2", 0.4))
    first = tables.labels(served.ledger, MODEL).limit(200).collect()
    other = first.with_columns(
        label=pl.col("label").replace_strict({"yes": "no", "no": "yes"}), at=pl.col("at") - timedelta(seconds=1)
    )
    write_deltalake(served.ledger.table(MODEL, "labels"), other, mode="append", partition_by="day")
    one = feed(trial(), served)
    assert one.whole.verdict()[0] is Verdict.BETTER
    assert one.verdict()[0] is Verdict.UNDECIDED
    assert "200 of 3,000 records have labels that contradict each other, more than 5.0%" in one.figures()["doubt"]
    assert feed(trial(most_contradicted=0.1), served).verdict()[0] is Verdict.BETTER
    assert feed(trial(most_contradicted=None), served).verdict()[0] is Verdict.BETTER
