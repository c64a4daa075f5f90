"""A state as a steward finds it that is started again: stored, and read from the file."""

import json
from typing import TypeVar

from tidemill.steward.snapshots import plain, restored

T = TypeVar("T")


def reread(state: T) -> T:
    return restored(type(state), json.loads(json.dumps(plain(state), allow_nan=False)))
