"""What a person sees of a bulk run on stderr: one line that changes on a terminal, else a plain line now and then."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

SECONDS_PER_LINE = 10.0
SECONDS_PER_UPDATE = 0.2


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


class Line:
    """One line on stderr: on a terminal it changes, else it is written now and then."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._began = self._spoken = time.monotonic()

    def say(self, text: Callable[[float], str]) -> None:
        """Write it, if that was not done just now. text: by the time on the monotonic clock."""
        now = time.monotonic()
        if now - self._spoken >= (SECONDS_PER_UPDATE if self._terminal else SECONDS_PER_LINE):
            self._spoken = now
            self._write(f"\r\033[K{text(now)}" if self._terminal else f"{text(now)}\n")

    def end(self) -> None:
        """Leave the terminal with an empty line to write on."""
        if self._terminal:
            self._write("\r\033[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Progress(Line):
    """
    Args:
        total: rows to come, as far as that is known; None leaves out how long it will take.
        exact: whether `total` is counted, not estimated.
    """

    def __init__(self, total: float | None, *, exact: bool, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._total, self._exact, self._rows = total, exact, 0

    def add(self, rows: int) -> None:
        self._rows += rows
        self.say(self.line)

    def line(self, now: float) -> str:
        rate = self._rows / max(now - self._began, 1e-9)
        text = f"{self._rows:,} rows"
        if self._total is not None:
            text += f" of {'' if self._exact else 'about '}{self._total:,.0f}"
        text += f", {rate:,.0f} rows/s"
        if self._total is not None and rate:
            text += f", {_duration(max(self._total - self._rows, 0) / rate)} left"
        return text


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
