"""API keys at the door: who may do what, and how often; a check takes about as long as one SHA-256.

The file is looked at again by a thread of its own, so that no request waits for it. Rates are held in each replica
for itself: n replicas let n times the rate through.
"""

import hashlib
import hmac
import logging
import math
import os
import stat
import threading
import time
from pathlib import Path

from tidemill.errors import RequestError, SettingsError
from tidemill.serve.door import key_file
from tidemill.serve.door.key_file import Key, Scope
from tidemill.serve.wire.refusals import refused

LOG = logging.getLogger("ray.serve")

__all__ = ["Key", "Keys", "Scope"]


class _Entry:
    """A key as it is checked.

    The rate is held by the generic cell rate algorithm (ITU-T I.371): of a token bucket it needs only the moment at
    which the bucket will be full again. expires: seconds since 1970; full: seconds on the monotonic clock.
    """

    __slots__ = ("digest", "expires", "full", "interval", "key", "slack")

    def __init__(self, key: Key, before: "_Entry | None") -> None:
        self.key = key
        self.digest = bytes.fromhex(key.sha256)
        self.expires = None if key.expires is None else key.expires.timestamp()
        self.interval = 0.0 if key.rate is None else 1 / key.rate
        burst = key.burst or max(1, math.ceil(key.rate or 1))  # what one second brings
        self.slack = (burst - 1) * self.interval
        self.full: float = before.full if before else 0.0


class Keys:
    """The keys that are valid now. `check` is called in one event loop, `refresh` from any thread.

    Args:
        path: a file that `tidemill keys create` made.

    Raises:
        SettingsError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._nobody = os.urandom(32)  # the digest of a secret that nobody has
        self._mark = self._logged = _mark(path)
        """Of the file: when it was read, and when a failure to read it was last logged."""
        self._entries = _entries(path, {})
        self._closed = threading.Event()
        self._follower: threading.Thread | None = None

    def check(self, presented: str | None, scope: Scope) -> Key:
        """The key that was presented, when it is good for `scope`.

        Args:
            presented: a key's text, from `Authorization: Bearer …`, `X-API-Key` or gRPC's metadata.

        Raises:
            RequestError: 401 none, unknown or expired; 403 not good for this; 429 too often, with `retry_after`.
        """
        if presented is None:
            raise _unknown("no key")
        prefix, _, rest = presented.partition("_")
        id, _, secret = rest.partition("_")
        entry = self._entries.get(id)
        digest = hashlib.sha256(secret.encode("utf-8", "replace")).digest()
        # an unknown id costs the same work and gives the same answer as a wrong secret
        same = hmac.compare_digest(digest, self._nobody if entry is None else entry.digest)
        if entry is None or not same or prefix != "tm":
            raise _unknown("a key that is not in the keys' file")
        key = entry.key
        if entry.expires is not None and time.time() >= entry.expires:
            raise _unknown(f"the key {key.name!r}, which has expired")
        if scope not in key.scopes:
            observed = f"the key {key.name!r} is good for {', '.join(key.scopes)}, not for {scope}"
            raise refused(403, "A key is good for what it is used for", observed, "use another key")
        if entry.interval:
            now = time.monotonic()
            wait = entry.full - now
            if wait > entry.slack:
                raise _too_often(key, wait - entry.slack)
            entry.full = (now if wait < 0 else entry.full) + entry.interval
        return key

    def follow(self, every: float = 1.0) -> None:
        """Look at the file again every so many seconds, until `close`."""

        def run() -> None:
            while not self._closed.wait(every):
                self.refresh()

        self._follower = threading.Thread(target=run, name="keys", daemon=True)
        self._follower.start()

    def refresh(self) -> bool:
        """Read the file again if it has changed; one that cannot be read changes nothing, is logged and tried again.

        Returns: whether there are new keys.
        """
        mark = _mark(self._path)
        if mark == self._mark:
            return False
        try:
            self._entries = _entries(self._path, self._entries)
        except (SettingsError, OSError) as error:
            if mark != self._logged:
                self._logged = mark
                LOG.error("The file of API keys was changed and cannot be read: the keys before stay valid. %s", error)
            return False
        self._mark = self._logged = mark
        LOG.warning("%d API keys are valid now, by %s", len(self._entries), self._path)
        return True

    def close(self) -> None:
        self._closed.set()
        if self._follower is not None:
            self._follower.join()


def _entries(path: Path, before: dict[str, _Entry]) -> dict[str, _Entry]:
    """Rates go on where they were: a change of the file gives nobody a new burst."""
    keys = key_file.read(path)
    if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        LOG.warning("Others than its owner can write API keys into %s: chmod 600 it", path)
    return {key.id: _Entry(key, before.get(key.id)) for key in keys}


def _mark(path: Path) -> tuple[int, int, int] | None:
    """Differs after every change: new files have a new inode or another time."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _unknown(observed: str) -> RequestError:
    remedy = "send a valid key: Authorization: Bearer tm_…"
    return refused(401, "A request presents a key that is valid here", observed, remedy)


def _too_often(key: Key, seconds: float) -> RequestError:
    rule = f"The key {key.name!r} sends at most {key.rate:g} requests a second"
    remedy = "send again after the seconds that Retry-After gives, or ask for a higher rate"
    error = refused(429, rule, "more than that", remedy)
    error.retry_after = math.ceil(seconds)
    return error
