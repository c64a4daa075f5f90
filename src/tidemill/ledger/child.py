"""The shipping process that a ledger keeps beside it: started, started again when it dies, told when to end.

It takes what answering leaves of the processors. Where that is nothing for long, it is started once more as one that
takes its part: what waits would fill the disk.

It gets its settings, secrets of the object store included, through a pipe, and ends when that pipe does: also when
the process that holds the other end was killed.
"""

import contextlib
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from tidemill.ledger.settings import LedgerSettings, Note
from tidemill.ledger.wal import SUFFIX
from tidemill.stopping import deaf_to_interrupts

_LONGEST_DELAY = 60.0  # seconds
_BEHIND = 120.0
"""Seconds that what is recorded may wait, besides the usual, before shipping takes its part of the processors."""
_BRIEFLY = 3.0  # seconds that the end is waited for before it does so
LOG = logging.getLogger(__name__)


class Child:
    """One shipping process. `watch` is to be called about once a second, by one thread."""

    def __init__(self, settings: LedgerSettings, model: str, segments: Path, writer: str) -> None:
        self.failures = 0
        """How often the process has died."""
        self._model, self._settings = model, settings
        self._segments = segments
        self._waits = True  # for processors that nobody else wants
        self._command = [sys.executable, "-P", "-m", "tidemill.ledger.ship", str(segments), "--follow", writer]
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._next = 0.0
        self._delay = 1.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def watch(self) -> None:
        """Start the process if there is none and its time has come; count it when it has died."""
        now = time.monotonic()
        if self._process is not None and self._process.poll() is None:
            self._weigh(now)
        if self._process is not None and self._process.poll() is not None:
            self._delay = 1.0 if now - self._started > _LONGEST_DELAY else min(self._delay * 2, _LONGEST_DELAY)
            self._next = now + self._delay
            LOG.error(
                "the ledger's shipping process ended with %s (failure %d); entries wait on the local disk, next try in "
                "%.0f s",
                self._process.returncode,
                self.failures + 1,
                self._delay,
            )
            self.failures += 1
            self._forget()
        if self._process is None and now >= self._next:
            self._start(now)

    def _weigh(self, now: float) -> None:
        """Whether it may go on to wait for processors that nobody else wants: begun anew, it does so or no longer."""
        usual = 2 * self._settings.ship_seconds
        lag = _lag(self._segments)  # of all writers, as the one process that ships does it for all
        # one that has not lived for so long had other reasons to be behind, like a store that it could not reach
        if self._waits and lag > _BEHIND + usual and now - self._started > _BEHIND:
            LOG.warning("records have waited %.0f s to be shipped: shipping takes its part of the processors now", lag)
        elif self._waits or lag > usual:
            return
        self._waits = not self._waits
        self._end_now()
        self._next = now

    def end(self, seconds: float) -> bool:
        """Let it ship what is left, for so long at most; false when it did not come to an end by itself."""
        until = time.monotonic() + seconds
        if self._process is None:
            self._start(time.monotonic())
        done = self._ended(min(seconds, _BRIEFLY) if self._waits else seconds)
        if (
            not done and self._waits and time.monotonic() < until
        ):  # nothing may be left for who waits: now it is its turn
            self._waits = False
            self._start(time.monotonic())
            done = self._ended(until - time.monotonic())
        return done

    def _ended(self, seconds: float) -> bool:
        """Whether it came to a good end by itself within so long; it is gone in any case."""
        assert self._process is not None
        self._hang_up()
        try:
            done = self._process.wait(max(seconds, 0.0)) == 0
        except subprocess.TimeoutExpired:
            self._end_now()
            return False
        self._process = None
        return done

    def _end_now(self) -> None:
        """At any moment: nothing is lost by it, and nothing shipped twice."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._forget()

    def _start(self, now: float) -> None:
        environment = {**os.environ, "POLARS_MAX_THREADS": "1"}  # the cores belong to the answers
        with deaf_to_interrupts(multiprocessing=False):  # it ends when its standard input does
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=environment)
        self._started = now
        assert self._process.stdin is not None
        note = Note(self._model, self._settings, self._waits)
        with contextlib.suppress(BrokenPipeError):  # it died at once: the next look counts it
            self._process.stdin.write(msgspec.json.encode(note) + b"\n")
            self._process.stdin.flush()

    def _hang_up(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def _forget(self) -> None:
        self._hang_up()
        self._process = None


def _lag(segments: Path) -> float:
    """For how long the oldest segment that is closed has waited, seconds; 0 without one."""
    closed: list[float] = []
    with contextlib.suppress(OSError):  # they come and go
        for writer in segments.iterdir():
            closed += [path.stat().st_mtime for path in sorted(writer.glob(f"[0-9]*{SUFFIX}"))[:-1]]
    return max(0.0, time.time() - min(closed)) if closed else 0.0
