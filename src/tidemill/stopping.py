"""How a process that runs until it is stopped hears of its end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set while the block runs.

    A signal that is ignored already stays ignored. A script that starts a job with `&` has it ignore SIGINT, as a
    Ctrl-C at that terminal is meant for the script; such a job is ended by SIGTERM. Only a main thread hears signals.
    """
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for number in heard:
            signal.signal(number, before[number] or signal.SIG_DFL)
