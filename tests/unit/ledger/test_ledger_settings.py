"""The ledger's settings: each broken rule is named with its key before anything is recorded."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidemill.composition import build
from tidemill.errors import SettingsError
from tidemill.ledger.settings import Cover, Fsync, LedgerSettings


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"fsync": "often"}, "ledger.fsync = 'often': must be one of never, second, always"),
        ({"when_full": "panic"}, "ledger.when_full = 'panic': must be one of refuse, continue"),
        ({"sensitive": "encrypt"}, "ledger.sensitive = 'encrypt': must be one of keep, hash, mask"),
        ({"columns": {"age": True}}, "ledger.columns.age = True: must be one of keep, hash, mask"),
        ({"columns": 3}, "ledger.columns = 3: must be a mapping"),
        ({"ship_seconds": 0}, "ledger.ship_seconds = 0.0: must be greater than 0"),
        ({"ship_seconds": float("nan")}, "ledger.ship_seconds = nan: must be a finite number, greater than 0"),
        ({"segment_bytes": 10}, "ledger.segment_bytes = 10: must be 4096 or greater"),
        ({"compact_every": False}, "ledger.compact_every = False: must be a whole number, 1 or greater"),
        ({"retention_days": 0}, "ledger.retention_days = 0: must be 1 or greater"),
        ({"path": "s3://bucket/x"}, "ledger.wal = None: must name a local folder whose disk outlives"),
        ({"wal": "s3://bucket/x"}, "ledger.wal = 's3://bucket/x': must be a folder on this machine's disk"),
    ],
)
def test_what_breaks_a_rule_is_named(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        build(LedgerSettings, {"path": "ledger", **wrong}, "ledger")
    assert text in str(caught.value)


def test_places(tmp_path: Path) -> None:
    local = LedgerSettings(path=f"file://{tmp_path}/ledger/", columns={"age": Cover.MASK}, fsync=Fsync.ALWAYS)
    assert local.segments("shop") == tmp_path / "ledger/wal/shop"
    assert local.table("shop", "answers") == f"{tmp_path}/ledger/shop/answers"
    assert (local.is_local, local.fsync, local.columns["age"]) == (True, Fsync.ALWAYS, Cover.MASK)
    remote = LedgerSettings(path="s3://bucket/ledger/", wal=str(tmp_path), storage_options={"key": "very secret"})
    assert remote.segments("shop") == tmp_path / "shop"
    assert remote.table("shop", "labels") == "s3://bucket/ledger/shop/labels"
    assert not remote.is_local
    assert "very secret" not in repr(remote)


def test_they_survive_the_pipe_to_the_shipping_process() -> None:
    settings = LedgerSettings(path="ledger", columns={"age": Cover.HASH}, retention_days=3, storage_options={"a": "b"})
    assert msgspec.json.decode(msgspec.json.encode(settings), type=LedgerSettings) == settings


def test_a_ledger_is_read_by_its_place_alone() -> None:
    assert LedgerSettings.at("s3://bucket/ledger").table("shop", "labels") == "s3://bucket/ledger/shop/labels"
    assert LedgerSettings.at("ledger") == LedgerSettings(path="ledger")
    assert LedgerSettings.at("file:///data/ledger") == LedgerSettings(path="file:///data/ledger")
