"""How a process learns that it is to stop: by a signal, or from the process that started it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


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


@contextmanager
def deaf_to_interrupts(*, multiprocessing: bool) -> Iterator[None]:
    """Processes that are started in the block never receive SIGINT, not even while Python imports in them.

    Ctrl-C reaches every process of a terminal's group, and each would print a traceback of its own; the process that
    starts them hears of it when the block ends, and stops them.

    multiprocessing: whether that module starts them. Its resource tracker, which starts with the first process,
    unblocks SIGINT in the one that starts it (multiprocessing/resource_tracker.py, ensure_running): it must run before.
    """
    if multiprocessing:
        resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
