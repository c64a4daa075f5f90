"""What can be set of serving: every wrong key, type and range is named before anything starts."""

from pathlib import Path

import pytest

from tidemill.errors import SettingsError
from tidemill.ledger.settings import Fsync, Masking
from tidemill.serve.arguments import parse

GIVEN = {"registry": "r", "model": "m"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("modell=x", "modell = 'x': no such key, there are registry, model, alias"),
        ("modell=x", "did you mean model?"),
        ("limits.row=5", "did you mean limits.rows?"),
        ("queues.wating=5", "did you mean queues.waiting?"),
        ("ledger.pth=x", "did you mean ledger.path?"),
        ("ledger.fsync=often", "ledger.fsync = 'often': must be one of never, second, always"),
        ("ledger.ship_seconds=0", "ledger.ship_seconds = 0.0: must be greater than 0"),
        ("ledger.path=s3://b/x", "ledger.wal = None: must name a local folder"),
        ("ledger=x", "ledger = 'x': must be a group of keys"),
        ("limits.rows=many", "limits.rows = 'many': must be a whole number, greater than 0"),
        ("limits.seconds=[1]", "limits.seconds = [1]: must be a finite number, greater than 0"),
        ("limits=5", "limits = 5: must be a group of keys"),
        ("replicas=0", "replicas = 0: must be 1 or greater"),
        ("replicas=1.5", "replicas = 1.5: must be a whole number, 1 or greater"),
        ("maximum=-1", "maximum = -1: must be 1 or greater"),
        (("replicas=3", "maximum=2"), "maximum = 2: must be replicas (3) or more"),
        ("threads=0", "threads = 0: "),
        ("cpus=0", "cpus = 0.0: "),
        ("watch_seconds=0", "watch_seconds = 0.0: "),
        ("drain_seconds=-1", "drain_seconds = -1.0: "),
        ("keys=5", "keys = 5: must be a path"),
        ("observers=x", "observers = 'x': must be a mapping"),
        ("observers.a=1", "observers.a = 1: must be a mapping"),
        ("limits", "A setting is given as key=value. Got: 'limits'"),
        ("=5", "A setting is given as key=value. Got: '=5'"),
        ("model.name=x", "A key leads to a setting. Got: model.name. Remedy: model is one value, not several"),
        ("threads=[", "A setting's value is YAML. Got: threads=["),
    ],
)
def test_what_is_wrong_is_named(change: str | tuple[str, ...], named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(dict(GIVEN), [change] if isinstance(change, str) else change)
    assert named in str(caught.value)


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        parse({"model": "m"}, ["replicas=0", "limits.rows=x", "nonsense=1"])
    for name in ("registry = nothing: must be set", "replicas = 0", "limits.rows = 'x'", "nonsense = 1"):
        assert name in caught.value.observed


@pytest.mark.parametrize(
    "change",
    [*(f"limits.{name}={bad}" for name in ("rows", "bytes", "seconds") for bad in (0, -1))]
    + [f"queues.{name}={bad}" for name in ("batch", "waiting") for bad in (0, -1)]
    + ["queues.shadow=-1"],
)
def test_limits_and_queues_hold_something(change: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(dict(GIVEN), [change])
    assert change.partition("=")[0] in str(caught.value)


def test_values_are_yaml_and_later_ones_win() -> None:
    changes = ["limits.rows=5", "limits.rows=7", "ledger.path=null", "ledger.fsync=always", "ledger.columns.id=mask"]
    found = parse(dict(GIVEN), [*changes, "threads=2", "observers={a.py:A: {x: 1}}", "keys=a b=c.json"])
    assert (found.limits.rows, found.limits.bytes) == (7, 16 * 2**20)
    assert found.ledger.path is None and found.ledger.fsync is Fsync.ALWAYS
    assert found.ledger.columns == {"id": Masking.MASK}
    assert found.threads == 2 and found.observers == {"a.py:A": {"x": 1}} and found.keys == Path("a b=c.json")


def test_a_model_may_be_named_like_a_number_or_a_truth_value() -> None:
    assert parse({"registry": "r", "model": "2013", "alias": "3"}).model == "2013"


def test_local_paths_are_seen_from_the_folder_of_the_command() -> None:
    given = {**GIVEN, "keys": "k.json", "ledger": {"path": "led", "wal": "w", "hash_key_file": "h"}}
    seen = parse(given).absolute("/home/me")
    assert seen.registry == "/home/me/r" and seen.keys == Path("/home/me/k.json") and seen.public_key is None
    assert (seen.ledger.path, seen.ledger.wal) == ("/home/me/led", "/home/me/w")
    assert seen.ledger.hash_key_file == "/home/me/h"
    far = {"registry": "s3://b/r", "model": "m", "ledger": {"path": "s3://b/l", "wal": "/w"}}
    seen = parse(far).absolute("/home/me")
    assert (seen.registry, seen.ledger.path, seen.ledger.wal) == ("s3://b/r", "s3://b/l", "/w")
    off = parse({**GIVEN, "ledger": {"path": None}}).absolute("/home/me")
    assert off.ledger.path is None


def test_no_password_is_in_what_is_printed_of_settings() -> None:
    storage = {"account_name": "me", "account_key": "hunter2", "endpoint": "https://me:hunter2@store.example"}
    given = {
        "registry": "s3://me:hunter2@store.example/registry",
        "model": "m",
        "ledger": {"path": "abfs://ledger", "wal": "wal", "storage_options": storage},
        "observers": {"mine:Mine": {"api-key": "hunter2", "url": "https://hooks.slack.com/services/T0/B0/hunter2"}},
    }
    made = parse(given)
    for text in (repr(made), str(made), repr(made.ledger), repr([made]), f"{made}"):
        assert "hunter2" not in text and "ledger" in text
    assert made.ledger.storage_options["account_key"] == "hunter2", "they are masked where they are printed alone"
    for wrong in (
        "ledger.storage_options={account_key: [hunter2",
        "modell={password: hunter2}",
        "limits.rows='token=hunter2'",
    ):
        with pytest.raises(SettingsError) as refused:
            parse(dict(GIVEN), [wrong])
        assert "hunter2" not in str(refused.value)
