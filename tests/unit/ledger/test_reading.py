"""Reading the tables back: answers and the labels that came for them, late, repeated, corrected or for nobody."""

import datetime as dt
from dataclasses import replace

import polars as pl
from ledger_entries import AT, DAY, Write, answered
from polars.testing import assert_frame_equal

from tidemill.ledger import record, tables
from tidemill.ledger.commits import Table
from tidemill.ledger.record import Form, Label
from tidemill.ledger.settings import LedgerSettings, Masking
from tidemill.ledger.shipper import Shipper
from tidemill.ledger.upkeep import Upkeep


def ship(settings: LedgerSettings) -> None:
    Shipper(settings, "shop", settings.segments("shop")).run()


def test_before_anything_was_shipped_the_tables_are_empty(settings: LedgerSettings) -> None:
    assert tables.answers(settings, "shop").collect().height == 0
    assert tables.joined(settings, "shop").collect().height == 0
    assert tables.unknown(settings, "shop").collect().height == 0


def test_what_is_covered_can_be_read_by_whoever_knows_the_path_alone(settings: LedgerSettings, write: Write) -> None:
    bare = LedgerSettings(path=settings.path)
    assert tables.masked(bare, "shop") is None
    hiding = replace(settings, columns={"size": Masking.MASK, "city": Masking.KEEP})
    for number, given in enumerate((hiding, settings)):
        write([answered(f"{number}")])
        Shipper(given, "shop", given.segments("shop")).run()
        Upkeep(Table(settings.table("shop", "answers"), {}), given).compact()
        assert tables.masked(bare, "shop") == ({"size": Masking.MASK} if number == 0 else {})


def test_labels_late_repeated_corrected_and_unknown(settings: LedgerSettings, write: Write) -> None:
    labels = [
        Label("repeated-0", "yes", AT + 1000),
        Label("repeated-0", "yes", AT + 1000),
        Label("repeated-0", "yes", AT + 2000),
        Label("corrected-0", "yes", AT + 9000, event_at=AT - DAY),
        Label("back-0", "no", AT + 9000),
        Label("back-0", "yes", AT + 8000),
        Label("number-0", 2.5, AT),
        Label("nobody-0", "yes", AT),
        Label("nobody-0", "no", AT + 1000),
    ]
    write(labels, [answered(f"{name}") for name in ("repeated", "corrected", "back", "number", "none", "late")])
    ship(settings)
    write([Label("corrected-0", "no", AT + 8000), Label("late-0", "no", AT + 90 * DAY)])
    ship(settings)
    found = {row["id"]: row for row in tables.joined(settings, "shop").collect().to_dicts()}
    assert len(found) == 6
    assert {name: row["true_label"] for name, row in found.items()} == {
        "repeated-0": "yes",
        "corrected-0": "yes",
        "back-0": "no",
        "number-0": None,
        "none-0": None,
        "late-0": "no",
    }, "the one received last, in whatever order they were shipped"
    assert found["number-0"]["true_value"] == 2.5
    assert found["none-0"]["labelled_at"] is None
    assert found["late-0"]["labelled_at"] == dt.datetime(2026, 4, 1, tzinfo=dt.UTC)
    assert found["corrected-0"]["event_at"] == dt.datetime(2025, 12, 31, tzinfo=dt.UTC)
    assert tables.labels(settings, "shop").collect().height == 11
    unknown = tables.unknown(settings, "shop").collect().to_dicts()
    assert [(row["id"], row["true_label"]) for row in unknown] == [("nobody-0", "no")]


def test_a_shadow_gets_the_same_label(settings: LedgerSettings, write: Write) -> None:
    shadow = answered("a", form=Form.NONE, inputs=b"", role=record.Role.SHADOW, version="2")
    write([answered("a"), shadow, Label("a-0", "no", AT)])
    ship(settings)
    found = tables.joined(settings, "shop").sort("role").collect()
    assert found.select("role", "true_label").rows() == [("champion", "no"), ("shadow", "no")]


def test_a_range_reads_only_its_days(settings: LedgerSettings, write: Write) -> None:
    write([answered(f"day-{day}", at=AT + day * DAY + DAY // 2) for day in range(4)])
    write([Label(f"day-{day}-0", "yes", AT + day * DAY + DAY // 2 + 1000) for day in range(4)])
    ship(settings)
    since, until = dt.datetime(2026, 1, 2), dt.datetime(2026, 1, 3, 18, tzinfo=dt.timezone(dt.timedelta(hours=6)))
    for read, column in ((tables.answers, "id"), (tables.joined, "id"), (tables.labels, "id")):
        found = read(settings, "shop", since, until).sort("id").collect()
        assert found[column].to_list() == ["day-1-0"], "12:00 on the 3rd is 18:00+06:00, and is excluded"
    pruned = tables.answers(settings, "shop", since, until).explain()
    assert "day=2026-01-02" in pruned
    assert "day=2026-01-01" not in pruned and "day=2026-01-04" not in pruned
    assert tables.joined(settings, "shop", since, until).collect()["true_label"].to_list() == ["yes"]
    assert tables.unknown(settings, "shop", since, until).collect().height == 0


def test_columns_are_read_only_as_far_as_they_are_asked_for(settings: LedgerSettings, write: Write) -> None:
    write([answered("a")])
    ship(settings)
    lazy = tables.answers(settings, "shop").select("id", pl.col("inputs").struct.field("size"))
    assert_frame_equal(lazy.collect(), pl.DataFrame({"id": ["a-0"], "size": [1.5]}))
    assert "PROJECT" in lazy.explain()
