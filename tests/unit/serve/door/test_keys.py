import contextlib
import json
import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from keys_parts import path, refusal

from patience import until
from tidemill.commands import keys as command
from tidemill.errors import RequestError
from tidemill.serve.door import key_file
from tidemill.serve.door.keys import Keys, Scope

__all__ = ["path"]


def test_a_key_is_good_for_its_scopes_and_no_other(path: Path) -> None:
    key, text = key_file.create(path, "app", [Scope.PREDICT, Scope.FEEDBACK, Scope.PREDICT])
    keys = Keys(path)
    assert keys.check(text, Scope.PREDICT) == key and keys.check(text, Scope.FEEDBACK).name == "app"
    for scope in (Scope.ADMIN, Scope.METRICS):
        error = refusal(keys, text, scope)
        assert error.status == 403
        assert str(error).startswith(
            "A key is good for what it is used for. Got: the key 'app' is good for predict, feed"
        )


def test_strangers_all_get_the_same_answer(path: Path) -> None:
    key, text = key_file.create(path, "app", [Scope.PREDICT])
    other = key_file.create(path, "other", [Scope.PREDICT])[1]
    keys = Keys(path)
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


def test_unknown_ids_cost_the_same_work(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = key_file.create(path, "app", [Scope.PREDICT])
    keys, compared = Keys(path), []
    real = key_file.hashlib.sha256
    monkeypatch.setattr(
        "tidemill.serve.door.keys.hashlib.sha256", lambda content: compared.append(content) or real(content)
    )
    for presented in (f"tm_{key.id}_a", "tm_nobody_a"):
        refusal(keys, presented)
    assert compared == [b"a", b"a"]


def test_keys_expire(path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1.2)
    key, text = key_file.create(path, "app", [Scope.PREDICT], expires=soon)
    keys = Keys(path)
    assert keys.check(text, Scope.PREDICT) == key
    content = json.loads(path.read_text())
    content["keys"][0]["expires"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(content))
    error = refusal(Keys(path), text)
    assert error.status == 401 and "the key 'app', which has expired" in str(error)
    assert command._expiry(datetime(2020, 1, 1, tzinfo=UTC)) == "2020-01-01 (expired)"


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = staticmethod(time.time)


def test_a_rate_lets_a_burst_through_and_then_so_many_a_second(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("tidemill.serve.door.keys.time", clock)
    text = key_file.create(path, "app", [Scope.PREDICT], rate=4, burst=6)[1]
    other = key_file.create(path, "other", [Scope.PREDICT])[1]
    keys = Keys(path)

    def passed(asked: int) -> int:
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


def test_retry_after_is_when_the_next_request_passes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("tidemill.serve.door.keys.time", clock)
    text = key_file.create(path, "app", [Scope.PREDICT], rate=0.1)[1]
    keys = Keys(path)
    keys.check(text, Scope.PREDICT)
    assert refusal(keys, text).retry_after == 10
    clock.now += 7.5
    assert refusal(keys, text).retry_after == 3
    clock.now += 3
    keys.check(text, Scope.PREDICT)


def test_a_changed_file_is_read_again_and_gives_nobody_a_new_burst(path: Path) -> None:
    text = key_file.create(path, "app", [Scope.PREDICT], rate=0.001)[1]
    keys = Keys(path)
    assert not keys.refresh()
    keys.check(text, Scope.PREDICT)
    new, other = key_file.create(path, "new", [Scope.PREDICT])
    assert refusal(keys, other).status == 401 and keys.refresh() and keys.check(other, Scope.PREDICT) == new
    assert refusal(keys, text).status == 429
    key_file.revoke(path, new.id)
    assert keys.refresh() and refusal(keys, other).status == 401


def test_a_broken_file_keeps_the_keys_before_and_is_logged_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = key_file.create(path, "app", [Scope.PREDICT])[1]
    keys = Keys(path)
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
def test_a_read_that_fails_once_leaves_no_revoked_key_valid(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    """EMFILE, ESTALE: the file is as it should be, and will not change again."""
    key, text = key_file.create(path, "app", [Scope.PREDICT])
    keys = Keys(path)
    key_file.revoke(path, key.id)
    real, calls = getattr(type(path), failing), []

    def once(self: Any, *more: Any, **named: Any) -> Any:
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


def accepts(keys: Keys, text: str) -> bool:
    with contextlib.suppress(RequestError):
        return bool(keys.check(text, Scope.PREDICT))
    return False


def test_a_thread_follows_the_file(path: Path) -> None:
    key, text = key_file.create(path, "app", [Scope.PREDICT])
    keys = Keys(path)
    keys.follow(0.01)
    try:
        key_file.revoke(path, key.id)
        until(lambda: not accepts(keys, text), "the end of the key")
        assert refusal(keys, text).status == 401
    finally:
        keys.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "keys"]
    Keys(path).close()
