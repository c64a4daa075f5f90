"""The write-ahead segments: one write a batch, handed over whole, and loud about a disk that is full."""

import fcntl
import logging
import os
import resource
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ledger_entries import answered, described, turn

from tidemill.errors import LedgerError
from tidemill.ledger import frames
from tidemill.ledger.frames import Damage, entries
from tidemill.ledger.record import Described, Label
from tidemill.ledger.settings import Fsync, WhenFull
from tidemill.ledger.wal import LOCK, Lag, Wal


def label(number: int) -> bytes:
    return frames.label(Label(f"a-{number}", "yes", number))


def ids(path: Path) -> list[str]:
    damage = Damage()
    found = ["described" if isinstance(entry, Described) else entry.id for entry in entries(path.read_bytes(), damage)]
    assert damage == Damage()
    return found


def all_ids(wal: Wal) -> list[str]:
    return [id for path in sorted(wal.folder.glob("*.wal")) for id in ids(path) if id != "described"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing beyond `size` fails in this process as on a full disk: a part is taken first, then comes an OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("fsync", Fsync)
def test_what_was_appended_can_be_read_at_once_by_another(tmp_path: Path, fsync: Fsync) -> None:
    wal = Wal(tmp_path, fsync=fsync)
    wal.describe(frames.described(described()))
    wal.append([label(1), frames.answered(answered())])
    wal.tick()
    assert ids(wal.folder / "00000001.wal") == ["described", "a-1", "aa-1"]
    wal.close()


def test_only_the_owner_may_read_it_and_the_lock_lives_as_long_as_the_writer(tmp_path: Path) -> None:
    wal = Wal(tmp_path)
    assert stat.S_IMODE((wal.folder / "00000001.wal").stat().st_mode) == 0o600
    assert stat.S_IMODE(wal.folder.stat().st_mode) == 0o700
    with (wal.folder / LOCK).open("r+") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        wal.close()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_segments_turn_by_bytes_by_seconds_and_on_demand_and_each_begins_with_the_descriptions(tmp_path: Path) -> None:
    wal = Wal(tmp_path, segment_bytes=200, segment_seconds=3600)
    turn(wal)  # nothing in it: nothing happens
    wal.describe(frames.described(described()))
    wal.append([label(1)])  # a description alone is more than 200 bytes
    wal.append([label(2)])
    assert [ids(path) for path in sorted(wal.folder.glob("*.wal"))] == [
        ["described", "a-1"],
        ["described", "a-2"],
        ["described"],
    ]
    wal.close()
    wal = Wal(tmp_path, segment_seconds=1e-9)
    wal.append([label(1)])
    assert len(list(wal.folder.glob("*.wal"))) == 2
    wal.close()
    wal = Wal(tmp_path, segment_seconds=3600)
    wal.append([label(1)])
    turn(wal)
    turn(wal)
    assert sorted(path.name for path in wal.folder.glob("*.wal")) == ["00000001.wal", "00000002.wal"]
    wal.close()


def test_an_idle_writer_hands_its_segment_over_in_time(tmp_path: Path) -> None:
    wal = Wal(tmp_path, segment_seconds=3600)
    wal.append([label(1)])
    wal.tick()
    assert len(list(wal.folder.glob("*.wal"))) == 1
    wal._seconds = 0.0
    wal.tick()
    assert len(list(wal.folder.glob("*.wal"))) == 2
    wal.close()
    wal.tick()  # harmless


def test_lag_is_what_lies_in_segments_that_nobody_has_removed(tmp_path: Path) -> None:
    wal = Wal(tmp_path)
    assert wal.lag().records == 0
    wal.append([label(1), label(2)])
    turn(wal)
    wal.append([label(3)])
    assert wal.lag().records == 3
    assert 0 < wal.lag().seconds < 60
    (wal.folder / "00000001.wal").unlink()
    assert wal.lag().records == 1
    (wal.folder / "00000002.wal").unlink()
    assert wal.lag() == Lag(0, pytest.approx(0, abs=0.1))
    wal.close()


def test_nothing_is_taken_after_the_end(tmp_path: Path) -> None:
    wal = Wal(tmp_path)
    wal.close()
    wal.close()
    with pytest.raises(LedgerError, match=r"only while it is open. Got: 1 records for .* after it was closed"):
        wal.append([label(1)])


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=r"the ledger's local folder must take them. Got: 0 records for .*file"):
        Wal(tmp_path / "file")


def test_full_disk_refuses_and_recovers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wal = Wal(tmp_path, segment_seconds=3600)
    wal.append([label(1)])
    with largest_file(len(label(1)) + 20), caplog.at_level(logging.ERROR):
        for _ in range(2):
            with pytest.raises(LedgerError, match=r"Got: 2 records for .*File too large.*when_full=continue"):
                wal.append([label(2), label(3)])
        assert wal.refuses
        wal.tick()
        assert wal.refuses, "it has looked, and there is still no room"
    assert [record.levelname for record in caplog.records] == ["ERROR"], "once, not for each request"
    wal.tick()
    assert not wal.refuses and sorted(path.name for path in wal.folder.iterdir()) == ["00000001.wal", LOCK]
    with largest_file(len(label(1)) + 20), pytest.raises(LedgerError):
        wal.append([label(2)])
    wal.append([label(4)])
    assert not wal.refuses, "an append that succeeds says so too"
    assert all_ids(wal) == ["a-1", "a-4"]
    assert wal.lost == 0
    wal.close()


def test_full_disk_continues_counts_and_recovers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wal = Wal(tmp_path, segment_seconds=3600, when_full=WhenFull.CONTINUE)
    wal.append([label(1)])
    with largest_file(len(label(1)) + 20), caplog.at_level(logging.ERROR):
        wal.append([label(2), label(3)])
        wal.describe(frames.described(described()))
        wal.append([label(4)])
    assert wal.lost == 3 and not wal.refuses
    assert "ANSWERING WITHOUT RECORD, 2 records lost so far" in caplog.text
    wal.append([label(5)])
    assert ids(wal.folder / "00000001.wal") == ["a-1", "described", "a-5"], "a description is made up for"
    wal.close()


def test_full_disk_keeps_the_old_segment_while_none_can_be_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wal = Wal(tmp_path, segment_seconds=3600, segment_bytes=1)
    wal.describe(frames.described(described()))
    size = (wal.folder / "00000001.wal").stat().st_size
    wal._bytes = 10**9
    wal.append([label(1)])
    wal._bytes = 1
    with largest_file(size // 2), caplog.at_level(logging.ERROR):
        wal.tick()
    assert "cannot begin another segment" in caplog.text
    assert [path.name for path in wal.folder.iterdir() if path.name != LOCK] == ["00000001.wal"]
    wal.append([label(2)])
    assert all_ids(wal) == ["a-1", "a-2"]
    assert (wal.folder / "00000002.wal").exists()
    wal.close()


def test_a_tail_that_cannot_be_cut_back_is_left_behind_in_a_closed_segment(tmp_path: Path) -> None:
    wal = Wal(tmp_path, segment_seconds=3600)
    wal.append([label(1)])
    whole = wal._segment.descriptor
    wal._segment.descriptor = os.open("/dev/full", os.O_WRONLY)  # takes nothing and cannot be cut
    with pytest.raises(LedgerError, match="No space left on device"):
        wal.append([label(2)])
    os.close(wal._segment.descriptor)
    wal._segment.descriptor = whole
    wal.append([label(3)])
    assert ids(wal.folder / "00000002.wal") == ["a-3"]
    wal.close()


@pytest.mark.parametrize("when_full", WhenFull)
def test_a_real_full_disk(tmp_path: Path, when_full: WhenFull) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    try:
        wal = Wal(tmp_path / "wal", when_full=when_full, segment_seconds=3600)
        refused = 0
        for number in range(3000):
            try:
                wal.append([label(number)])
            except LedgerError:
                refused += 1
        missing = wal.lost + refused
        assert missing > 0
        assert (wal.lost > 0) is (when_full is WhenFull.CONTINUE)
        assert len(all_ids(wal)) == 3000 - missing
        subprocess.run(["mount", "-o", "remount,size=256k", tmp_path], check=True)
        wal.append([label(9999)])
        assert all_ids(wal)[-1] == "a-9999"
        wal.close()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
