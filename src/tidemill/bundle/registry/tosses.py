"""The secret of a canary's tosses (serve/answering/choice.py), beside a model's aliases, for their owner alone.

Without it a client could compute beforehand which of its keys meet the challenger. It is made with the first canary and
stays: with another one, keys would change sides.
"""

import secrets

from tidemill.bundle.registry.store import Store

_NAME = "tosses.key"


def read(store: Store, model: str) -> bytes:
    """Empty while no canary was begun since there are such secrets.

    Raises:
        ValueError, OSError: it cannot be read.
    """
    content = store.read(model, _NAME)
    return b"" if content is None else bytes.fromhex(content.decode("ascii"))


def make(store: Store, model: str) -> None:
    """Called by a writer that keeps others out, before a canary begins."""
    if store.read(model, _NAME) is None:
        store.replace(model, _NAME, secrets.token_hex(32).encode(), private=True)
