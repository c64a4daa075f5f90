"""SECURITY.md names the test that holds each of its sentences; each of them is there, and each defence has one."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def _section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def test_every_test_that_it_names_is_there() -> None:
    named = {*re.findall(r"`(test_\w+)`", PAGE)}
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 50 and named <= {*re.findall(r"def (test_\w+)\(", tests)}


def test_every_defence_and_limit_names_one() -> None:
    for title in ("What is defended", "Limits of a request"):
        rows = [line for line in _section(title).splitlines() if line.startswith("|")][2:]
        assert len(rows) > 15
        for row in rows:
            last = row.rstrip("|").rpartition("|")[2]
            assert "`test_" in last or "HAProxy's own" in last, row[:80]


def test_every_place_that_it_names_is_there() -> None:
    for place in re.findall(r"`((?:serve|bundle|ledger|steward|bulk)/[\w/]+\.py|cli\.py|secrets\.py)`", PAGE):
        assert (ROOT / "src/tidemill" / place).is_file(), place
