"""No password or token in what a run writes."""

import sys
from enum import StrEnum
from pathlib import Path

import pytest

from tidemill import secrets

SLACK = "https://hooks.slack.com/services"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://me:hunter2@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:p@ss:w/rd@host:5432/db?x=1", "postgresql://me:***@host:5432/db?x=1"),
        ("postgresql://:hunter2@host/db", "postgresql://:***@host/db"),
        (
            "postgresql://host/db?user=me&password=hunter2&sslmode=on",
            "postgresql://host/db?user=me&password=***&sslmode=on",
        ),
        ("host=h password=hunter2 user=me", "host=h password=*** user=me"),
        ("https://h/t.csv?X-Amz-Signature=hunter2&a=b", "https://h/t.csv?X-Amz-Signature=***&a=b"),
        ("data.options.api_token=hunter2", "data.options.api_token=***"),
        ("  secret_access_key: hunter2\n  region: eu", "  secret_access_key: ***\n  region: eu"),
        ("{'token': 'hunter2', 'a': 1}", "{'token': '***', 'a': 1}"),
        ("{'account_key': 'hunter2', 'api-key': 'hunter2'}", "{'account_key': '***', 'api-key': '***'}"),
        ("AccountName=me;AccountKey=hunter2==", "AccountName=me;AccountKey=***"),
        ("private_key=hunter2 SharedAccessKey=hunter2", "private_key=*** SharedAccessKey=***"),
        ("Authorization: Bearer hunter2hunter2", "Authorization: ***"),
        ("curl -H 'X: bearer hunter2.hunter2-x' URL", "curl -H 'X: bearer ***' URL"),
        ("https://hunter2hunter2hunter2@host/x.git", "https://***@host/x.git"),
        ("https://hunter2hunter2hunter2:x-oauth-basic@host/x.git", "https://***:***@host/x.git"),
        ("notify.webhook=https://hooks.slack.com/services/T0/B0/hunter2", f"notify.webhook={SLACK}/***"),
        ("https://discord.com/api/webhooks/1/hunter2 x", "https://discord.com/api/webhooks/*** x"),
        ('password="hunter2 and more", user=me', 'password="***", user=me'),
        ("{'password': 'hunter2 and \\'more\\'', 'a': 1}", "{'password': '***', 'a': 1}"),
        ("a: 1\n  password: hunter2 and more, all of it\nb: 2", "a: 1\n  password: ***\nb: 2"),
        ("password='hunter2 and no end", "password='*** and no end"),
        (f"the key tm_1a2b3c4d_{'f0' * 32} was", "the key tm_1a2b3c4d_*** was"),
        ("ghp_hunter2hunter2hunter2 and AKIAHUNTER2HUNTER2", "ghp_*** and AKIA***"),
    ],
)
def test_what_is_secret_is_masked(text: str, masked: str) -> None:
    assert secrets.mask(text) == masked
    assert secrets.mask(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me@host/db",
        "s3://bucket/folder/*.parquet",
        "http://host:8000/path",
        "2013-01-01 00:00:00",
        "training.learning_rate=0.1 data.key=id model.width=16",
        "token: null",
        "tokens: 3",
        "postgresql://a_long_name_of_me@host/db",
        "public_key=key.pub keys=keys.json hash_key_file=hash.key",
        "send a valid key: X-API-Key or bearer tm_…",
        "private_key: null",
        "https://h/search?significant=1",
        "",
    ],
)
def test_what_is_not_stays(text: str) -> None:
    assert secrets.mask(text) == text


def test_nested_settings_are_masked_wherever_texts_stand() -> None:
    class Colour(StrEnum):
        RED = "red"

    value = {
        "connection": "postgresql://me:hunter2@h/d",
        "options": {"token": "hunter2", "password": "", "rows": 3, "x": ["a://b:hunter2@c", None]},
        "colour": Colour.RED,
    }
    hidden = secrets.hidden(value)
    assert "hunter2" not in str(hidden)
    assert hidden["options"] == {"token": "***", "password": "", "rows": 3, "x": ["a://b:***@c", None]}
    assert hidden["colour"] is Colour.RED
    assert "hunter2" in str(value)


def test_what_hydra_noted_is_masked_and_the_rest_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "0"
    (run / ".hydra").mkdir(parents=True)
    for file in (run / ".hydra" / "overrides.yaml", tmp_path / "multirun.yaml"):
        file.write_text("- data.connection=postgresql://me:hunter2@h/d\n- a=b\n")
    monkeypatch.setattr(sys, "argv", ["train.py", "data.connection=postgresql://me:hunter2@h/d"])
    secrets.clear(run)
    for file in (run / ".hydra" / "overrides.yaml", tmp_path / "multirun.yaml"):
        assert file.read_text() == "- data.connection=postgresql://me:***@h/d\n- a=b\n"
    assert sys.argv == ["train.py", "data.connection=postgresql://me:***@h/d"]
    secrets.clear(tmp_path / "nowhere")
