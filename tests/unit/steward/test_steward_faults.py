"""What may go wrong around the loop, on a real ledger and registry: it goes on, and decides on what is right."""

from dataclasses import replace

import polars as pl
import pytest
from served import HOUR, MODEL, Served
from test_steward import BEGIN, kinds, look, rules

from tidemill.ledger.columns import LABELS
from tidemill.steward import policy
from tidemill.steward.book import Book


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


def watching(**changes):
    return replace(rules(**changes), watches=policy.read(None).watches)


def test_a_label_of_another_kind_is_none(served):
    served.challenge("2")
    ids = served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))["id"][:1]
    sent = pl.DataFrame({"id": ids, "value": [1.0], "at": [BEGIN + HOUR], "day": [BEGIN.date()]})
    served._write("labels", sent, LABELS)
    look(served, 6)
    (made,) = Book(served.ledger, MODEL).decisions()
    assert made.evidence["records"] == 999


def test_a_ledger_without_inputs_is_weighed_all_the_same(served, monkeypatch):
    write = served._write

    def hidden(name, rows, columns):
        write(name, rows.drop("inputs", strict=False), columns)

    monkeypatch.setattr(served, "_write", hidden)
    served.challenge("2")
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4))
    look(served, 6, watching())
    served.answer(BEGIN + 6 * HOUR, 1000, champion=("1", 0.1), canary=("2", 0.4, 0.5))
    look(served, 12, watching())
    assert kinds(served) == ["canary", "promote"]


def test_columns_may_have_changed_their_type(served):
    served.challenge("2")
    changed = {"size": pl.Series(["large"] * 1000), "city": pl.Series(range(1000))}
    served.answer(BEGIN, 1000, champion=("1", 0.1), shadow=("2", 0.4), **changed)
    look(served, 6, watching(trial={"slices": ["city"]}))
    assert kinds(served) == ["canary"]
