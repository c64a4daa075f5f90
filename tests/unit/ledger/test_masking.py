"""Covers: masks and digests, and the key that digests need."""

import hashlib
import stat
from pathlib import Path

import pytest

from tidemill.data.schema import Column, Role
from tidemill.errors import SettingsError
from tidemill.ledger import masking
from tidemill.ledger.settings import LedgerSettings, Masking
from tidemill.settings import Kind


def test_a_column_is_covered_by_its_name_else_by_its_role() -> None:
    settings = LedgerSettings(path="x", columns={"a": Masking.MASK}, ignored=Masking.MASK)

    def of(name: str, role: Role) -> Masking:
        return masking.masking_of(Column(name=name, kind=Kind.NUMERIC, role=role), settings)

    assert of("a", Role.FEATURE) is of("a", Role.SENSITIVE) is Masking.MASK
    assert of("b", Role.FEATURE) is of("b", Role.KEY) is Masking.KEEP
    assert of("b", Role.SENSITIVE) is Masking.HASH
    assert of("b", Role.IGNORED) is Masking.MASK


def test_digests_are_keyed_and_the_same_for_the_same() -> None:
    first, second = (masking.digests(["Zoë", "bob"], key) for key in (b"k" * 16, b"l" * 16))
    assert first["Zoë"] == hashlib.blake2b("Zoë".encode(), digest_size=16, key=b"k" * 16).hexdigest()
    assert len({*first.values(), *second.values()}) == 4


def test_the_key_comes_from_the_file_else_the_environment_else_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(masking.VARIABLE, raising=False)
    made = masking.key(LedgerSettings(path="x"), tmp_path)
    assert masking.key(LedgerSettings(path="x"), tmp_path) == made
    assert len(made) == 64
    assert stat.S_IMODE((tmp_path / "hash.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["hash.key"]
    monkeypatch.setenv(masking.VARIABLE, "from the environment")
    assert masking.key(LedgerSettings(path="x"), tmp_path) == b"from the environment"
    (tmp_path / "key").write_text("f" * 100 + "\n")
    from_file = masking.key(LedgerSettings(path="x", hash_key_file=str(tmp_path / "key")), tmp_path)
    assert len(from_file) == 64 and from_file != made


@pytest.mark.parametrize("content", [None, "short"])
def test_a_key_that_cannot_be_used_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    with pytest.raises(SettingsError, match=r"The key for digests must have 16 bytes or more.*openssl rand") as caught:
        masking.key(LedgerSettings(path="x", hash_key_file=str(tmp_path / "key")), tmp_path)
    assert ("No such file" if content is None else "with 5 bytes") in caught.value.observed


def test_a_short_key_in_the_environment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(masking.VARIABLE, "short")
    with pytest.raises(SettingsError, match="TIDEMILL_LEDGER_HASH_KEY with 5 bytes"):
        masking.key(LedgerSettings(path="x"), tmp_path)
