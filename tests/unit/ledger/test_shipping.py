"""Shipping: segments become rows of the tables, each once, whatever stood in them and whatever went wrong before."""

import datetime as dt
import logging
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake
from ledger_entries import DAY, ROW, Write, answered, answers, described, regression
from shipping_parts import READ, ship, shipped

from tidemill.ledger import record, tables
from tidemill.ledger.commits import Piece, Table
from tidemill.ledger.record import Form
from tidemill.ledger.settings import LedgerSettings
from tidemill.ledger.shipper import Shipper
from tidemill.ledger.wal import Wal


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
