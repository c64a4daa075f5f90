"""What can be set of serving: every wrong key, type and range is named before anything starts."""

from pathlib import Path

import pytest

from tidemill.errors import SettingsError
from tidemill.ledger.settings import Cover, Fsync
from tidemill.serve.arguments import Arguments, parse

GIVEN = {"registry": "r", "model": "m"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("modell=x", "modell: Extra inputs are not permitted (got 'x'). Remedy: did you mean model?"),
        ("limits.row=5", "did you mean limits.rows?"),
        ("queues.wating=5", "did you mean queues.waiting?"),
        ("ledger.pth=x", "did you mean ledger.path?"),
        (
            "ledger.fsync=often",
            "'never', 'second' or 'always' (got 'often'). Remedy: correct the values",
        ),
        ("ledger.ship_seconds=0", "ledger.ship_seconds must be greater than 0. Got: 0"),
        ("ledger.path=s3://b/x", "ledger.wal must name a local folder"),
        ("limits.rows=many", "limits.rows: Input should be a valid integer"),
        ("limits.seconds=[1]", "limits.seconds: Input should be a valid number"),
        ("limits=5", "limits: "),
        ("replicas=0", "replicas: Input should be greater than 0 (got 0)"),
        ("replicas=1.5", "replicas: "),
        ("maximum=-1", "maximum: "),
        (("replicas=3", "maximum=2"), "maximum must be replicas (3) or more (got 2)"),
        ("threads=0", "threads: "),
        ("cpus=0", "cpus: "),
        ("watch_seconds=0", "watch_seconds: "),
        ("drain_seconds=-1", "drain_seconds: "),
        ("keys=5", "keys: "),
        ("observers=x", "observers: "),
        ("observers.a=1", "observers.a: "),
        ("model=5", "model: "),
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
    for name in ("registry: Field required", "replicas: ", "limits.rows: ", "nonsense: "):
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
    assert found.ledger.columns == {"id": Cover.MASK}
    assert found.threads == 2 and found.observers == {"a.py:A": {"x": 1}} and found.keys == Path("a b=c.json")


def test_a_model_may_be_named_like_a_number_or_a_truth_value() -> None:
    assert parse({"registry": "r", "model": "2013", "alias": "3"}).model == "2013"


def test_local_paths_are_seen_from_the_folder_of_the_command() -> None:
    given = {**GIVEN, "keys": "k.json", "ledger": {"path": "led", "wal": "w", "hash_key_file": "h"}}
    seen = Arguments.model_validate(given).absolute("/home/me")
    assert seen.registry == "/home/me/r" and seen.keys == Path("/home/me/k.json") and seen.public_key is None
    assert (seen.ledger.path, seen.ledger.wal) == ("/home/me/led", "/home/me/w")
    assert seen.ledger.hash_key_file == "/home/me/h"
    far = {"registry": "s3://b/r", "model": "m", "ledger": {"path": "s3://b/l", "wal": "/w"}}
    seen = Arguments.model_validate(far).absolute("/home/me")
    assert (seen.registry, seen.ledger.path, seen.ledger.wal) == ("s3://b/r", "s3://b/l", "/w")
    off = Arguments.model_validate({**GIVEN, "ledger": {"path": None}}).absolute("/home/me")
    assert off.ledger.path is None


def test_no_password_is_in_what_is_printed_of_settings():
    storage = {"account_name": "me", "account_key": "hunter2", "endpoint": "https://me:hunter2@store.example"}
    given = {
        "registry": "s3://me:hunter2@store.example/registry",
        "model": "m",
        "ledger": {"path": "abfs://ledger", "wal": "wal", "storage_options": storage},
        "observers": {"mine:Mine": {"api-key": "hunter2", "url": "https://hooks.slack.com/services/T0/B0/hunter2"}},
    }
    made = Arguments.model_validate(given)
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
