"""How long tests wait for what must come: one limit, so long that no busy machine reaches it.

A limit is there to end a test that would wait for ever, not to measure: nothing is waited for longer than it takes.
What must *not* come is never looked for after a pause; tests wait for something that comes after it.
"""

import asyncio
import time
from collections.abc import Callable

PATIENCE = 240.0
"""Seconds."""


def until(holds: Callable[[], object], wanted: object = "what is waited for", seconds: float = PATIENCE) -> None:
    """Return as soon as `holds` does.

    Args:
        wanted: what never came, for the failure; a function is called then.
    """
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{wanted() if callable(wanted) else wanted} did not come in {seconds:.0f} s"
        time.sleep(0.01)


async def until_async(holds: Callable[[], object], wanted: object = "what is waited for") -> None:
    """As `until`, while the event loop turns."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"{wanted() if callable(wanted) else wanted} did not come in {PATIENCE:.0f} s"
        await asyncio.sleep(0.005)
