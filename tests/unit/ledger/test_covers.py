"""Covers: masks and digests, and the key that digests need."""

import hashlib
import stat
from pathlib import Path

import pytest

from tidemill.data.schema import Column, Role
from tidemill.errors import SettingsError
from tidemill.ledger import covers
from tidemill.ledger.settings import Cover, LedgerSettings
from tidemill.settings import Kind


def test_a_column_is_covered_by_its_name_else_by_its_role() -> None:
    settings = LedgerSettings(path="x", columns={"a": Cover.MASK}, ignored=Cover.MASK)

    def of(name: str, role: Role) -> Cover:
        return covers.cover(Column(name=name, kind=Kind.NUMERIC, role=role), settings)

    assert of("a", Role.FEATURE) is of("a", Role.SENSITIVE) is Cover.MASK
    assert of("b", Role.FEATURE) is of("b", Role.KEY) is Cover.KEEP
    assert of("b", Role.SENSITIVE) is Cover.HASH
    assert of("b", Role.IGNORED) is Cover.MASK


def test_digests_are_keyed_and_the_same_for_the_same() -> None:
    first, second = (covers.digests(["Zoë", "bob"], key) for key in (b"k" * 16, b"l" * 16))
    assert first["Zoë"] == hashlib.blake2b("Zoë".encode(), digest_size=16, key=b"k" * 16).hexdigest()
    assert len({*first.values(), *second.values()}) == 4


def test_the_key_comes_from_the_file_else_the_environment_else_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(covers.VARIABLE, raising=False)
    made = covers.key(LedgerSettings(path="x"), tmp_path)
    assert covers.key(LedgerSettings(path="x"), tmp_path) == made
    assert len(made) == 64
    assert stat.S_IMODE((tmp_path / "hash.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["hash.key"]
    monkeypatch.setenv(covers.VARIABLE, "from the environment")
    assert covers.key(LedgerSettings(path="x"), tmp_path) == b"from the environment"
    (tmp_path / "key").write_text("f" * 100 + "\n")
    from_file = covers.key(LedgerSettings(path="x", hash_key_file=str(tmp_path / "key")), tmp_path)
    assert len(from_file) == 64 and from_file != made


@pytest.mark.parametrize("content", [None, "short"])
def test_a_key_that_cannot_be_used_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    with pytest.raises(SettingsError, match=r"The key for digests must have 16 bytes or more.*openssl rand") as caught:
        covers.key(LedgerSettings(path="x", hash_key_file=str(tmp_path / "key")), tmp_path)
    assert ("No such file" if content is None else "with 5 bytes") in caught.value.observed


def test_a_short_key_in_the_environment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(covers.VARIABLE, "short")
    with pytest.raises(SettingsError, match="TIDEMILL_LEDGER_HASH_KEY with 5 bytes"):
        covers.key(LedgerSettings(path="x"), tmp_path)
