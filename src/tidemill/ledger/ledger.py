"""The ledger as a serving process uses it: entries go in before answers leave, and are shipped beside it."""

import errno
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tidemill.data.schema import Column
from tidemill.durable import replacing
from tidemill.errors import LedgerError, TidemillError
from tidemill.ledger import frames, masking
from tidemill.ledger.child import Child
from tidemill.ledger.claim import private
from tidemill.ledger.record import Answered, Described, Label
from tidemill.ledger.settings import NOTE, LedgerSettings, Masking, WhenFull
from tidemill.ledger.wal import Lag, Wal, cannot_write

_TICK = 1.0  # seconds
_FULL = (errno.ENOSPC, errno.EDQUOT)
LOG = logging.getLogger(__name__)


class Ledger:
    """Records what one process answers for one model; without `settings.path`, nothing.

    `describe`, `answered` and `labelled` return once the entries are in the write-ahead segment: they survive a kill
    of the process from then on, and reach the tables exactly once.

    Where the disk is full at the start and the setting is to continue, it begins once there is room.

    Raises:
        LedgerError: the local folder cannot be written.
        SettingsError: there is no key for digests.
    """

    def __init__(self, settings: LedgerSettings, model: str) -> None:
        self._settings, self._model = settings, model
        self._wal: Wal | None = None
        self._columns: set[str] = set()
        self._described: list[bytes] = []
        self._lost = 0
        """Both of the time before there is a segment."""
        self._guard = threading.Lock()
        if not self.keeps:
            return
        try:
            self._begin()
        except LedgerError as error:
            full = isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL
            if not full or settings.when_full is WhenFull.REFUSE:
                raise
            LOG.error("ANSWERING WITHOUT RECORD until there is room for the ledger: %s", error)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="tidemill-ledger", daemon=True)
        self._thread.start()

    def describe(self, version: Described) -> None:
        """Make a version known; to be called before its first answer.

        Raises:
            LedgerError: as for `answered`.
            SettingsError: `ledger.columns` names a column that no version has.
        """
        if not self.keeps:
            return
        self._columns |= version.schema["columns"].keys()
        masking.check(self._settings, self._columns)
        frame = frames.described(version)
        with self._guard:
            if self._wal is not None:
                self._wal.describe(frame)
            elif frame not in self._described:
                self._described.append(frame)

    def answered(self, entries: Sequence[Answered]) -> None:
        """Record a batch of answers by one write.

        Raises:
            LedgerError: they cannot be recorded and the setting is to refuse: they must not be given.
        """
        if self._wal is not None:
            self._wal.append([frames.answered(entry) for entry in entries])
        elif self.keeps:
            self._lost += len(entries)

    def labelled(self, entries: Sequence[Label]) -> None:
        """Record labels by one write.

        Raises:
            LedgerError: as for `answered`.
        """
        if self._wal is not None:
            self._wal.append([frames.label(entry) for entry in entries])
        elif self.keeps:
            self._lost += len(entries)

    def masks(self, column: Column) -> bool:
        """Whether a column's values do not reach the tables at all, so that no label can be joined by them."""
        return masking.masking_of(column, self._settings) is Masking.MASK

    @property
    def keeps(self) -> bool:
        """Whether anything is to be recorded."""
        return self._settings.path is not None

    @property
    def lost(self) -> int:
        """Records that a full disk kept out while answers went on."""
        return self._lost + (self._wal.lost if self._wal else 0)

    @property
    def refuses(self) -> bool:
        """Whether entries are refused now, so that no answer can be given."""
        return self._wal is not None and self._wal.refuses

    @property
    def failures(self) -> int:
        """How often the shipping process has died."""
        return self._child.failures if self._wal else 0

    def lag(self) -> Lag:
        """What is not in the tables yet."""
        return self._wal.lag() if self._wal else Lag(0, 0.0)

    def close(self, seconds: float = 20.0) -> None:
        """Take no more entries, and ship what is there; what `seconds` do not suffice for, a later process ships."""
        if not self.keeps or self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        if self._wal is None:
            return
        self._wal.close()
        if not self._child.end(seconds):
            left = self._wal.lag()
            LOG.warning("%d records stay in %s until they are shipped from there", left.records, self._wal.folder)

    def _begin(self) -> None:
        settings, segments = self._settings, self._settings.segments(self._model)
        try:
            private(segments)
            masking.key(settings, segments)
            _note(settings, self._model, segments)
        except OSError as error:
            raise cannot_write(segments, error, 0) from error
        wal = Wal(
            segments,
            fsync=settings.fsync,
            when_full=settings.when_full,
            segment_bytes=settings.segment_bytes,
            segment_seconds=settings.ship_seconds,
        )
        self._child = Child(settings, self._model, segments, wal.writer)
        with self._guard:
            for frame in self._described:
                wal.describe(frame)
            self._described.clear()
            self._wal = wal

    def _watch(self) -> None:
        told = ""
        while not self._ended.is_set():
            try:
                if self._wal is None:
                    self._begin()
                    LOG.warning("the ledger has begun; %d records before were lost", self._lost)
                else:
                    self._wal.tick()
                    self._child.watch()
            except TidemillError as error:
                if str(error) != told:
                    told = str(error)
                    LOG.error("ANSWERING WITHOUT RECORD: the ledger cannot begin yet: %s", told)
            except OSError:
                LOG.exception("the ledger's upkeep failed")
            self._ended.wait(min(_TICK, self._settings.ship_seconds))


def _note(settings: LedgerSettings, model: str, segments: Path) -> None:
    """Only where it changes, so that a full disk does not keep a process from starting."""
    public = {**msgspec.to_builtins(settings), "storage_options": {}}
    content = msgspec.json.encode({"model": model, "settings": public})
    note = segments / NOTE
    if note.exists() and note.read_bytes() == content:
        return
    with replacing(note, f".{NOTE}-", 0o600) as staged:
        staged.write_bytes(content)
