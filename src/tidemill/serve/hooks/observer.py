"""Observers: what a replica tells about its work, and whom. An observer of one's own is one file and one setting.

`tidemill.serve.hooks.observing` loads and feeds them; a whole one stands there.
"""

from dataclasses import dataclass

from tidemill.ledger.record import Answered, Label


@dataclass(frozen=True, slots=True)
class Swapped:
    """A replica's champion or challenger has changed. `before`, `after`: versions; None where there is none."""

    alias: str
    before: str | None
    after: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A request, or a version that was offered, was not taken. `reason`: one word for counting, like "overload"."""

    what: str
    reason: str
    status: int | None = None
    error: str | None = None


class Observer:
    """Override what you care about; the other events are passed over.

    Methods run on one thread of the observer's own in each replica, in the order of the events, and after the answer
    has left: an observer can delay or fail no answer and no other observer. Where it falls behind, the newest events
    are dropped for it and counted; what it raises is logged (once a minute) and counted. `close` comes last, on that
    thread too.
    """

    def answered(self, event: Answered) -> None: ...

    def labelled(self, event: Label) -> None: ...

    def swapped(self, event: Swapped) -> None: ...

    def refused(self, event: Refused) -> None: ...

    def close(self) -> None: ...
