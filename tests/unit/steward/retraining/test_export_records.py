"""Labelled records out of a ledger, with the ledger's own entries, shipped by its own shipper."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import LedgerError, QualityError, SettingsError
from tidemill.ledger import frames, record
from tidemill.ledger.record import Answered, Described, Form, Label
from tidemill.ledger.settings import Fsync, LedgerSettings, Masking
from tidemill.ledger.shipper import Shipper
from tidemill.ledger.wal import Wal
from tidemill.settings import Kind
from tidemill.steward.retraining import aging, export
from tidemill.steward.retraining.aging import Horizon
from tidemill.steward.retraining.export import export_records

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = START + timedelta(hours=1)
SCHEMA = Schema(
    columns=(
        Column(name="name", kind=Kind.CATEGORICAL, role=Role.KEY),
        Column(name="seen", kind=Kind.TIMESTAMP, role=Role.TIME),
        Column(name="size", kind=Kind.NUMERIC),
        Column(name="color", kind=Kind.CATEGORICAL),
        Column(name="new", kind=Kind.BOOLEAN),
        Column(name="person", kind=Kind.CATEGORICAL, role=Role.SENSITIVE),
        Column(name="bought", kind=Kind.BOOLEAN, role=Role.TARGET),
    )
)


@pytest.fixture
def settings(tmp_path: Path) -> LedgerSettings:
    return LedgerSettings(path=str(tmp_path / "ledger"), fsync=Fsync.NEVER)


def nanoseconds(minutes: float) -> int:
    return int((START + timedelta(minutes=minutes)).timestamp()) * 10**9


def answered(name: str, minutes: float = 0, **changes: Any) -> Answered:
    row = {"name": name, "size": 1.5, "color": "red", "new": True, "person": "me", **changes.pop("row", {})}
    values: dict[str, Any] = {
        "id": name,
        "at": nanoseconds(minutes),
        "version": "1",
        "role": record.Role.CHAMPION,
        "propensity": 1.0,
        "latency": 9,
        "form": Form.ROWS,
        "inputs": json.dumps({"rows": [row]}).encode(),
        "rows": None,
        "answers": {"label": ["true"], "probabilities": [[0.2, 0.8]]},
    }
    entry = Answered(**{**values, **changes})
    import numpy as np

    arrays = {name: np.array(value, object if name == "label" else np.float32) for name, value in entry.answers.items()}
    return msgspec.structs.replace(entry, answers=arrays)


def label(name: str, value: str | float = "true", minutes: float = 10, event: float | None = None) -> Label:
    return Label(f"{name}-0", value, nanoseconds(minutes), None if event is None else nanoseconds(event))


def ship(settings: LedgerSettings, *entries: Answered | Label, schema: Schema = SCHEMA) -> None:
    folder = settings.segments("shop")
    writer = Wal(folder, fsync=Fsync.NEVER, segment_seconds=3600)
    for version in ("1", "2"):
        writer.describe(frames.described(Described(version, schema.to_dict(), "binary", ("false", "true"))))
    writer.append([frames.answered(one) if isinstance(one, Answered) else frames.label(one) for one in entries])
    writer.close()
    Shipper(settings, "shop", folder).run()


def horizon(minutes: float, known: float | None = None, **clock: bool) -> Horizon:
    moments = [START + timedelta(minutes=one) for one in (minutes, known or minutes)]
    return Horizon(until=moments[0], known_before=moments[1], **clock)


def exported(
    settings: LedgerSettings, tmp_path: Path, minutes: float = 60, schema: Schema = SCHEMA, **clock: bool
) -> tuple[export.Records, pl.DataFrame]:
    file = tmp_path / "records.parquet"
    told = export_records(settings, "shop", schema, horizon(minutes, **clock), file)
    assert [path.name for path in tmp_path.iterdir() if "records" in path.name] == ["records.parquet"]
    return told, pl.read_parquet(file)


def test_answers_with_their_latest_label_become_records(settings: LedgerSettings, tmp_path: Path) -> None:
    shadow = answered("a", form=Form.NONE, inputs=b"", role=record.Role.SHADOW, version="2")
    canary = answered("b", 3, role=record.Role.CANARY, version="2", row={"size": None, "new": False})
    ship(settings, answered("a", 2), shadow, canary, answered("c"), label("a", "false", 5), label("a", "true", 6))
    ship(settings, label("b", "false"), label("nobody"))
    told, found = exported(settings, tmp_path)
    assert told == export.Records(rows=2, varied=True, before=HOUR)
    assert found.sort("name").to_dicts() == [
        {"name": "a", "seen": START + timedelta(minutes=2), "size": 1.5, "color": "red", "new": True, "bought": True},
        {
            "name": "b",
            "seen": START + timedelta(minutes=3),
            "size": None,
            "color": "red",
            "new": False,
            "bought": False,
        },
    ], "the moment of prediction is when the request came; what the ledger hides (person) is left out"


def test_only_what_was_true_by_then_counts(settings: LedgerSettings, tmp_path: Path) -> None:
    late, early = 24 * 60, 1
    labels = [label("a", minutes=late, event=early), label("b", minutes=early, event=late), label("c", minutes=late)]
    labels += [label("d", "true", minutes=5), label("d", "false", minutes=late)]
    ship(settings, *(answered(name) for name in "abcd"), *labels)
    told, found = exported(settings, tmp_path)
    assert found.select("name", "bought").sort("name").rows() == [("a", True), ("d", True)]
    assert not told.varied


def test_by_the_clock_of_events_a_label_that_does_not_say_when_counts_with_its_record(
    settings: LedgerSettings, tmp_path: Path
) -> None:
    """Records of past years are answered today, and so are all of their labels received."""
    before, after = {"seen": "2025-12-01T00:00:00"}, {"seen": "2026-02-01T00:00:00"}
    ship(
        settings,
        *(answered(name, late, row=before) for name, late in (("a", 9e4), ("b", 9e4), ("c", 9e4))),
        answered("d", 9e4, row=after),
        *(label(name, minutes=9.1e4) for name in "ad"),
        label("b", "false", minutes=9.1e4, event=-5),
        label("c", minutes=9.1e4, event=70),
    )
    _, found = exported(settings, tmp_path, event_clock=True)
    assert found.select("name", "bought").sort("name").rows() == [("a", True), ("b", False)]
    assert found["seen"].max() == datetime(2025, 12, 1, tzinfo=UTC)
    assert exported(settings, tmp_path)[1].is_empty(), "by the clock of arrival all were answered later"


@pytest.mark.parametrize("event_clock", [False, True])
def test_records_are_not_exported_before_labels_of_every_class_have_come(
    settings: LedgerSettings, tmp_path: Path, event_clock: bool
) -> None:
    """ "true" is known a minute later, "false" after 20 hours: of the last 20 hours only "true" has labels."""
    kinds = ["true" if number % 3 == 0 else "false" for number in range(120)]
    labels = [
        label(f"n{number}", kind, known := 60 * number + (1 if kind == "true" else 1200), event=known)
        for number, kind in enumerate(kinds)
    ]
    ship(settings, *(answered(f"n{number}", 60 * number) for number in range(120)), *labels)
    file, asked = tmp_path / "records.parquet", horizon(60 * 120, event_clock=event_clock)
    everything = export_records(settings, "shop", SCHEMA, asked, file)
    bought = pl.read_parquet(file).sort("seen")["bought"]
    assert everything.rows == 106 and bought[-6:].all(), "what labels that are known say of the last 20 hours"
    told = export_records(settings, "shop", SCHEMA, asked, file, share=0.95)
    found = pl.read_parquet(file).sort("seen")["bought"].to_list()
    assert told.before == START + timedelta(hours=100) and found == [kind == "true" for kind in kinds[:100]]
    known = horizon(60 * 60, 60 * 120, event_clock=event_clock)
    assert export_records(settings, "shop", SCHEMA, known, file, share=0.95).rows == 60, "all of them are old enough"
    count = aging.old(settings, "shop", SCHEMA, asked, 0.95)
    assert count.before == told.before and abs(count.labelled - 100) <= 1 and count.first == START
    with pytest.raises(QualityError, match=r"all labels that came are 'true'.*retrain\.mature_share"):
        export_records(settings, "shop", SCHEMA, horizon(60 * 19, event_clock=event_clock), file, share=0.95)


def test_a_moment_that_was_sent_is_kept_and_unreadable_inputs_are_not(settings: LedgerSettings, tmp_path: Path) -> None:
    sent = answered("a", row={"seen": "2013-05-01T12:00:00"})
    ship(settings, sent, answered("b", inputs=b'{"rows": [{"size": "x"}]}'), label("a"), label("b"))
    told, found = exported(settings, tmp_path)
    assert found["seen"].to_list() == [datetime(2013, 5, 1, 12, tzinfo=UTC)]
    assert told.rows == 1


@pytest.mark.parametrize("kind", [Kind.NUMERIC, Kind.CATEGORICAL])
def test_the_truth_has_the_kind_of_the_target(settings: LedgerSettings, tmp_path: Path, kind: Kind) -> None:
    schema = replace(SCHEMA, columns=(*SCHEMA.columns[:-1], Column(name="y", kind=kind, role=Role.TARGET)))
    labels = [label("a", "1"), label("b", "2")] if kind is Kind.CATEGORICAL else [label("a", 2.5), label("b", "1")]
    ship(settings, answered("a"), answered("b"), *labels, schema=schema)
    told, found = exported(settings, tmp_path, schema=schema)
    assert found.sort("name")["y"].to_list() == (["1", "2"] if kind is Kind.CATEGORICAL else [2.5, 1.0])
    assert told.varied


def test_a_column_whose_kind_changed_is_found_under_both_names(settings: LedgerSettings, tmp_path: Path) -> None:
    before = [replace(column, kind=Kind.CATEGORICAL) if column.name == "size" else column for column in SCHEMA.columns]
    ship(settings, answered("a", row={"size": "big"}), label("a"), schema=replace(SCHEMA, columns=tuple(before)))
    ship(settings, answered("b"), label("b"))
    assert exported(settings, tmp_path)[1].sort("name")["size"].to_list() == [None, 1.5]


def test_many_parts_make_one_file(settings: LedgerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aging, "ROWS_AT_ONCE", 7)
    names = [f"r{number}" for number in range(40)]
    ship(settings, *(answered(name, number / 3) for number, name in enumerate(names)))
    ship(settings, *(label(name, "true" if number % 2 else "false", 50) for number, name in enumerate(names)))
    told, found = exported(settings, tmp_path)
    assert sorted(found["name"]) == sorted(names)
    assert told.rows == 40


def test_an_empty_ledger_gives_an_empty_file(settings: LedgerSettings, tmp_path: Path) -> None:
    told, found = exported(settings, tmp_path)
    assert told == export.Records(rows=0, varied=False, before=HOUR)
    assert found.columns == ["seen", "bought"]


def test_a_hidden_feature_and_a_full_disk_are_refused(settings: LedgerSettings, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'color' hidden by ledger.columns. Remedy: set ledger.columns.color=keep"):
        exported(replace(settings, columns={"color": Masking.MASK}), tmp_path)
    with pytest.raises(LedgerError, match="can be written beside a retraining"):
        export_records(settings, "shop", SCHEMA, horizon(0), tmp_path / "no" / "folder.parquet")
