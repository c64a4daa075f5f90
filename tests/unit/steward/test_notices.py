"""Notices reach a real web server, are tried again where it is down, and never hold up who sends them."""

import argparse
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from patience import PATIENCE, until
from real_servers import answering
from tidemill import cli
from tidemill.commands import steward
from tidemill.steward import notices
from tidemill.steward.book import Decision, Kind
from tidemill.steward.notices import Notices
from tidemill.steward.watch import Reading, Severity

NOW = datetime(2013, 5, 1, tzinfo=UTC)
MADE = Decision(number=3, kind=Kind.PROMOTE, version="7", moment=NOW, reason="It is better.", generation=1)
HARM = Reading(
    check="missing",
    subject="visib",
    severity=Severity.HARM,
    says="visib is missing in 100% of 900 rows.",
    remedy="mend the sensor",
    log_e=9.0,
    log_threshold=3.0,
    effect=1.0,
    unit="share of rows",
    since=NOW,
)


@dataclass
class Hook:
    """A web server that refuses the first `failing` notices and keeps the others."""

    url: str = ""
    taken: list[Any] = field(default_factory=list)
    failing: int = 0

    def answer(self, method: str, body: bytes) -> tuple[int, bytes]:
        self.failing -= 1
        if self.failing >= 0:
            return 500, b""
        self.taken.append(json.loads(body))
        return 200, b""


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    with answering(made.answer) as url:
        made.url = f"{url}/"
        yield made


def test_decisions_and_alarms_are_told(hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    mine = Notices("flights", hook.url)
    mine.decided(MADE)
    mine.alarmed(HARM)
    mine.close()
    decision, alarm = hook.taken
    assert (decision["model"], decision["what"], decision["decision"]["version"]) == ("flights", "decision", "7")
    assert alarm["alarm"]["says"] == HARM.says
    assert "Decision 3: promote version 7. It is better." in caplog.text
    assert "Alarm: missing visib. visib is missing in 100% of 900 rows. Remedy: mend the sensor." in caplog.text


def test_a_notice_is_sent_again(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_PAUSE", 0.01)
    hook.failing = 2
    mine = Notices("flights", hook.url)
    mine.decided(MADE)
    until(lambda: hook.taken)
    mine.close()
    assert len(hook.taken) == 1


def test_a_webhook_that_is_down_delays_nobody_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    mine = Notices("flights", "http://127.0.0.1:9/")
    begun = time.monotonic()
    mine.decided(MADE)
    assert time.monotonic() - begun < 10  # all its tries would take longer
    mine.close(5)
    assert "The webhook did not take a notice" in caplog.text


def test_what_no_webhook_answers_is_logged_and_the_next_is_sent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notices, "_PAUSE", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as odd:
        odd.settimeout(PATIENCE)
        mine = Notices("flights", f"http://127.0.0.1:{odd.getsockname()[1]}/")
        mine.decided(MADE)
        for _ in range(notices._ATTEMPTS):
            asked, _ = odd.accept()
            asked.sendall(b"no HTTP at all\r\n\r\n")
            asked.close()
        until(lambda: "The webhook did not take a notice" in caplog.text)
        mine.decided(MADE)
        assert odd.accept()[0].close() is None
        mine.close()


def test_a_webhook_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_WAITING", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mine = Notices("flights", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        for _ in range(5):
            mine.decided(MADE)
        begun = time.monotonic()
        mine.close(0.5)
        assert time.monotonic() - begun < 10  # all its tries would take longer


def test_a_proposal_is_told_with_what_approves_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    Notices("flights", None).decided(replace(MADE, proposed=True))
    words = caplog.text.partition("(waits for: tidemill ")[2].partition(")")[0].split()
    parsed = cli._parser().parse_args(words)
    assert (parsed.command, parsed.number, parsed.model) == (steward._approve, 3, "flights")


def test_without_a_webhook_there_is_the_log(caplog: pytest.LogCaptureFixture) -> None:
    mine = Notices("flights", None)
    mine.alarmed(HARM)
    mine.close()
    assert "visib" in caplog.text


def test_a_proposal_names_the_command_that_approves_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    Notices("flights", None).decided(replace(MADE, proposed=True))
    command = re.search(r"waits for: tidemill (.+?)\)", caplog.text)
    parser = argparse.ArgumentParser()
    steward.add(parser)
    parsed = parser.parse_args(command[1].split()[1:])
    assert (parsed.number, parsed.model) == (3, "flights")
