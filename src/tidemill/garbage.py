"""Python's garbage collector, kept from looking again and again through what will never be garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """For blocks that make very many objects and nearly no garbage: importing torch, exporting a network.

    Half a million objects come from imports, and each collection visits all of them. What is there at the end of the
    block is taken out of later collections as well.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
