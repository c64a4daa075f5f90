"""SIGUSR1: "finish now with the best so far". It never ends the process, whenever it comes."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

LOG = logging.getLogger(__name__)
NUMBER: signal.Signals | None = getattr(signal, "SIGUSR1", None)
"""Windows has none."""
_EARLY = "SIGUSR1: training has not begun, so there is nothing to finish with yet. Ctrl-C stops the run"
_LATE = "SIGUSR1: training has ended already; the run goes on to its end"


class Request(Protocol):
    """Whether somebody has asked: a `multiprocessing.Event` where several processes must know."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...


class Flag:
    """A request that one process knows of; setting it takes no lock, so a signal's handler may do it anywhere."""

    def __init__(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True


def await_training() -> None:
    """From here on to `finishing`, the signal is answered with a line in the log."""
    _handle(_EARLY)


@contextmanager
def finishing(request: Request) -> Iterator[None]:
    """While the block runs, the signal sets `request`; afterwards it is answered with a line in the log."""
    if _handle("SIGUSR1: training ends with the best so far", request):
        LOG.info("To end training early with the best so far (it is evaluated as usual): kill -USR1 %d", os.getpid())
    try:
        yield
    finally:
        _handle(_LATE)


def _handle(answer: str, request: Request | None = None) -> bool:
    """Whether the signal can be handled here: only a main thread hears it."""
    if NUMBER is None or threading.current_thread() is not threading.main_thread():
        return False

    def heard(number: int, frame: FrameType | None) -> None:
        if request is not None:
            request.set()
        LOG.info(answer)

    signal.signal(NUMBER, heard)
    return True
