"""The steward's book: a decision's number is given once, whoever decides at the same moment."""

import multiprocessing
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from patience import PATIENCE
from tidemill.errors import LedgerError
from tidemill.ledger.settings import LedgerSettings
from tidemill.steward import book
from tidemill.steward.book import Book, Decision, Kind
from tidemill.steward.watch import Reading, Severity

NOW = datetime(2013, 5, 1, tzinfo=UTC)


def decision(number: int, **more: Any) -> Decision:
    return Decision(number=number, kind=Kind.HOLD, moment=NOW, reason="because", generation=3, **more)


def reading(check: str, log_e: float = 0.0) -> Reading:
    return Reading(
        check=check,
        subject="carrier",
        severity=Severity.HARM,
        says="says",
        remedy="mend",
        log_e=log_e,
        log_threshold=3.0,
        effect=0.5,
        unit="share of rows",
        since=NOW,
    )


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerSettings:
    return LedgerSettings(path=str(tmp_path / "ledger"))


def test_a_decision_comes_back_as_it_was_made(ledger: LedgerSettings) -> None:
    made = decision(1, version="7", share=0.1, refers=None, evidence={"log_e": 3.5, "pairs": [1, 2]}, champion="6")
    assert Book(ledger, "m").decide(made)
    assert Book(ledger, "m").decisions() == [made]
    assert Book(ledger, "another").decisions() == []


def test_a_number_that_is_taken_is_refused(ledger: LedgerSettings) -> None:
    assert Book(ledger, "m").decide(decision(1, by="first"))
    assert not Book(ledger, "m").decide(decision(1, by="second"))
    assert [made.by for made in Book(ledger, "m").decisions()] == ["first"]


def race(ledger: Any, barrier: Any, who: Any, numbers: Any, won: Any) -> None:
    mine, found = Book(ledger, "m"), []
    for number in numbers:
        barrier.wait()
        if mine.decide(decision(number, by=who)):
            found.append(number)
    won.put(found)


@pytest.mark.slow
def test_of_three_that_decide_at_once_one_does(ledger: Any) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, won = spawn.Barrier(3), spawn.Queue()
    rivals = [spawn.Process(target=race, args=(ledger, barrier, who, range(1, 11), won)) for who in "abc"]
    for rival in rivals:
        rival.start()
    found = [won.get(timeout=PATIENCE) for _ in rivals]
    for rival in rivals:
        rival.join()
    assert sorted(chain(*found)) == list(range(1, 11))
    assert [made.number for made in Book(ledger, "m").decisions()] == list(range(1, 11))


def test_readings_of_a_period_are_kept_once(ledger: LedgerSettings) -> None:
    mine = Book(ledger, "m")
    for _ in range(2):
        mine.read("traffic", NOW, "1", [reading("missing"), reading("drift", log_e=4.0)])
    mine.read("traffic", NOW + timedelta(hours=1), "1", [reading("missing")])
    mine.read("labels", NOW, "1", [reading("loss")])
    mine.read("labels", NOW + timedelta(hours=1), "1", [])
    rows = book.readings(ledger, "m").collect()
    assert rows["check"].to_list() == ["drift", "loss", "missing", "missing"]
    assert rows["alarm"].to_list() == [True, False, False, False]
    assert rows.filter(pl.col("check") == "drift")["since"].item() == NOW


def test_a_log_that_was_altered_is_named(ledger: LedgerSettings) -> None:
    Book(ledger, "m").decide(decision(1))
    (log,) = Path(ledger.table("m", "decisions"), "_delta_log").glob("*0.json")
    log.write_text("altered")
    with pytest.raises(LedgerError, match="A ledger's tables can be read") as refused:
        Book(ledger, "m").decisions()
    assert "\n" not in str(refused.value)
