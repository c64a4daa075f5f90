"""Blocking work beside the event loop, on threads that hold up neither other work nor the end of the process."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> "asyncio.Future[T]":
    """What `work` returns or raises, from a thread of its own; a cancelled future discards it.

    A pool's threads are waited for when the process ends, and one that hangs on a dead disk takes a place in the
    pool; a daemon thread does neither.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None = None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def post(value: T | None, error: BaseException | None = None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, value, error)

    def run() -> None:
        try:
            value = work()
        except BaseException as error:  # not kept in a variable: its traceback would keep this frame, and it that
            post(None, error)
        else:
            post(value)

    threading.Thread(target=run, name="beside", daemon=True).start()
    return future
