"""What a person sees of a replay under way on stderr: one line that changes on a terminal, else one now and then."""

from datetime import datetime
from typing import TextIO

from tidemill.bulk.progress import Line


class Progress(Line):
    """
    Args:
        total: records to come.
    """

    def __init__(self, total: int, *, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._total = total

    def show(self, latest: datetime, sent: int, more: str = "") -> None:
        """Say how far it is, if it was not said just now.

        Args:
            latest: moment of the newest record. sent: records, in all.
        """
        self.say(lambda now: self.line(now, latest, sent, more))

    def line(self, now: float, latest: datetime, sent: int, more: str = "") -> str:
        left = (now - self._began) / max(sent, 1) * (self._total - sent)
        share = sent / max(self._total, 1)
        return f"{latest:%Y-%m-%d}: {sent:,} of {self._total:,} records ({share:.0%}){more}, about {_long(left)} left"


def _long(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(1, round(seconds))} s"
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
