"""The ledger's settings: each broken rule is named with its key before anything is recorded."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidemill.errors import SettingsError
from tidemill.ledger.settings import Cover, Fsync, LedgerSettings


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"fsync": "often"}, "ledger.fsync must be one of never, second, always. Got: 'often'"),
        ({"when_full": "panic"}, "ledger.when_full must be one of refuse, continue. Got: 'panic'"),
        ({"sensitive": "encrypt"}, "ledger.sensitive must be one of keep, hash, mask. Got: 'encrypt'"),
        ({"columns": {"age": True}}, "ledger.columns.age must be one of keep, hash, mask. Got: True"),
        ({"ship_seconds": 0}, "ledger.ship_seconds must be greater than 0. Got: 0"),
        ({"ship_seconds": float("nan")}, "ledger.ship_seconds must be greater than 0. Got: nan"),
        ({"segment_bytes": 10}, "ledger.segment_bytes must be 4096 or greater. Got: 10"),
        ({"compact_every": False}, "ledger.compact_every must be 1 or greater. Got: False"),
        ({"retention_days": 0}, "ledger.retention_days must be 1 or greater, or null for ever. Got: 0"),
        ({"path": "s3://bucket/x"}, "ledger.wal must name a local folder when ledger.path is an object store"),
        ({"wal": "s3://bucket/x"}, "ledger.wal must be a local folder. Got: ledger.wal=s3://bucket/x"),
    ],
)
def test_what_breaks_a_rule_is_named(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        LedgerSettings(**{"path": "ledger", **wrong})
    assert str(caught.value).startswith(text)


def test_places(tmp_path: Path) -> None:
    local = LedgerSettings(path=f"file://{tmp_path}/ledger/", columns={"age": "mask"}, fsync="always")  # type: ignore[arg-type, dict-item]
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
