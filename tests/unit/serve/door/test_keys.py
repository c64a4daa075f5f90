import contextlib
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from patience import until
from tidemill.commands import keys as command
from tidemill.errors import RequestError, SettingsError
from tidemill.serve.door import key_file
from tidemill.serve.door.keys import Keys, Scope


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


def refusal(keys, presented, scope=Scope.PREDICT):
    with pytest.raises(RequestError) as caught:
        keys.check(presented, scope)
    return caught.value


def test_a_key_is_good_for_its_scopes_and_no_other(path):
    key, text = key_file.create(path, "app", [Scope.PREDICT, Scope.FEEDBACK, Scope.PREDICT])
    keys = Keys.read(path)
    assert keys.check(text, Scope.PREDICT) == key and keys.check(text, Scope.FEEDBACK).name == "app"
    for scope in (Scope.ADMIN, Scope.METRICS):
        error = refusal(keys, text, scope)
        assert error.status == 403
        assert str(error).startswith(
            "A key is good for what it is used for. Got: the key 'app' is good for predict, feed"
        )


def test_strangers_all_get_the_same_answer(path):
    key, text = key_file.create(path, "app", [Scope.PREDICT])
    other = key_file.create(path, "other", [Scope.PREDICT])[1]
    keys = Keys.read(path)
    secret = text.split("_")[2]
    wrong = [
        "", "tm", "tm_", "tm__", f"tm_{key.id}_", f"tm_{key.id}", f"xx_{key.id}_{secret}", f"tm_{key.id}_{secret}x",
        f"tm_{key.id}_{secret[:-1]}", f"tm_{key.id}_{other.split('_')[2]}", f"tm_00000000_{secret}", secret, f" {text}",
        f"tm_{key.id}_{key.sha256}", "ü\udce4\x00" * 9, "_" * 1000,
    ]  # fmt: skip
    texts = {str(refusal(keys, presented)) for presented in wrong}
    assert texts == {
        "A request presents a key that is valid here. Got: a key that is not in the keys' file. "
        "Remedy: send a valid key: Authorization: Bearer tm_…."
    }
    assert {refusal(keys, presented).status for presented in wrong} == {401}
    assert "Got: no key." in str(refusal(keys, None)) and refusal(keys, None).status == 401


def test_unknown_ids_cost_the_same_work(path, monkeypatch):
    key, _ = key_file.create(path, "app", [Scope.PREDICT])
    keys, compared = Keys.read(path), []
    real = key_file.hashlib.sha256
    monkeypatch.setattr(
        "tidemill.serve.door.keys.hashlib.sha256", lambda content: compared.append(content) or real(content)
    )
    for presented in (f"tm_{key.id}_a", "tm_nobody_a"):
        refusal(keys, presented)
    assert compared == [b"a", b"a"]


def test_keys_expire(path):
    soon = datetime.now(UTC) + timedelta(seconds=1.2)
    key, text = key_file.create(path, "app", [Scope.PREDICT], expires=soon)
    keys = Keys.read(path)
    assert keys.check(text, Scope.PREDICT) == key
    content = json.loads(path.read_text())
    content["keys"][0]["expires"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(content))
    error = refusal(Keys.read(path), text)
    assert error.status == 401 and "the key 'app', which has expired" in str(error)
    assert command._expiry(datetime(2020, 1, 1, tzinfo=UTC)) == "2020-01-01 (expired)"


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now

    time = staticmethod(time.time)


def test_a_rate_lets_a_burst_through_and_then_so_many_a_second(path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("tidemill.serve.door.keys.time", clock)
    text = key_file.create(path, "app", [Scope.PREDICT], rate=4, burst=6)[1]
    other = key_file.create(path, "other", [Scope.PREDICT])[1]
    keys = Keys.read(path)

    def passed(asked):
        count = 0
        for _ in range(asked):
            try:
                keys.check(text, Scope.PREDICT)
                count += 1
            except RequestError as error:
                assert error.status == 429 and error.retry_after == 1
                assert "The key 'app' sends at most 4 requests a second. Got: more than that" in str(error)
        return count

    assert passed(20) == 6
    clock.now += 0.25
    assert passed(5) == 1
    clock.now += 1
    assert passed(9) == 4
    clock.now += 1000
    assert passed(20) == 6, "a rest fills the bucket, no more"
    for _ in range(100):
        keys.check(other, Scope.PREDICT)


def test_retry_after_is_when_the_next_request_passes(path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("tidemill.serve.door.keys.time", clock)
    text = key_file.create(path, "app", [Scope.PREDICT], rate=0.1)[1]
    keys = Keys.read(path)
    keys.check(text, Scope.PREDICT)
    assert refusal(keys, text).retry_after == 10
    clock.now += 7.5
    assert refusal(keys, text).retry_after == 3
    clock.now += 3
    keys.check(text, Scope.PREDICT)


def test_a_changed_file_is_read_again_and_gives_nobody_a_new_burst(path):
    text = key_file.create(path, "app", [Scope.PREDICT], rate=0.001)[1]
    keys = Keys.read(path)
    assert not keys.refresh()
    keys.check(text, Scope.PREDICT)
    new, other = key_file.create(path, "new", [Scope.PREDICT])
    assert refusal(keys, other).status == 401 and keys.refresh() and keys.check(other, Scope.PREDICT) == new
    assert refusal(keys, text).status == 429
    key_file.revoke(path, new.id)
    assert keys.refresh() and refusal(keys, other).status == 401


def test_a_broken_file_keeps_the_keys_before_and_is_logged_once(path, caplog):
    text = key_file.create(path, "app", [Scope.PREDICT])[1]
    keys = Keys.read(path)
    good = path.read_bytes()
    for broken in (b"{", None):
        caplog.clear()
        path.unlink() if broken is None else path.write_bytes(broken)
        for _ in range(3):
            assert not keys.refresh()
        keys.check(text, Scope.PREDICT)
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert "the keys before stay valid" in caplog.text
    path.write_bytes(good)
    assert keys.refresh()


@pytest.mark.parametrize("failing", ["read_bytes", "stat"])
def test_a_read_that_fails_once_leaves_no_revoked_key_valid(path, monkeypatch, caplog, failing):
    """EMFILE, ESTALE: the file is as it should be, and will not change again."""
    key, text = key_file.create(path, "app", [Scope.PREDICT])
    keys = Keys.read(path)
    key_file.revoke(path, key.id)
    real, calls = getattr(type(path), failing), []

    def once(self, *more, **named):
        calls.append(self)
        if len(calls) == (1 if failing == "read_bytes" else 2):  # the first look is for the mark
            raise OSError(24, "Too many open files")
        return real(self, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(type(path), failing, once)
        assert not keys.refresh()
    keys.check(text, Scope.PREDICT)
    assert "Too many open files" in caplog.text
    assert keys.refresh() and refusal(keys, text).status == 401 and not keys.refresh()


def accepts(keys, text):
    with contextlib.suppress(RequestError):
        return bool(keys.check(text, Scope.PREDICT))
    return False


def test_a_thread_follows_the_file(path):
    key, text = key_file.create(path, "app", [Scope.PREDICT])
    keys = Keys.read(path)
    keys.follow(0.01)
    try:
        key_file.revoke(path, key.id)
        until(lambda: not accepts(keys, text), "the end of the key")
        assert refusal(keys, text).status == 401
    finally:
        keys.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "keys"]
    Keys.read(path).close()


def test_no_secret_is_written_anywhere(path, caplog):
    caplog.set_level(logging.DEBUG)
    key, text = key_file.create(path, "app", [Scope.PREDICT])
    secret = text.split("_")[2]
    keys = Keys.read(path)
    said = [repr(key), str(key), repr(keys), str(refusal(keys, text, Scope.ADMIN)), str(refusal(keys, text + "x"))]
    path.write_text("{")
    keys.refresh()
    said += [caplog.text, path.read_text()]
    assert all(secret not in one and key.sha256 not in one for one in said)
    assert key.sha256 == hashlib.sha256(secret.encode()).hexdigest() and repr(key) == f"Key({key.id}, 'app', predict)"


def test_the_file_is_its_owners_and_others_who_may_write_it_are_reported(path, caplog):
    before = os.umask(0)
    try:
        key_file.create(path, "app", [Scope.PREDICT])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    Keys.read(path)
    assert not caplog.records
    path.chmod(0o622)
    Keys.read(path)
    assert f"Others than its owner can write API keys into {path}" in caplog.text


def test_many_writers_lose_no_key(path):
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


def test_a_failing_write_leaves_the_file_as_it_was(path, monkeypatch):
    key_file.create(path, "app", [Scope.PREDICT])
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(key_file.os, "fsync", full)
    with pytest.raises(SettingsError, match=r"A file of API keys can be written.*No space left"):
        key_file.create(path, "more", [Scope.PREDICT])
    assert path.read_bytes() == before and [left.name for left in path.parent.iterdir()] == ["keys.json"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"A file of API keys can be written.*nowhere"):
        key_file.create(tmp_path / "nowhere" / "keys.json", "app", [Scope.PREDICT])


def test_a_missing_file_says_how_one_is_made(path):
    for use in (Keys.read, lambda path: key_file.revoke(path, "abcd")):
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
def test_files_that_nobody_made_are_refused_and_not_written_over(path, content, text):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="latin-1")
    before = path.read_bytes()
    for use in (Keys.read, lambda path: key_file.create(path, "a", [Scope.PREDICT])):
        with pytest.raises(SettingsError, match=rf"one that `tidemill keys create` wrote.*{text}"):
            use(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": "x" * 101}, {"scopes": []}, {"rate": 0}, {"rate": -1}, {"burst": 0}]
)
def test_keys_out_of_range_are_not_made(path, wrong):
    arguments = {"name": "app", "scopes": [Scope.PREDICT], **wrong}
    with pytest.raises(SettingsError, match=rf"A key has a name of at most 100 characters.*{next(iter(wrong))}"):
        key_file.create(path, **arguments)
    assert not path.exists()


def test_a_key_that_has_expired_is_not_made(path):
    with pytest.raises(SettingsError, match=r"A key expires later than now.*2020-01-01"):
        key_file.create(path, "app", [Scope.PREDICT], expires=datetime(2020, 1, 1, tzinfo=UTC))


def test_what_is_revoked_must_be_there(path):
    key, _ = key_file.create(path, "app", [Scope.PREDICT])
    with pytest.raises(SettingsError, match=rf"in the file.*'zzzz'; there are {key.id}.*keys list --file"):
        key_file.revoke(path, "zzzz")
    assert key_file.revoke(path, key.id) == key
    with pytest.raises(SettingsError, match="there are none"):
        key_file.revoke(path, key.id)


def test_the_command_knows_every_scope():
    assert set(command._SCOPES) == set(Scope)
