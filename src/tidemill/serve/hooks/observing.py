"""Attaches observers to a replica: events reach each on a thread of its own, after the answer has left.

A whole observer, to be named by the setting as `slow.py:Slow` (a file) or `package.module:Slow`:

    from tidemill.ledger.record import Answered
    from tidemill.serve.hooks.observer import Observer

    class Slow(Observer):
        \"\"\"Appends the ids of slow answers to a file.\"\"\"

        def __init__(self, path: str, milliseconds: float = 100.0) -> None:
            self._file, self._limit = open(path, "a"), 1000 * milliseconds

        def answered(self, event: Answered) -> None:
            if event.latency > self._limit:
                print(event.id, event.latency, file=self._file, flush=True)

        def close(self) -> None:
            self._file.close()
"""

import contextlib
import inspect
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tidemill.composition import named
from tidemill.errors import SettingsError
from tidemill.ledger.record import Answered, Label
from tidemill.serve.hooks.observer import Observer, Refused, Swapped

LOG = logging.getLogger(__name__)

Event = Answered | Label | Swapped | Refused

_METHODS = {Answered: "answered", Label: "labelled", Swapped: "swapped", Refused: "refused"}
_POLL = 0.05  # seconds; looking costs the event loop less than being woken for each event
_ROOM = 8 * 2**20  # bytes of requests
_QUIET = 60.0  # seconds between two logs of failures of one observer


class Observers:
    """All observers of one replica.

    Args:
        observers: each gets the events whose method it has overridden, in order.
        capacity, room: how many events may wait for one observer, and of how many bytes of requests; what comes on top
            is dropped for it and counted.
    """

    emit: Callable[[Event], None]
    """Hands an event over; for the event loop: it never waits and never raises."""

    def __init__(self, observers: Sequence[Observer], capacity: int = 10_000, room: int = _ROOM) -> None:
        names = _unique([type(observer).__name__ for observer in observers])
        self._deliveries = [_Delivery(*one, capacity, room) for one in zip(names, observers, strict=True)]
        self._by_event: dict[type, tuple[_Delivery, ...]] = {
            kind: tuple(delivery for delivery in self._deliveries if kind in delivery.methods) for kind in _METHODS
        }
        self.emit = self._emit if any(self._by_event.values()) else _nothing

    @property
    def dropped(self) -> dict[str, int]:
        """Events that an observer did not get, by the name of its class (a second one of a class is `Class-2`)."""
        return {delivery.name: delivery.dropped for delivery in self._deliveries}

    @property
    def failures(self) -> dict[str, int]:
        """Exceptions that an observer raised, by name."""
        return {delivery.name: delivery.failures for delivery in self._deliveries}

    def close(self, seconds: float = 5.0) -> None:
        """Deliver what waits and close every observer, for at most `seconds` in all; the rest counts as dropped."""
        self.emit = _nothing
        until = time.monotonic() + seconds
        for delivery in self._deliveries:
            delivery.stop(until)
        for delivery in self._deliveries:
            delivery.join(until)

    def _emit(self, event: Event) -> None:
        for delivery in self._by_event.get(type(event), ()):
            size = _size(event)
            waiting = delivery.given - delivery.taken
            if len(delivery.queue) < delivery.capacity and waiting + size <= delivery.room:
                delivery.given += size
                delivery.queue.append(event)
            else:
                delivery.dropped += 1


def _size(event: Event) -> int:
    return len(event.inputs) if isinstance(event, Answered) else 0


class _Delivery:
    """One observer, its queue and its thread. given, taken: bytes of requests; each is counted by one thread only."""

    def __init__(self, name: str, observer: Observer, capacity: int, room: int) -> None:
        self.name = name
        self.queue: deque[Event] = deque()
        self.capacity, self.room = capacity, room
        self.given = self.taken = 0
        self.dropped = self.failures = 0
        self.methods: dict[type, Callable[[Any], None]] = {
            kind: getattr(observer, name)
            for kind, name in _METHODS.items()
            if getattr(type(observer), name) is not getattr(Observer, name)
        }
        self._observer = observer
        self._closing = threading.Event()
        self._until = float("inf")
        self._logged = -_QUIET
        self._thread = threading.Thread(target=self._run, name=f"observer {name}", daemon=True)
        self._thread.start()

    def stop(self, until: float) -> None:
        self._until = until
        self._closing.set()

    def join(self, until: float) -> None:
        self._thread.join(max(0.0, until - time.monotonic()))
        self.dropped += len(self.queue)  # the thread takes up nothing more, if it has not ended

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(_POLL)
            while self.queue and time.monotonic() < self._until:
                event = self.queue.popleft()
                self.taken += _size(event)
                self._call(self.methods[type(event)], event)
        self._call(self._observer.close)

    def _call(self, method: Callable[..., None], *event: Event) -> None:
        try:
            method(*event)
        except BaseException:  # a panic of Rust's, or sys.exit(), must not end the thread either
            self.failures += 1
            now = time.monotonic()
            if now - self._logged >= _QUIET:
                self._logged = now
                LOG.exception("Observer %s failed (%d so far); answers are not affected", self.name, self.failures)


def load(spec: str, **options: Any) -> Observer:
    """The observer that a setting names.

    Raises:
        SettingsError: as `find`, or it cannot be made.
    """
    found = find(spec, **options)
    try:
        return found(**options)
    except Exception as error:
        raise _unmade(spec, options, error) from error


def find(spec: str, **options: Any) -> type[Observer]:
    """The class of an observer that a setting names.

    Args:
        spec: package.module:Class, or path/to/file.py:Class.
        options: for the class's constructor.

    Raises:
        SettingsError: there is no such module, file or class, it is no `Observer`, or takes other options.
    """
    with _here_too():
        found = named(spec, what="An observer", kind="Class")
    if not isinstance(found, type) or not issubclass(found, Observer):
        raise SettingsError(
            "An observer is a subclass of tidemill.serve.hooks.observer.Observer",
            observed=f"{spec} is {found!r:.200}",
            remedy=f"write class {spec.rpartition(':')[2]}(Observer)",
        )
    try:
        inspect.signature(found).bind(**options)
    except TypeError as error:
        raise _unmade(spec, options, error) from error
    return found


@contextlib.contextmanager
def _here_too() -> Iterator[None]:
    """A module in the current folder is found, after all that are installed: it can stand in the place of none."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.reverse()  # its last entry: others with the same path are not ours
        sys.path.remove(here)
        sys.path.reverse()


def _unmade(spec: str, options: dict[str, Any], error: Exception) -> SettingsError:
    return SettingsError(
        "An observer can be made from its options",
        observed=f"{spec} with {sorted(options) or 'no options'}: {type(error).__name__}: {error}",
        remedy="correct the options, or the constructor",
    )


def _unique(names: Sequence[str]) -> list[str]:
    given: list[str] = []
    for index, name in enumerate(names):
        before = list(names[:index]).count(name)
        given.append(f"{name}-{before + 1}" if before else name)
    return given


def _nothing(event: Event) -> None:
    """What `emit` is while nobody listens."""
