"""Shippers that are stopped, repeat themselves or work at once lose no record and double none."""

import datetime as dt
import shutil
import threading
from pathlib import Path

import polars as pl
import pytest
from ledger_entries import AT, Write, answered, described, turn
from shipping_parts import READ, inputs, ship, shipped

from tidemill.data.schema import Column, Role, Schema
from tidemill.ledger import frames, tables
from tidemill.ledger.commits import Piece, Table
from tidemill.ledger.record import Label
from tidemill.ledger.settings import LedgerSettings
from tidemill.ledger.shipper import Shipper
from tidemill.ledger.wal import Wal
from tidemill.settings import Kind


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
    turn(wal)
    wal.append([frames.answered(answered("b"))])
    assert ship(settings) == 1
    assert shipped(settings)["request"].to_list() == ["a"]
    wal.close()
    assert shipped(settings)["request"].to_list() == ["a", "b"]
