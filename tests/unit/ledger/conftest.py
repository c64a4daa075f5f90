"""What the ledger's tests share: settings for a ledger in a temporary folder, and writers that have ended."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from ledger_entries import Write, described, turn

from tidemill.ledger import frames
from tidemill.ledger.record import Answered, Described, Label
from tidemill.ledger.settings import NOTE, Fsync, LedgerSettings
from tidemill.ledger.wal import Wal


@pytest.fixture
def settings(tmp_path: Path) -> LedgerSettings:
    return LedgerSettings(path=str(tmp_path / "ledger"), fsync=Fsync.NEVER, ship_seconds=0.1)


@pytest.fixture
def write(settings: LedgerSettings) -> Write:
    """Writes each list of entries as one segment of a writer that has ended; gives the writer's folder."""

    def written(
        *segments: list[Answered | Label], versions: tuple[Described, ...] = (described(),), **wal: Any
    ) -> Path:
        folder = settings.segments("shop")
        writer = Wal(folder, fsync=Fsync.NEVER, segment_seconds=3600, **wal)
        for version in versions:
            writer.describe(frames.described(version))
        for entries in segments:
            turn(writer)
            writer.append([frames.answered(one) if isinstance(one, Answered) else frames.label(one) for one in entries])
        writer.close()
        note = {"model": "shop", "settings": msgspec.to_builtins(settings)}
        (folder / NOTE).write_bytes(msgspec.json.encode(note))
        return writer.folder

    return written
