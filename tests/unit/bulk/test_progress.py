"""Progress in words."""

import io

import pytest

from tidemill.bulk import progress
from tidemill.bulk.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_say_rows_rate_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock, 150.0))
    stream = io.StringIO()
    shown = Progress(1_000_000, exact=True, stream=stream)
    shown.add(10_000)
    shown.end()
    assert stream.getvalue() == "10,000 rows of 1,000,000, 200 rows/s, 1 h 22 min left\n"
    assert shown.line(100.1) == "10,000 rows of 1,000,000, 100,000 rows/s, 10 s left"
    about = Progress(1_234.5, exact=False, stream=stream)
    about.add(1_000)
    assert about.line(152.0) == "1,000 rows of about 1,234, 500 rows/s, 0 s left"
    unknown = Progress(None, exact=False, stream=stream)
    assert unknown.line(152.0) == "0 rows, 0 rows/s"
    assert progress._duration(61) == "1 min 01 s"


def test_nothing_is_said_between_two_lines() -> None:
    stream = io.StringIO()
    shown = Progress(None, exact=True, stream=stream)
    for _ in range(100):
        shown.add(1)
    assert stream.getvalue() == ""


def test_on_a_terminal_one_line_changes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock, 101.0))
    stream = Terminal()
    shown = Progress(None, exact=True, stream=stream)
    shown.add(500)
    shown.end()
    assert stream.getvalue() == "\r\033[K500 rows, 500 rows/s\r\033[K"
