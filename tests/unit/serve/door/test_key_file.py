"""The file of keys: who may read it, who writes it, and what is refused."""

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from keys_parts import path, refusal

from tidemill import durable
from tidemill.commands import keys as command
from tidemill.errors import SettingsError
from tidemill.serve.door import key_file
from tidemill.serve.door.keys import Keys, Scope

__all__ = ["path"]


def test_no_secret_is_written_anywhere(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key, text = key_file.create(path, "app", [Scope.PREDICT])
    secret = text.split("_")[2]
    keys = Keys(path)
    said = [repr(key), str(key), repr(keys), str(refusal(keys, text, Scope.ADMIN)), str(refusal(keys, text + "x"))]
    path.write_text("{")
    keys.refresh()
    said += [caplog.text, path.read_text()]
    assert all(secret not in one and key.sha256 not in one for one in said)
    assert key.sha256 == hashlib.sha256(secret.encode()).hexdigest() and repr(key) == f"Key({key.id}, 'app', predict)"


def test_the_file_is_its_owners_and_others_who_may_write_it_are_reported(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = os.umask(0)
    try:
        key_file.create(path, "app", [Scope.PREDICT])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    Keys(path)
    assert not caplog.records
    path.chmod(0o622)
    Keys(path)
    assert f"Others than its owner can write API keys into {path}" in caplog.text


def test_many_writers_lose_no_key(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tidemill.serve.door import key_file\n"
        "for _ in range(5): key_file.create(Path(sys.argv[1]), 'x', [key_file.Scope.ADMIN])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda number: key_file.create(path, str(number), [Scope.PREDICT]), range(20)))
    assert process.wait() == 0
    assert len(key_file.read(path)) == 25 and {key.id for key, _ in made} <= {key.id for key in key_file.read(path)}
    assert [left.name for left in path.parent.iterdir()] == ["keys.json"]


def test_a_failing_write_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key_file.create(path, "app", [Scope.PREDICT])
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(SettingsError, match=r"A file of API keys can be written.*No space left"):
        key_file.create(path, "more", [Scope.PREDICT])
    assert path.read_bytes() == before and [left.name for left in path.parent.iterdir()] == ["keys.json"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"A file of API keys can be written.*nowhere"):
        key_file.create(tmp_path / "nowhere" / "keys.json", "app", [Scope.PREDICT])


def test_a_missing_file_says_how_one_is_made(path: Path) -> None:
    for use in (Keys, lambda path: key_file.revoke(path, "abcd")):
        with pytest.raises(
            SettingsError, match=rf"exists before it is used.*tidemill keys create --file {re.escape(str(path))}"
        ):
            use(path)


ENTRY = {"id": "abcd", "name": "a", "sha256": "0" * 64, "scopes": ["admin"], "created": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "truncated"),
        ("[" * 100_000, "Expected `object`"),
        ("\xff", "malformed"),
        ({"format": 2, "keys": []}, r"\$\.format"),
        ({"format": 1, "keys": [], "more": 1}, "unknown field `more`"),
        ({"format": 1, "keys": [ENTRY, ENTRY]}, "two keys have the same id"),
        ({"format": 1, "keys": [{**ENTRY, "sha256": "plain text"}]}, r"\$\.keys\[0\]\.sha256"),
        ({"format": 1, "keys": [{**ENTRY, "scopes": []}]}, r"\$\.keys\[0\]\.scopes"),
        ({"format": 1, "keys": [{**ENTRY, "scopes": ["all"]}]}, r"'all'"),
        ({"format": 1, "keys": [{**ENTRY, "id": "a_b_c"}]}, r"\$\.keys\[0\]\.id"),
        ({"format": 1, "keys": [{**ENTRY, "rate": 0}]}, r"\$\.keys\[0\]\.rate"),
        ({"format": 1, "keys": [{**ENTRY, "expires": "2026-01-01T00:00:00"}]}, r"\$\.keys\[0\]\.expires"),
    ],
)
def test_files_that_nobody_made_are_refused_and_not_written_over(
    path: Path, content: dict[str, Any] | str, text: str
) -> None:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="latin-1")
    before = path.read_bytes()
    for use in (Keys, lambda path: key_file.create(path, "a", [Scope.PREDICT])):
        with pytest.raises(SettingsError, match=rf"one that `tidemill keys create` wrote.*{text}"):
            use(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": "x" * 101}, {"scopes": []}, {"rate": 0}, {"rate": -1}, {"burst": 0}]
)
def test_keys_out_of_range_are_not_made(path: Path, wrong: dict[str, Any]) -> None:
    arguments = {"name": "app", "scopes": [Scope.PREDICT], **wrong}
    with pytest.raises(SettingsError, match=rf"A key has a name of at most 100 characters.*{next(iter(wrong))}"):
        key_file.create(path, **arguments)
    assert not path.exists()


def test_a_key_that_has_expired_is_not_made(path: Path) -> None:
    with pytest.raises(SettingsError, match=r"A key expires later than now.*2020-01-01"):
        key_file.create(path, "app", [Scope.PREDICT], expires=datetime(2020, 1, 1, tzinfo=UTC))


def test_what_is_revoked_must_be_there(path: Path) -> None:
    key, _ = key_file.create(path, "app", [Scope.PREDICT])
    with pytest.raises(SettingsError, match=rf"in the file.*'zzzz'; there are {key.id}.*keys list --file"):
        key_file.revoke(path, "zzzz")
    assert key_file.revoke(path, key.id) == key
    with pytest.raises(SettingsError, match="there are none"):
        key_file.revoke(path, key.id)


def test_the_command_knows_every_scope() -> None:
    assert set(command._SCOPES) == set(Scope)
