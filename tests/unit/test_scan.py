"""What CI's look for secrets and vulnerabilities finds, and what it lets pass."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "scripts/scan.py"


@pytest.fixture(scope="module")
def scan() -> Any:
    found = importlib.util.spec_from_file_location("scan", PROGRAM)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


CHANCE = "0123456789abcdef" * 4
SECRETS = {
    "a key of Tidemill's": f"curl -H 'X-API-Key: tm_1a2b3c4d_{CHANCE}'",
    "a private key": "-----BEGIN EC " + "PRIVATE KEY-----",
    "a token of a known form": f"push to https://gh{'p'}_{CHANCE[:36]}@host",
    "a webhook's address": f"https://hooks.slack.com/services/T{'0' * 8}/B{'0' * 8}/{CHANCE[:24]}",
    "a password in a URL": f"postgresql://me:{CHANCE[:20]}xyz@host/db",
    "a value of a secret's name": f'storage = {{"account_key": "{CHANCE}xyzuvw"}}',
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_found_and_not_shown(scan: Any, kind: str) -> None:
    found = list(scan.findings([("a/file.py", f"\n{SECRETS[kind]}\n")]))
    assert f"a/file.py:2: {kind}" in found
    assert CHANCE[:20] not in "".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "postgresql://me:hunter2@host/db",
        "password=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        'remedy="send a valid key: Authorization: Bearer tm_…"',
        "url = f'postgresql://{user}:{password}@{host}/db'",
        '"secret": "secrets.token_hex(32)"',
        "tokens = rows * 16",
    ],
)
def test_what_is_none_passes(scan: Any, line: str) -> None:
    assert list(scan.findings([("file", line)])) == []


def test_the_tree_holds_none(scan: Any) -> None:
    assert set(scan.FORMS) == set(SECRETS)
    assert scan.secrets() == 0
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "scan.py packages" in done.stderr


def test_a_vulnerable_package_fails_and_an_index_out_of_reach_does_not(
    scan: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {"name": "x", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}
    assert scan.told([bad, {"name": "y", "skip_reason": "not found"}]) == 1
    assert scan.told([{"name": "x", "version": "2", "vulns": []}]) == 0
    said = capsys.readouterr().out
    assert "x 1: PYSEC-1, mended in 2" in said and "in 1 packages; nothing is known of 1 others" in said

    def unreached(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(scan.venv, "create", unreached)
    assert scan.packages(PROGRAM) == 0
    assert "were not looked for: OSError: no route to host" in capsys.readouterr().out
