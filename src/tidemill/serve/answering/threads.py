"""Blocking work beside the event loop, on threads that hold up neither other work nor the end of the process."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


def in_thread(work: Callable[..., T], *given: Any) -> "asyncio.Future[T]":
    """What `work` returns or raises, from a thread of its own; a cancelled future discards it.

    A pool's threads are waited for when the process ends, and one that hangs on a dead disk takes a place in the
    pool; a daemon thread does neither.
    """
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # from here on only the future of the event loop can be cancelled

    def run(done: "Future[T]") -> None:
        try:
            done.set_result(work(*given))
        except BaseException as error:
            done.set_exception(error)
        finally:
            del done  # the error's traceback keeps this frame, which would keep the error

    threading.Thread(target=run, args=(done,), name="beside", daemon=True).start()
    return asyncio.wrap_future(done)
