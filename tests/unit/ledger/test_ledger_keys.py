"""Records' own keys: kept with each answer as covers say, and found again by labels that name them."""

import datetime as dt
import json
from dataclasses import replace

import polars as pl
import pytest
from ledger_entries import AT, DAY, ROW, SCHEMA, Write, answered, answers, described, in_columns

from tidemill.data.schema import Column, Role, Schema
from tidemill.ledger import keys, record, tables
from tidemill.ledger.record import Answered, Form, Label
from tidemill.ledger.settings import LedgerSettings, Masking
from tidemill.ledger.shipper import Shipper
from tidemill.settings import Kind

KEYED = Schema(columns=(*SCHEMA.columns, Column(name="order", kind=Kind.NUMERIC, role=Role.KEY)))
MINUTE = 60 * 10**9


def asked(id: str, *orders: object, at: int = AT) -> Answered:
    return answered(id, [ROW if order is None else {**ROW, "order": order} for order in orders], at=at)


def labelled(key: str, label: str, at: int) -> Label:
    return Label(None, label, at, key=key)


def ship(settings: LedgerSettings) -> None:
    Shipper(settings, "shop", settings.segments("shop")).run()


def truths(settings: LedgerSettings, since: dt.datetime | None = None) -> dict[str, str | None]:
    return dict(tables.joined(settings, "shop", since).select("id", "true_label").sort("id").collect().iter_rows())


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (7, "7"),
        ("7", "7"),
        (7.0, "7"),
        ("7.0", "7"),
        ("7.00", "7"),
        (-3.0, "-3"),
        (2**60 + 1, "1152921504606846977"),
        (7.5, "7.5"),
        ("007", "007"),
        ("1.10", "1.10"),
        ("1.0.0", "1.0.0"),
        (" a", " a"),
        ("\ud800", "?"),
        (True, "true"),
        ("", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_one_key_has_one_text(given: object, text: str | None) -> None:
    assert keys.text(given) == text


def test_the_ledger_keeps_the_key_of_each_record_however_it_was_sent(settings: LedgerSettings, write: Write) -> None:
    sent = json.dumps({"rows": [ROW, {**ROW, "order": 9}, ROW], "keys": ["a", 8, 7]}).encode()
    some = {**answers(2)}
    write(
        [
            asked("row", 2**60 + 1, "x", None),
            answered("sent", inputs=sent, answers=answers(3)),
            answered("part", inputs=sent, rows=(0, 2), answers=some),
            answered("arrow", **in_columns({"size": [1.0, 2.0], "order": [7, None]})),
            answered("none"),
            answered("row", form=Form.NONE, inputs=b"", role=record.Role.SHADOW, version="2", answers=answers(3)),
        ],
        versions=(described(schema=KEYED), described("2", KEYED)),
    )
    ship(settings)
    found = tables.answers(settings, "shop").sort("role", "id").select("id", "key").collect().rows()
    assert found == [
        ("arrow-0", "7"),
        ("arrow-1", None),
        ("none-0", None),
        ("part-0", "a"),
        ("part-2", "7"),
        ("row-0", "1152921504606846977"),
        ("row-1", "x"),
        ("row-2", None),
        ("sent-0", "a"),
        ("sent-1", "9"),
        ("sent-2", "7"),
        *((f"row-{i}", None) for i in range(3)),
    ]


def test_a_label_by_key_holds_for_every_answer_that_was_given_before_it(settings: LedgerSettings, write: Write) -> None:
    """Late labels, several answers, corrections, both ways at once; in whatever order they are shipped."""
    versions = (described(schema=KEYED),)
    write(
        [
            labelled("7", "yes", AT + 9 * DAY),
            labelled("8", "no", AT + 9 * DAY),
            labelled("8", "yes", AT + 10 * DAY),
            labelled("9", "no", AT + 9 * DAY),
            labelled("nobody", "no", AT),
        ],
        versions=versions,
    )
    ship(settings)
    assert truths(settings) == {}, "labels that are in the tables before their answers are kept"
    write(
        [
            asked("aa", 7, 8, 9),
            asked("bb", "7", "8.0", 9, at=AT + 8 * DAY),
            asked("cc", 7, at=AT + 20 * DAY),
            Label("bb-2", "yes", AT + 30 * DAY),
            asked("dd", 7, at=AT + 9 * DAY + 2 * MINUTE),
        ],
        versions=versions,
    )
    ship(settings)
    expected = {
        "aa-0": "yes",
        "aa-1": "yes",
        "aa-2": "no",
        "bb-0": "yes",
        "bb-1": "yes",
        "bb-2": "yes",
        "cc-0": None,
        "dd-0": "yes",
    }
    assert truths(settings) == expected, "cc came long after the label; dd's server has another clock than the label's"
    later = dt.datetime(2026, 1, 5)
    assert truths(settings, later) == {id: label for id, label in expected.items() if not id.startswith("aa")}
    lost = tables.unknown(settings, "shop").collect()
    assert lost["key"].to_list() == ["nobody"] and lost["id"].to_list() == [None]


@pytest.mark.parametrize("cover", [Masking.HASH, Masking.MASK])
def test_a_key_is_covered_as_its_column_is(settings: LedgerSettings, write: Write, cover: Masking) -> None:
    covering = replace(settings, columns={"order": cover})
    write([asked("aa", 7), labelled("7", "no", AT + DAY)], versions=(described(schema=KEYED),))
    ship(covering)
    (key,) = tables.answers(settings, "shop").collect()["key"]
    assert (key is None) if cover is Masking.MASK else (len(key) == 32)
    assert truths(settings) == {"aa-0": "no" if cover is Masking.HASH else None}
    assert "7" not in tables.labels(settings, "shop").collect().get_column("key", default=pl.Series("key", [key]))


def test_versions_with_columns_of_keys_of_different_covers(settings: LedgerSettings, write: Write) -> None:
    other = Schema(columns=(*SCHEMA.columns, Column(name="person id", kind=Kind.CATEGORICAL, role=Role.KEY)))
    covering = replace(settings, columns={"person id": Masking.HASH})
    second = answered("bb", [{**ROW, "person id": "7"}], version="2")
    versions = (described(schema=KEYED), described("2", other))
    write([asked("aa", 7), second, labelled("7", "no", AT + DAY)], versions=versions)
    ship(covering)
    assert truths(settings) == {"aa-0": "no", "bb-0": "no"}


def test_a_column_may_have_any_name(settings: LedgerSettings, write: Write) -> None:
    name = 'say "hi" \\ there\n'
    schema = Schema(columns=(*SCHEMA.columns, Column(name=name, kind=Kind.CATEGORICAL, role=Role.KEY)))
    write([answered("aa", [{**ROW, name: "7"}])], versions=(described(schema=schema),))
    ship(settings)
    (row,) = tables.answers(settings, "shop").collect().to_dicts()
    assert row["key"] == "7" and row["inputs"][name] == "7" and row["inputs"]["size"] == 1.5
