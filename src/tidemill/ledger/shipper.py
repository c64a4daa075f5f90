"""Moves closed segments, and all segments of writers that have ended, into the tables, and then deletes them."""

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tidemill.ledger import frames, masking
from tidemill.ledger.columns import Segment
from tidemill.ledger.commits import Piece, Table
from tidemill.ledger.inputs import Inputs
from tidemill.ledger.record import Described
from tidemill.ledger.settings import Fsync, LedgerSettings
from tidemill.ledger.upkeep import Upkeep
from tidemill.ledger.wal import LOCK, SUFFIX

ASIDE = "aside"
"""Folder for segments of which something could not be read: nothing of them is thrown away."""
_BATCH = 64 * 2**20
"""Bytes of segments that go into one commit."""
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _File:
    writer: str
    number: int
    path: Path
    size: int


class Shipper:
    """Ships the segments of one folder. One at a time for each folder: the caller holds its lock."""

    def __init__(self, settings: LedgerSettings, model: str, segments: Path) -> None:
        self._settings, self._model, self._folder = settings, model, segments
        self._key = masking.key(settings, segments)
        noted = masking.noted(settings)
        self._answers = Table(settings.table(model, "answers"), settings.storage_options, noted)
        self._labels = Table(settings.table(model, "labels"), settings.storage_options)
        self._upkeep = [Upkeep(table, settings) for table in (self._answers, self._labels)]
        self._inputs: dict[bytes, Inputs] = {}

    def run(self, *, upkeep: bool = True) -> int:
        """One pass: ship what is there, and do what upkeep is due. Returns how many segments were shipped.

        Raises:
            deltalake.exceptions.DeltaError, OSError: nothing is lost; try again later.
        """
        shipped = 0
        with ExitStack() as locks:
            files, ended = [], []
            for folder in self._writers():
                found = _files(folder)
                if _has_ended(folder, locks):
                    ended.append(folder)
                    found = _files(folder)
                    if found:
                        LOG.info("adopted %d segments of %s, which has ended", len(found), folder.name)
                else:
                    found = found[:-1]
                files += found
            for batch in _batches(files):
                self._ship(batch)
                shipped += len(batch)
            for folder in ended:
                shutil.rmtree(folder)
        for each in self._upkeep if upkeep else ():
            each.run()
        return shipped

    def _writers(self) -> list[Path]:
        return sorted(path for path in self._folder.iterdir() if (path / LOCK).exists() and _settled(path))

    def _ship(self, batch: list[_File]) -> None:
        read = [(file, *self._read(file)) for file in batch]
        for table, name in ((self._answers, "answers"), (self._labels, "labels")):
            rows = [(file, getattr(segment, name)) for file, segment, _ in read]
            pieces = [Piece(file.writer, file.number, frame) for file, frame in rows if frame.height]
            if pieces:
                table.add(pieces)
        if self._settings.is_local and self._settings.fsync is not Fsync.NEVER:
            os.sync()  # the tables must be on the disk before the segments leave it
        for file, _, whole in read:
            if whole:
                file.path.unlink()
            else:
                self._put_aside(file)

    def _read(self, file: _File) -> tuple[Segment, bool]:
        """A segment's rows, and whether they are all there was."""
        damage = frames.Damage()
        segment = Segment(frames.entries(file.path.read_bytes(), damage), self._model, self._inputs_of, self._key)
        if damage.torn:
            LOG.warning("%s ends with %d bytes of a write that was cut off", file.path, damage.torn)
        if damage.gaps:
            LOG.error("%s is damaged in %d places, %d bytes are lost", file.path, damage.gaps, damage.skipped)
        if segment.unread:
            LOG.error("%s: the inputs of %d requests cannot be read", file.path, segment.unread)
        return segment, not damage.gaps and not segment.unread

    def _put_aside(self, file: _File) -> None:
        aside = self._folder / ASIDE
        aside.mkdir(mode=0o700, exist_ok=True)
        kept = aside / f"{file.writer}-{file.path.name}"
        file.path.replace(kept)
        LOG.error("kept %s, of which not everything could be shipped", kept)

    def _inputs_of(self, described: Described) -> Inputs:
        schema = msgspec.json.encode(described.schema)
        if schema not in self._inputs:
            self._inputs[schema] = Inputs(described.schema, self._settings, self._key)
        return self._inputs[schema]


def _settled(folder: Path) -> bool:
    """Not one that a writer is only making (it is renamed once its lock is held), unless that writer died at it."""
    return not folder.name.startswith(".") or time.time() - folder.stat().st_mtime > 60


def _has_ended(folder: Path, locks: ExitStack) -> bool:
    """Whether a writer has ended; if so, its lock is ours until `locks` are given back."""
    file = locks.enter_context((folder / LOCK).open("r+"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _files(folder: Path) -> list[_File]:
    """Segments in order. Those that were never begun (".new-…") are none."""
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(SUFFIX))
    paths = [folder / name for name in names]
    return [_File(folder.name, int(path.stem), path, path.stat().st_size) for path in paths]


def _batches(files: list[_File]) -> Iterator[list[_File]]:
    batch: list[_File] = []
    for file in files:
        if batch and sum(one.size for one in batch) + file.size > _BATCH:
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch
