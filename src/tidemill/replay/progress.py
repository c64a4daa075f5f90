"""What a person sees of a replay under way on stderr: one line that changes on a terminal, else one now and then."""

import sys
import time
from datetime import datetime
from typing import TextIO

from tidemill.bulk.progress import SECONDS_PER_LINE, SECONDS_PER_UPDATE


class Progress:
    """
    Args:
        total: records to come.
    """

    def __init__(self, total: int, *, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._began = self._spoken = time.monotonic()

    def show(self, latest: datetime, sent: int, more: str = "") -> None:
        """Say how far it is, if it was not said just now.

        Args:
            latest: moment of the newest record. sent: records, in all.
        """
        now = time.monotonic()
        if now - self._spoken >= (SECONDS_PER_UPDATE if self._terminal else SECONDS_PER_LINE):
            self._spoken = now
            line = self.line(now, latest, sent, more)
            self._write(f"\r\033[K{line}" if self._terminal else f"{line}\n")

    def clear(self) -> None:
        """Leave the terminal with an empty line to write on."""
        if self._terminal:
            self._write("\r\033[K")

    def line(self, now: float, latest: datetime, sent: int, more: str = "") -> str:
        left = (now - self._began) / max(sent, 1) * (self._total - sent)
        share = sent / max(self._total, 1)
        return f"{latest:%Y-%m-%d}: {sent:,} of {self._total:,} records ({share:.0%}){more}, about {_long(left)} left"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _long(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(1, round(seconds))} s"
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
