"""No password or token in what a run writes."""

import sys
from enum import StrEnum
from pathlib import Path

import pytest

from tidemill import secrets


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
