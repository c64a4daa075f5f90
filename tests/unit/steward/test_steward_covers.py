"""What the ledger masks or hashes is left out by the watches of columns, without a word in the policy."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from looking import BEGIN, kinds, look, office, rules
from served import HOUR, MODEL, Served

from tidemill.ledger import masking
from tidemill.ledger.commits import Piece, Table
from tidemill.ledger.settings import Masking
from tidemill.steward import policy
from tidemill.steward.book import Book, readings
from tidemill.steward.steward import Steward

pytestmark = pytest.mark.slow  # whole looks at a real ledger, with retrainings in processes of their own

COLUMNS = ("quality", "drift", "joint_drift")


@pytest.fixture
def served(tmp_path: Path) -> Any:
    return Served(tmp_path)


def watching(**changes: Any) -> Any:
    given = policy.read(None)
    return replace(rules(**changes), watches={name: given.watches[name] for name in COLUMNS})


def masked(served: Any, begin: Any, rows: Any, columns: Any) -> None:
    """Answers whose city never reached the table, and a commit that says so, as the shipper makes it."""
    answers = served.answer(begin, rows, hours=10, city=pl.Series([None] * rows, dtype=pl.String))
    noted = masking.noted(replace(served.ledger, columns=columns))
    last = answers.tail(1).with_columns(id=pl.lit("f00-0"))
    Table(served.ledger.table(MODEL, "answers"), {}, noted).add([Piece(f"writer {begin}", 1, last)])


def alarmed(served: Any) -> Any:
    told = readings(served.ledger, MODEL).filter(pl.col("alarm")).collect()
    return {subject for subject in told["subject"] if subject == "city"}


def test_a_masked_column_is_left_out_though_the_steward_began_before_the_first_answer(served: Any) -> None:
    one = Steward(office(served), watching())
    one.look(BEGIN)
    masked(served, BEGIN, 2000, {"city": Masking.MASK})
    look(served, 20, one=one)
    assert not alarmed(served)
    subjects = set(readings(served.ledger, MODEL).collect()["subject"])
    assert "size" in subjects and "city" not in subjects
    state = served.place / "ledger" / MODEL / "steward" / "state.json"
    kept = json.loads(state.read_text())
    look(served, 20, watching())
    assert json.loads(state.read_text()) == kept, "the next steward goes on with it"


def test_the_same_without_a_word_from_the_server_is_an_alarm(served: Any) -> None:
    masked(served, BEGIN, 2000, {})
    look(served, 20, watching())
    assert alarmed(served) == {"city"}


def test_what_is_covered_later_is_weighed_without_it_from_then_on(served: Any) -> None:
    served.answer(BEGIN, 1000, hours=10)
    one = look(served, 15, watching())
    assert any(check.column == "city" for check in one._weighing._reign.watches["quality"]._checks)
    masked(served, BEGIN + 10 * HOUR, 2000, {"city": Masking.HASH})
    look(served, 30, one=one)
    assert not any(check.column == "city" for check in one._weighing._reign.watches["quality"]._checks)
    assert "city" in one._policy.watches["drift"]["unwatched"]


def test_a_model_is_not_trained_again_on_what_is_hidden(served: Any) -> None:
    masked(served, BEGIN, 2000, {"city": Masking.MASK})
    look(served, 40, replace(watching(triggers={"every_days": 0.2}), watches={}))
    assert kinds(served) == ["retrain", "drop"]
    assert "'city' hidden by ledger.columns" in Book(served.ledger, MODEL).decisions()[-1].reason
