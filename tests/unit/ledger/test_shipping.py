"""Shipping: segments become rows of the tables, each once, whatever stood in them and whatever went wrong before."""

import datetime as dt
import json
import logging
import math
import shutil
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from deltalake import write_deltalake
from ledger_entries import AT, DAY, ROW, Write, answered, answers, described, in_columns, regression

from tidemill.data.schema import Column, Role, Schema
from tidemill.ledger import frames, record, tables
from tidemill.ledger.commits import Piece, Table
from tidemill.ledger.record import Form, Label
from tidemill.ledger.settings import Cover, LedgerSettings
from tidemill.ledger.shipper import Shipper
from tidemill.ledger.wal import Wal
from tidemill.moments import microseconds
from tidemill.settings import Kind

SEEN = dt.datetime(2013, 6, 30, 12, 5, tzinfo=dt.UTC)
READ = {"size": 1.5, "color": "red", "new": True, "seen": SEEN}


def ship(settings: LedgerSettings) -> int:
    return Shipper(settings, "shop", settings.segments("shop")).run()


def shipped(settings: LedgerSettings) -> pl.DataFrame:
    ship(settings)
    return tables.answers(settings, "shop").sort("id", "role").collect()


def inputs(settings: LedgerSettings) -> list[Any]:
    return shipped(settings)["inputs"].to_list()


def test_an_answer_as_a_row(settings: LedgerSettings, write: Write) -> None:
    folder = write(
        [answered("aa-1", version="7", propensity=0.25, role=record.Role.CANARY)], versions=(described("7"),)
    )
    assert shipped(settings).row(0, named=True) == {
        "id": "aa-1-0",
        "key": None,
        "request": "aa-1",
        "row": 0,
        "at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "day": dt.date(2026, 1, 1),
        "model": "shop",
        "version": "7",
        "role": "canary",
        "propensity": 0.25,
        "client": None,
        "toss": None,
        "latency_us": 345,
        "inputs": READ,
        "label": "yes",
        "probabilities": [0.25, 0.75],
        "classes": ["no", "yes"],
        "value": None,
        "lower": None,
        "upper": None,
    }
    assert not folder.exists()
    assert ship(settings) == 0


def test_a_toss_is_kept_as_a_digest_that_tells_nobody_the_key(settings: LedgerSettings, write: Write) -> None:
    tosses = (b"12345678", b"abcdefgh", b"12345678")
    write([answered("aa-1"), answered("aa-2", [ROW] * 3, tosses=tosses)])
    alone, one, two, three = shipped(settings).sort("id")["toss"].to_list()
    assert alone is None
    assert one == three != two and len(one) == 32
    assert one not in {toss.hex() for toss in tosses}


def test_a_table_of_an_earlier_release_lacks_no_column(settings: LedgerSettings, write: Write) -> None:
    write([answered("aa-1")])
    earlier = shipped(settings).drop("toss", "inputs")
    place = settings.table("earlier", "answers")
    write_deltalake(place, earlier, partition_by=["day"])
    assert tables.answers(settings, "earlier").collect()["toss"].to_list() == [None]


def test_answers_of_a_regression(settings: LedgerSettings, write: Write) -> None:
    write([answered(answers=regression())], versions=(described(classes=()),))
    row = shipped(settings).row(0, named=True)
    assert (row["value"], row["lower"], row["upper"]) == (2.0, 1.0, 3.0)
    assert row["label"] is row["probabilities"] is row["classes"] is None


def test_many_rows_some_rows_and_shadows(settings: LedgerSettings, write: Write) -> None:
    sent = [{"size": float(number)} for number in range(4)]
    picked = answered("bb-2", sent, rows=(1, 3), answers=answered(sent=sent[:2]).answers)
    shadow = answered("aa-1", sent, form=Form.NONE, inputs=b"", role=record.Role.SHADOW)
    write([answered("aa-1", sent), shadow, picked])
    frame = shipped(settings)
    assert frame["id"].to_list() == [f"aa-1-{row}" for row in (0, 0, 1, 1, 2, 2, 3, 3)] + ["bb-2-1", "bb-2-3"]
    assert frame.filter(role="shadow")["inputs"].to_list() == [None] * 4
    sizes = frame.filter(role="champion").select(pl.col("inputs").struct.field("size")).to_series()
    assert sizes.to_list() == [0, 1, 2, 3, 1, 3]
    assert frame["row"].to_list() == [0, 0, 1, 1, 2, 2, 3, 3, 1, 3]


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
    settings = LedgerSettings(path=settings.path, columns={"note": Cover.MASK, "size": Cover.HASH, "color": Cover.MASK})
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


def test_what_does_not_fit_keeps_its_answer_and_is_put_aside(
    settings: LedgerSettings, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    bad = answered("bad", inputs=b'{"rows":[{"sise":1}]}')
    more = answered("more", [ROW, ROW], answers=answers(1))
    other = answered("stranger", version="9")
    folder = write([*(answered(f"a-{index}") for index in range(5)), bad, more, other])
    with caplog.at_level(logging.ERROR):
        frame = shipped(settings)
    assert frame.filter(pl.col("inputs").is_null())["request"].to_list() == ["bad", "more", "stranger"]
    assert frame.height == 8
    assert "the inputs of the answers to request bad cannot be read" in caplog.text
    assert "the inputs of 3 requests cannot be read" in caplog.text
    assert (settings.segments("shop") / "aside" / f"{folder.name}-00000001.wal").exists()
    assert ship(settings) == 0


def test_a_damaged_segment_is_shipped_as_far_as_it_goes_and_put_aside(
    settings: LedgerSettings, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write([answered("a"), answered("b"), answered("c")])
    path = folder / "00000001.wal"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"b"', b'"x"').replace(b"\xa1b", b"\xa1x") + content[:10])
    with caplog.at_level(logging.WARNING):
        assert shipped(settings)["request"].to_list() == ["a", "c"]
    assert "is damaged in 1 places" in caplog.text
    assert "10 bytes of a write that was cut off" in caplog.text
    kept = settings.segments("shop") / "aside" / f"{folder.name}-00000001.wal"
    assert kept.stat().st_size == len(content) + 10


def test_what_was_shipped_before_is_not_shipped_again(settings: LedgerSettings, write: Write, tmp_path: Path) -> None:
    folder = write([answered("a"), Label("a-0", "yes", AT)], [answered("b")])
    shutil.copytree(folder, tmp_path / "copy")
    ship(settings)
    shutil.copytree(tmp_path / "copy", folder)
    assert ship(settings) == 2, "they are seen, and found to be there"
    assert shipped(settings)["id"].to_list() == ["a-0", "b-0"]
    assert tables.labels(settings, "shop").collect().height == 1


@pytest.mark.parametrize("table", ["_answers", "_labels"])
@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
def test_a_shipper_that_ends_between_its_steps(settings: LedgerSettings, write: Write, table: str, after: bool) -> None:
    write([answered("a"), Label("a-0", "yes", AT)], [answered("b"), Label("b-0", "no", AT)])
    shipper = Shipper(settings, "shop", settings.segments("shop"))
    real = getattr(shipper, table).add

    def ends(pieces: list[Piece]) -> int:
        if after:
            real(pieces)
        raise KeyboardInterrupt

    getattr(shipper, table).add = ends
    with pytest.raises(KeyboardInterrupt):
        shipper.run()
    write([answered("c"), Label("c-0", "no", AT)])
    assert shipped(settings)["id"].to_list() == ["a-0", "b-0", "c-0"]
    assert sorted(tables.labels(settings, "shop").collect()["id"]) == ["a-0", "b-0", "c-0"]


def test_a_part_of_a_batch_that_is_there_already_is_left_out(settings: LedgerSettings, tmp_path: Path) -> None:
    def piece(writer: str, number: int) -> Piece:
        day = pl.Series([dt.date(2026, 1, 1)])
        return Piece(writer, number, pl.DataFrame({"id": [f"{writer}{number}"], "day": day}))

    table = Table(str(tmp_path / "table"), {})
    assert table.add([piece("a", 1), piece("a", 2), piece("b", 7)]) == 3
    assert table.add([piece("a", 2), piece("a", 3), piece("b", 7), piece("c", 1)]) == 2
    assert table.add([piece("a", 1), piece("b", 7)]) == 0
    assert sorted(pl.scan_delta(table.uri).collect()["id"]) == ["a1", "a2", "a3", "b7", "c1"]
    assert table.commits == 2


def test_shippers_at_once_that_do_not_know_of_each_other(tmp_path: Path) -> None:
    day = pl.Series([dt.date(2026, 1, 1)])
    failures: list[BaseException] = []

    def work(writer: str) -> None:
        try:
            table = Table(str(tmp_path / "table"), {})
            for number in range(1, 6):
                table.add([Piece(writer, number, pl.DataFrame({"id": [f"{writer}{number}"], "day": day, writer: [1]}))])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(writer,)) for writer in ("a", "a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = sorted(pl.scan_delta(str(tmp_path / "table")).collect()["id"])
    assert found == [f"{writer}{number}" for writer in "abc" for number in range(1, 6)]


def test_new_columns_join_and_a_changed_kind_gets_a_field_of_its_own(settings: LedgerSettings, write: Write) -> None:
    write([answered("a")])
    ship(settings)
    changed = Schema(
        columns=(
            Column(name="size", kind=Kind.CATEGORICAL),
            Column(name="Color", kind=Kind.CATEGORICAL),
            Column(name="weight, kg", kind=Kind.NUMERIC),
            Column(name="bought", kind=Kind.CATEGORICAL, role=Role.TARGET),
        )
    )
    row = {"size": "XL", "Color": "RED", "weight, kg": 2.5}
    write([answered("b", [row], version="2"), answered("c")], versions=(described(), described("2", changed)))
    found = inputs(settings)
    assert {name: value for name, value in found[1].items() if value is not None} == {
        "size (categorical)": "XL",
        "Color (categorical)": "RED",
        "weight, kg": 2.5,
    }
    assert {name: value for name, value in found[2].items() if value is not None} == READ


def test_a_living_writer_keeps_its_newest_segment(settings: LedgerSettings) -> None:
    wal = Wal(settings.segments("shop"), segment_seconds=3600)
    wal.describe(frames.described(described()))
    wal.append([frames.answered(answered("a"))])
    assert ship(settings) == 0
    wal.rotate()
    wal.append([frames.answered(answered("b"))])
    assert ship(settings) == 1
    assert shipped(settings)["request"].to_list() == ["a"]
    wal.close()
    assert shipped(settings)["request"].to_list() == ["a", "b"]


def test_small_files_become_large_ones_and_old_days_go(settings: LedgerSettings, write: Write) -> None:
    settings = LedgerSettings(path=settings.path, retention_days=30, compact_every=3)
    today = int(dt.datetime.now(dt.UTC).timestamp()) * 10**9
    write([answered("first", at=today)])
    shipper = Shipper(settings, "shop", settings.segments("shop"))
    folder = Path(settings.table("shop", "answers"))
    for index in range(3):
        write([answered(f"old-{index}", at=today - 40 * DAY), answered(f"new-{index}", at=today)])
        shipper.run()
    days = {path.name for path in folder.glob("day=*")}
    assert len(days) == 2
    table = shipper._answers.open()
    assert len(table.file_uris()) == 2, "compacted: one file a day"
    shipper._upkeep[0].sweep(keep_files=0)
    assert shipped(settings)["request"].to_list() == ["first", "new-0", "new-1", "new-2"]
    assert len(list(folder.rglob("*.parquet"))) == 1, "what is out of use is gone from the disk"


def test_upkeep_that_fails_is_logged_and_not_fatal(
    settings: LedgerSettings, write: Write, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write([answered("a")])
    shipper = Shipper(settings, "shop", settings.segments("shop"))
    monkeypatch.setattr(shipper._upkeep[0], "sweep", lambda: (_ for _ in ()).throw(OSError("no")))
    assert shipper.run() == 1
    assert "it is tried again later" in caplog.text


@pytest.mark.parametrize("first", ["table", "segments"])
def test_folders_that_hold_inputs_are_their_owners_alone(tmp_path: Path, first: str) -> None:
    """The write-ahead files were, the tables that they become were not."""
    kept = LedgerSettings(path=str(tmp_path / "new/ledger"))
    rows = pl.DataFrame({"id": ["a"], "day": [dt.date(2026, 1, 1)]})
    steps = {
        "table": lambda: Table(kept.table("shop", "answers"), {}).add([Piece("w", 1, rows)]),
        "segments": lambda: Wal(kept.segments("shop")).close(),
    }
    for name in (first, *(steps.keys() - {first})):
        steps[name]()
    for made in ("new", "new/ledger", "new/ledger/shop", "new/ledger/shop/answers", "new/ledger/wal/shop"):
        assert (tmp_path / made).stat().st_mode & 0o777 == 0o700, made
    (tmp_path / "shared").mkdir(mode=0o755)
    shared = LedgerSettings(path=str(tmp_path / "shared"))
    Table(shared.table("shop", "answers"), {}).add([Piece("w", 1, rows)])
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o755, "who made it has decided"
    assert (tmp_path / "shared/shop").stat().st_mode & 0o777 == 0o700
