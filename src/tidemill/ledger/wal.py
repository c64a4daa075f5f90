"""The write-ahead segments of one writing process: appended to before answers leave, shipped into tables afterwards.

    <folder>/<writer>/lock            held (flock) while the writer lives; whoever gets it may take every segment
    <folder>/<writer>/00000001.wal    a segment; only the newest is written to

A segment is handed over by no longer being the newest one of a living writer. Each begins with the descriptions known
so far, and can be read by itself.
"""

import contextlib
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tidemill.durable import sync
from tidemill.errors import LedgerError
from tidemill.ledger.claim import claim, private
from tidemill.ledger.settings import Fsync, WhenFull

LOCK = "lock"
SUFFIX = ".wal"
_STAGED = ".new-"
_LOG_EVERY = 10.0  # seconds
_ROOM = 64 * 1024  # bytes
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lag:
    """What has been appended and is not in the tables yet; `seconds` since the oldest such record came."""

    records: int
    seconds: float


@dataclass(slots=True)
class _Segment:
    number: int
    descriptor: int
    size: int
    records: int = 0
    first: float = 0.0


class Wal:
    """Appends frames. Safe to be called from several threads of the process.

    Args:
        folder: of all writers of one model.
        segment_bytes, segment_seconds: a segment that holds records is closed at this size or age.

    Raises:
        LedgerError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fsync: Fsync = Fsync.SECOND,
        when_full: WhenFull = WhenFull.REFUSE,
        segment_bytes: int = 64 * 2**20,
        segment_seconds: float = 5.0,
    ) -> None:
        self.lost = 0
        """Records that were to be appended and could not be, while answers were given all the same."""
        self.refuses = False
        """Whether the last attempt failed and the setting is to refuse; room is looked for at each `tick`."""
        self.writer = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:12]}"
        self._fsync, self._when_full = fsync, when_full
        self._bytes, self._seconds = segment_bytes, segment_seconds
        self._guard = threading.Lock()
        self._described: list[bytes] = []
        self._owed: list[bytes] = []  # descriptions that a full disk kept from the newest segment
        self._retired: list[int] = []  # descriptors still to be forced onto the disk and closed
        self._waiting: dict[int, tuple[int, float]] = {}  # closed segment → records, when the first came
        self._broken = self._closed = False
        self._logged = -_LOG_EVERY
        self.folder = folder / self.writer
        try:
            self._begin(folder)
        except OSError as error:
            raise cannot_write(folder, error, 0) from error

    def _begin(self, folder: Path) -> None:
        """Leaves nothing behind where it fails: it may be tried again and again."""
        private(folder)
        with contextlib.ExitStack() as undone:
            self._lock = claim(self.folder, folder / f"{_STAGED}{self.writer}", LOCK)
            undone.callback(os.close, self._lock)
            undone.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self._segment = self._opened(1)
            undone.callback(os.close, self._segment.descriptor)
            if self._fsync is not Fsync.NEVER:
                sync(self.folder)
                sync(folder)
            undone.pop_all()

    def describe(self, frame: bytes) -> None:
        """Append a description, now and at the beginning of every later segment."""
        with self._guard:
            if frame not in self._described:  # versions come and go, and return
                self._described.append(frame)
                self._owed.append(frame)
            self._write([], 0)

    def append(self, frames: Sequence[bytes]) -> None:
        """Append a batch by one write: all of it or nothing.

        Raises:
            LedgerError: it cannot be written, and the setting is to refuse.
        """
        with self._guard:
            self._write(frames, len(frames))

    def tick(self) -> None:
        """What time asks for: closing an old segment, forcing entries onto the disk. To be called once a second."""
        with self._guard:
            if self._closed:
                return
            if self.refuses:
                self._look_for_room()
            self._turn_if_due()
            retired, self._retired = self._retired, []
            newest = [os.dup(self._segment.descriptor)] if self._fsync is Fsync.SECOND else []
        with contextlib.ExitStack() as stack:  # closes them all, whatever fails
            for descriptor in (*retired, *newest):
                stack.callback(os.close, descriptor)
                stack.callback(os.fsync, descriptor)
            if retired:
                stack.callback(sync, self.folder)

    def lag(self) -> Lag:
        with self._guard:
            waiting = dict(self._waiting)
            if self._segment.records:
                waiting[self._segment.number] = (self._segment.records, self._segment.first)
        there = {number for number in waiting if (self.folder / name(number)).exists()}
        with self._guard:
            for number in waiting.keys() - there:
                self._waiting.pop(number, None)
        left = [waiting[number] for number in there]
        oldest = min((first for _, first in left), default=time.monotonic())
        return Lag(sum(records for records, _ in left), time.monotonic() - oldest)

    def close(self) -> None:
        """Hand over every segment. Nothing can be appended afterwards."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            for descriptor in (*self._retired, self._segment.descriptor):
                with contextlib.suppress(OSError):
                    if self._fsync is not Fsync.NEVER:
                        os.fsync(descriptor)
                os.close(descriptor)
            os.close(self._lock)

    def _write(self, frames: Sequence[bytes], records: int) -> None:
        if self._closed:
            raise LedgerError(
                "A ledger takes entries only while it is open",
                observed=f"{records} records for {self.folder} after it was closed",
                remedy="close the ledger after the last answer",
            )
        try:
            if self._broken:
                self._turn()
            self._appended(b"".join((*self._owed, *frames)))
        except OSError as error:
            self._failed(error, records)
            return
        self._owed.clear()
        self.refuses = False
        segment = self._segment
        if not segment.records and records:
            segment.first = time.monotonic()
        segment.records += records
        self._turn_if_due()

    def _appended(self, content: bytes) -> None:
        segment = self._segment
        written = 0
        try:
            while written < len(content):  # a disk that fills up takes a part first, and refuses the rest
                written += os.write(segment.descriptor, content[written:] if written else content)
            if self._fsync is Fsync.ALWAYS:
                os.fsync(segment.descriptor)
        except OSError:
            try:
                os.ftruncate(segment.descriptor, segment.size)
            except OSError:
                self._broken = True
            raise
        segment.size += written

    def _failed(self, error: OSError, records: int) -> None:
        self.refuses = refuse = self._when_full is WhenFull.REFUSE
        if not refuse:
            self.lost += records
        if time.monotonic() - self._logged >= _LOG_EVERY:
            self._logged = time.monotonic()
            what = "refusing answers" if refuse else f"ANSWERING WITHOUT RECORD, {self.lost} records lost so far"
            LOG.error("the ledger cannot write %s (%s): %s", self.folder, error, what)
        if refuse:
            raise cannot_write(self.folder, error, records) from error

    def _look_for_room(self) -> None:
        """Nobody asks a replica that says that it refuses, so no append would find out that there is room again."""
        probe = self.folder / f"{_STAGED}room"
        with contextlib.suppress(OSError):
            try:
                probe.write_bytes(bytes(_ROOM))
                self.refuses = False
            finally:
                probe.unlink(missing_ok=True)

    def _turn_if_due(self) -> None:
        segment = self._segment
        if not segment.records:
            return
        if segment.size >= self._bytes or time.monotonic() - segment.first >= self._seconds:
            try:
                self._turn()
            except OSError as error:  # the segment in use goes on growing; the next append tries again
                if time.monotonic() - self._logged >= _LOG_EVERY:
                    self._logged = time.monotonic()
                    LOG.error("the ledger cannot begin another segment in %s (%s)", self.folder, error)

    def _turn(self) -> None:
        before = self._segment
        self._segment = self._opened(before.number + 1)
        self._broken = False
        self._owed.clear()
        if self._fsync is Fsync.SECOND:
            self._retired.append(before.descriptor)
        else:
            os.close(before.descriptor)
        self._waiting[before.number] = (before.records, before.first)

    def _opened(self, number: int) -> _Segment:
        """A new segment; it takes its name, and so closes the one before, only once its descriptions are written."""
        staged = self.folder / f"{_STAGED}{number}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(staged, flags, 0o600)
        content = b"".join(self._described)
        try:
            written = os.write(descriptor, content) if content else 0
            if written < len(content):
                written += os.write(descriptor, content[written:])
            if self._fsync is Fsync.ALWAYS:
                os.fsync(descriptor)
            staged.rename(self.folder / name(number))
            if self._fsync is Fsync.ALWAYS:
                sync(self.folder)
        except OSError:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                staged.unlink()
            raise
        return _Segment(number, descriptor, len(content))


def name(number: int) -> str:
    """A segment's file name."""
    return f"{number:08d}{SUFFIX}"


def cannot_write(folder: Path, error: OSError, records: int) -> LedgerError:
    """What says so: a folder of segments does not take `records` records."""
    return LedgerError(
        "Answers are recorded before they are given, so the ledger's local folder must take them",
        observed=f"{records} records for {folder}: {error}",
        remedy="make room or correct ledger.wal; ledger.when_full=continue answers without recording",
    )
