"""What is said while a replay runs, to a terminal and to a file."""

import io
from datetime import UTC, datetime

import pytest

from tidemill.bulk import progress
from tidemill.replay.live.progress import Progress

LATEST = datetime(2016, 5, 1, tzinfo=UTC)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_says_how_far_it_is_and_how_long_it_will_take() -> None:
    shown = Progress(1_000, stream=io.StringIO())
    began = shown._began
    assert shown.line(began + 100, LATEST, 250) == "2016-05-01: 250 of 1,000 records (25%), about 5 min left"
    assert shown.line(began + 10, LATEST, 800, ", champion 2").endswith("(80%), champion 2, about 2 s left")
    assert shown.line(began + 4_000, LATEST, 250).endswith("about 3 h 20 min left")


def test_a_line_now_and_then_or_one_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    file, terminal = io.StringIO(), Terminal()
    for stream in (file, terminal):
        shown = Progress(10, stream=stream)
        now = [shown._began]
        monkeypatch.setattr(progress.time, "monotonic", lambda now=now: now[0])
        for sent in range(1, 11):
            now[0] += 1.5
            shown.show(LATEST, sent)
        shown.end()
    assert len(file.getvalue().splitlines()) == 1, "each ten seconds"
    assert terminal.getvalue().count("\r\033[K2016-05-01") == 10 and terminal.getvalue().endswith("\r\033[K")
