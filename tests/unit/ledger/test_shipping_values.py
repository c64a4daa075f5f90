"""Values of all sorts come back from the tables as they were given."""

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from ledger_entries import ROW, Write, answered, answers, described, in_columns
from shipping_parts import READ, SEEN, inputs, ship

from tidemill.data.schema import Column, Role, Schema
from tidemill.ledger import tables
from tidemill.ledger.settings import LedgerSettings, Masking
from tidemill.moments import microseconds
from tidemill.settings import Kind


def test_values_of_all_sorts_come_back(settings: LedgerSettings, write: Write) -> None:
    long, ends = "x" * 10_000, (1 - 2**63, 2**63 - 1)
    rows = [
        {"size": 1e308, "color": "日本\x00語🎈", "new": False, "seen": "0001-01-01T00:00:00"},
        {"size": -0.0, "color": long, "new": None, "seen": "9999-12-31T23:59:59.999999Z"},
        {"size": 3, "color": "?", "seen": ""},
        {"size": None, "color": "", "seen": 1_372_600_000_000_000},
        {},
    ]
    columns = {
        "size": [math.nan, math.inf, -math.inf],
        "color": ["", "a\nb", "?"],
        "new": [0.0, 1.0, math.nan],
        "seen": [*ends, -(2**63)],
    }
    write([answered("a", rows), answered("b", **in_columns(columns)), answered("c", [{**ROW, "seen": ends[0]}])])
    ship(settings)
    frame = tables.answers(settings, "shop").sort("id").select(pl.col("inputs").struct.unnest()).collect()
    infinity = math.inf
    assert frame["size"].to_list() == [1e308, 0.0, 3.0, None, None, None, infinity, -infinity, 1.5]
    assert frame["color"].to_list() == ["日本\x00語🎈", long, None, None, None, None, "a\nb", None, "red"]
    assert frame["new"].to_list() == [False, None, None, None, None, False, True, None, True]
    moments = [dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)]
    physical = [microseconds(moment) for moment in moments]
    seen = frame["seen"].to_physical().to_list()
    assert seen == [*physical, None, 1_372_600_000_000_000, None, *ends, None, ends[0]]


def test_columns_of_numbers_may_stand_as_bytes(settings: LedgerSettings, write: Write) -> None:
    columns: dict[str, Any] = {"size": np.array([1.5, math.nan]).tobytes(), "seen": np.array([5, 6]).tobytes()}
    changes = in_columns({"color": ["red", "red"]})
    changes["inputs"] = msgspec.msgpack.encode({**columns, "color": ["red", "blue"]})
    write([answered(**changes)])
    assert [(row["size"], row["color"]) for row in inputs(settings)] == [(1.5, "red"), (None, "blue")]


def test_json_as_clients_write_it(settings: LedgerSettings, write: Write) -> None:
    bodies = [
        b'{\n "version": "1",\r\n "rows": [\n  {"size": 1.5}\n ]\n}\n',
        b'{"rows":[{"size":1,"size":1.5}]}',
        b'{"rows":[{"size":1.5,"color":"\\u00e9\\ud83c\\udf88"}]}',
    ]
    write([answered(f"a-{index}", inputs=body) for index, body in enumerate(bodies)])
    assert [row["size"] for row in inputs(settings)] == [1.5] * 3
    assert inputs(settings)[2]["color"] == "é🎈"


def test_numbers_that_only_python_reads(settings: LedgerSettings, write: Write) -> None:
    write([answered("a"), answered("b", inputs=b'{"rows":[{"size":1e999,"seen":"2013-06-30T14:05:00+02:00"}]}')])
    assert [(row["size"], row["seen"]) for row in inputs(settings)] == [(1.5, SEEN), (math.inf, SEEN)]


def test_only_columns_that_were_given_have_a_field(settings: LedgerSettings, write: Write) -> None:
    write([answered("a", [{}])])
    assert inputs(settings) == [{"size": None, "color": None, "new": None, "seen": None}]
    write([answered("b", [{**ROW, "note": "hello"}])])
    assert inputs(settings)[1] == {**READ, "note": "hello"}
    assert inputs(settings)[0]["note"] is None


LOOSE = Schema(
    columns=(
        Column(name="size", kind=Kind.NUMERIC),
        Column(name="order", kind=Kind.CATEGORICAL, role=Role.KEY),
        Column(name="paid", kind=Kind.BOOLEAN, role=Role.IGNORED),
        Column(name="cost", kind=Kind.NUMERIC, role=Role.IGNORED),
        Column(name="when", kind=Kind.TIMESTAMP, role=Role.TIME, format="%d.%m.%Y"),
    )
)
FIRST = dt.datetime(2013, 6, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("order", 7, "7"),
        ("order", 7.5, "7.5"),
        ("order", True, "true"),
        ("order", {"a": [1]}, '{"a": [1]}'),
        ("order", "\ud800", "?"),
        ("order", "é", "é"),
        ("paid", 1, True),
        ("paid", 0.0, False),
        ("paid", "yes", True),
        ("paid", "soon", None),
        ("paid", 2, None),
        ("cost", "12.5", 12.5),
        ("cost", "a lot", None),
        ("cost", 2**60, float(2**60)),
        ("cost", [1], None),
        ("when", "01.06.2013", FIRST),
        ("when", "2013-06-01", FIRST),
        ("when", 1_370_044_800_000_000, FIRST),
        ("when", "soon", None),
        ("when", 1.5, None),
    ],
)
def test_what_is_no_input_is_read_as_far_as_it_fits(
    settings: LedgerSettings, write: Write, name: str, value: object, read: object
) -> None:
    sent = [{"size": 1.5, name: value}, {"size": 2.5, "order": "b", "when": "2013-06-01T00:00:00Z"}]
    huge = answered("c", inputs=json.dumps({"rows": sent}).replace(": 2.5", ": 1e999").encode(), answers=answers(2))
    columns = {"size": [1.5, 2.5], "order": ["a", "b"], "when": ["2013-06-01", None], name: [value, None]}
    entries = [answered("a", sent), huge]
    if value != "\ud800":
        entries.append(answered("b", **in_columns(columns)))
    write(entries, versions=(described(schema=LOOSE),))
    found = inputs(settings)
    assert [row["size"] for row in found[::2]] == [1.5] * len(entries)
    assert [row.get(name) for row in found[::2]] == [read] * len(entries)
    assert found[1]["order"] == "b" and found[1]["when"] == FIRST


def test_sensitive_columns_are_hashed_and_masked_ones_are_null(settings: LedgerSettings, write: Write) -> None:
    settings = LedgerSettings(
        path=settings.path, columns={"note": Masking.MASK, "size": Masking.HASH, "color": Masking.MASK}
    )
    rows = [{**ROW, "person": person, "note": "secret"} for person in ("bob", "eve", "bob", None)]
    write([answered("a", rows)])
    found = inputs(settings)
    people = [row["person"] for row in found]
    assert people[0] == people[2] != people[1]
    assert people[3] is None
    assert len(people[0]) == len(found[0]["size"]) == 32
    assert found[0]["color"] is None
    assert "note" not in found[0]
    folder = Path(settings.table("shop", "answers"))
    content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"bob" not in content and b"secret" not in content
    assert b"yes" in content, "it is not that nothing can be read there"
