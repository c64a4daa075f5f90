"""An observer of one's own: appends the ids of slow answers to a file.

tidemill serve --model people 'observers={"examples/extending/observer.py:Slow": {"path": "slow.txt"}}'
"""

from pathlib import Path

from tidemill.ledger.record import Answered
from tidemill.serve.hooks.observer import Observer


class Slow(Observer):
    """
    Args:
        path: of the file. milliseconds: an answer that took longer is slow.
    """

    def __init__(self, path: str, milliseconds: float = 100.0) -> None:
        self._file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 — closed by `close`
        self._limit = 1000 * milliseconds  # microseconds

    def answered(self, event: Answered) -> None:
        if event.latency > self._limit:
            self._file.write(f"{event.id} {event.latency}\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()
