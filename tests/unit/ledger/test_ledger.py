"""The ledger as a replica uses it, with its real shipping process; and what is left of it after kill -9."""

import errno
import logging
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledger_entries import AT, ROW, Write, answered, described

from patience import until
from tidemill.errors import LedgerError, SettingsError
from tidemill.ledger import child, ship, tables
from tidemill.ledger.ledger import Ledger
from tidemill.ledger.record import Label
from tidemill.ledger.settings import Cover, LedgerSettings, WhenFull
from tidemill.ledger.wal import Lag

SRC = Path(__file__).parents[3] / "src"


def requests(settings: LedgerSettings) -> list[str]:
    return sorted(tables.answers(settings, "shop").select("request").collect()["request"])


def test_without_a_path_nothing_is_recorded() -> None:
    ledger = Ledger(LedgerSettings(path=None), "shop")
    ledger.describe(described())
    ledger.answered([answered()])
    ledger.labelled([Label("aa-1-0", "yes", AT)])
    assert (ledger.keeps, ledger.lost, ledger.failures, ledger.lag()) == (False, 0, 0, Lag(0, 0.0))
    ledger.close()


@pytest.mark.parametrize("full", ["folder", "note", "key", "segment"])
def test_a_disk_that_is_full_at_the_start_keeps_nobody_who_would_continue_from_starting(
    settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, full: str
) -> None:
    """Wherever the disk fills up; once there is room, entries reach the tables, under their descriptions."""
    names = {"folder": "shop", "note": ".ledger.json-", "key": ".hash.key-", "segment": ".new-1"}
    attempts: list[str] = []
    real_mkdir, real_open = os.mkdir, os.open

    def refusing(real: Any) -> Any:
        def called(path: Any, *more: Any, **named: Any) -> Any:
            if Path(path).name.startswith(names[full]):
                attempts.append(full)
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return real(path, *more, **named)

        return called

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refusing(real_mkdir))
        patch.setattr(os, "open", refusing(real_open))
        with pytest.raises(LedgerError, match="No space left"):
            Ledger(settings, "shop")
        before = len(list(Path("/proc/self/fd").iterdir()))
        ledger = Ledger(replace(settings, when_full=WhenFull.CONTINUE), "shop")
        ledger.describe(described())
        ledger.answered([answered("a"), answered("b")])
        ledger.labelled([Label("a-0", "yes", AT)])
        before_these = len(attempts)
        until(lambda: len(attempts) >= before_these + 3)
        assert (ledger.keeps, ledger.lost, ledger.refuses, ledger.failures) == (True, 3, False, 0)
        until(lambda: len(list(Path("/proc/self/fd").iterdir())) == before)  # none is kept between attempts
        until(lambda: not [path for path in Path(str(settings.path)).rglob("*") if path.name[:5] in (".new-", "lock")])
        assert "ANSWERING WITHOUT RECORD until there is room" in caplog.text
    until(lambda: "the ledger has begun; 3 records before were lost" in caplog.text)
    ledger.answered([answered("c")])
    ledger.close()
    assert requests(settings) == ["c"] and ledger.lost == 3


def test_a_ledger_that_never_began_ends(settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "mkdir", full)
    ledger = Ledger(replace(settings, when_full=WhenFull.CONTINUE), "shop")
    ledger.answered([answered("a")])
    ledger.close()
    assert ledger.lost == 1 and ledger.lag() == Lag(0, 0.0)


def test_a_wrong_folder_is_told_at_the_start_whatever_happens_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="local folder must take them"):
        Ledger(LedgerSettings(path=str(tmp_path / "file"), when_full=WhenFull.CONTINUE), "shop")


def test_answers_and_labels_reach_the_tables_while_it_runs_and_when_it_ends(settings: LedgerSettings) -> None:
    ledger = Ledger(settings, "shop")
    ledger.describe(described())
    ledger.answered([answered("a"), answered("b", [ROW] * 2)])
    ledger.labelled([Label("a-0", "yes", AT)])
    assert ledger.lag().records == 3
    until(lambda: not ledger.lag().records)
    assert requests(settings) == ["a", "b", "b"]
    ledger.answered([answered("c")])
    ledger.close()
    ledger.close()
    assert requests(settings) == ["a", "b", "b", "c"]
    assert tables.joined(settings, "shop").collect()["true_label"].drop_nulls().to_list() == ["yes"]
    assert (ledger.lost, ledger.failures) == (0, 0)
    with pytest.raises(LedgerError, match="only while it is open"):
        ledger.answered([answered("d")])


def test_two_replicas_share_a_folder_and_one_goes_on_where_the_other_ends(settings: LedgerSettings) -> None:
    first = Ledger(settings, "shop")
    second = Ledger(settings, "shop")
    for ledger, name in ((first, "a"), (second, "b")):
        ledger.describe(described())
        ledger.answered([answered(name)])
    until(lambda: not first.lag().records and not second.lag().records)
    for ledger, name in ((first, "c"), (second, "d")):
        ledger.answered([answered(name)])
        ledger.close()
    assert requests(settings) == ["a", "b", "c", "d"]
    assert not list(settings.segments("shop").glob("*/*.wal"))


def test_a_column_that_is_to_be_covered_and_does_not_exist_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(LedgerSettings(path=str(tmp_path), columns={"persn": Cover.MASK}), "shop")
    with pytest.raises(SettingsError, match=r"name in ledger.columns must be a column.*Got: persn; the columns are"):
        ledger.describe(described())
    ledger.close()


def test_a_key_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    settings = LedgerSettings(path=str(tmp_path), hash_key_file=str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="The key for digests"):
        Ledger(settings, "shop")


def test_a_shipping_process_that_dies_is_counted_and_started_again(
    settings: LedgerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(settings, "shop")
    ledger.describe(described())
    until(lambda: ledger._child.pid)
    assert ledger._child.pid is not None
    with caplog.at_level(logging.ERROR):
        os.kill(ledger._child.pid, signal.SIGKILL)
        until(lambda: ledger.failures == 1)
    assert "the ledger's shipping process ended with -9 (failure 1)" in caplog.text
    ledger.answered([answered("a")])
    ledger._child._next = 0.0
    until(lambda: not ledger.lag().records)
    assert requests(settings) == ["a"]
    ledger.close()


@pytest.mark.skipif(sys.platform != "linux", reason="SCHED_IDLE is Linux's")
def test_shipping_takes_what_answering_leaves_of_the_processors(settings: LedgerSettings) -> None:
    ledger = Ledger(settings, "shop")
    until(lambda: ledger._child.pid and os.sched_getscheduler(ledger._child.pid) == os.SCHED_IDLE)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    ledger.close()


def test_shipping_that_falls_behind_takes_its_part(
    settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child, "_BEHIND", 0.3)
    ledger = Ledger(settings, "shop")
    ledger.describe(described())
    until(lambda: ledger._child.pid)
    first = ledger._child.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)  # it gets no processor
    ledger.answered([answered("a")])
    until(lambda: not ledger.lag().records)
    assert requests(settings) == ["a"] and ledger.failures == 0
    assert ledger._child.pid != first
    assert "shipping takes its part of the processors now" in caplog.text
    until(lambda: ledger._child._waits and ledger._child.pid)  # it has caught up, and stands back again
    ledger.close()


def test_shipping_that_has_its_part_gets_all_the_time_at_the_end(
    settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_BRIEFLY", 0.0)
    ledger = Ledger(settings, "shop")
    ledger.describe(described())
    until(lambda: ledger._child.pid)
    ledger.answered([answered("a")])
    ledger._child._waits = False
    ledger.close()
    assert requests(settings) == ["a"]


def test_the_end_does_not_wait_for_ever(settings: LedgerSettings, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(settings, "shop")
    ledger.describe(described())
    until(lambda: ledger._child.pid)
    assert ledger._child.pid is not None
    os.kill(ledger._child.pid, signal.SIGSTOP)
    ledger.answered([answered("a")])
    ledger.close(seconds=0.1)
    assert "1 records stay in" in caplog.text
    assert ship.main([str(settings.segments("shop")), "--once"]) == 0
    assert requests(settings) == ["a"]


def test_at_the_end_shipping_takes_its_part_where_it_gets_no_processor(
    settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_BRIEFLY", 0.1)
    ledger = Ledger(settings, "shop")
    ledger.describe(described())
    until(lambda: ledger._child.pid)
    assert ledger._child.pid is not None
    os.kill(ledger._child.pid, signal.SIGSTOP)
    ledger.answered([answered("a")])
    ledger.close()
    assert requests(settings) == ["a"]


def test_an_operator_ships_what_a_crash_left(
    settings: LedgerSettings, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write([answered("a")], [answered("b")])
    with caplog.at_level(logging.INFO):
        assert ship.main([str(folder.parent)]) == 0
    assert f"adopted 2 segments of {folder.name}, which has ended" in caplog.text
    assert f"shipped 2 segments of {folder.parent} into {settings.path}" in caplog.text
    assert requests(settings) == ["a", "b"]


def test_an_operator_who_names_another_folder_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert ship.main([str(tmp_path)]) == 1
    assert "A folder of segments has a ledger.json that says where they belong. Got:" in caplog.text


def test_one_process_at_a_time_ships(
    settings: LedgerSettings, write: Write, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write([answered("a")]).parent
    monkeypatch.setattr(ship, "_PATIENCE", 0.0)
    with (folder / ship.SHIP_LOCK).open("w") as lock:
        assert ship._locked(lock, 0.0, lambda: False)
        assert ship.main([str(folder)]) == 1
    assert "One process at a time ships the segments of a folder. Got: another one" in caplog.text
    assert ship.main([str(folder)]) == 0


WRITER = """
import sys
from ledger_entries import answered, described
from tidemill.ledger.ledger import Ledger
from tidemill.ledger.settings import LedgerSettings
ledger = Ledger(LedgerSettings(path=sys.argv[1], ship_seconds=0.05, fsync="never"), "shop")
ledger.describe(described())
number = 0
while True:
    ids = [f"{sys.argv[2]}.{number + index}" for index in range(3)]
    ledger.answered([answered(id) for id in ids])
    print(*ids, ledger._child.pid or "", flush=True)
    number += 3
"""


@pytest.mark.slow
def test_kill_9_of_writers_and_shippers_loses_no_record_and_doubles_none(tmp_path: Path) -> None:
    chance = random.Random(20260101)
    settings = LedgerSettings(path=str(tmp_path / "ledger"))
    environment = {**os.environ, "PYTHONPATH": f"{SRC}{os.pathsep}{Path(__file__).parent}"}
    acknowledged: set[str] = set()
    for round in range(10):
        command = [sys.executable, "-c", WRITER, str(settings.path), str(round)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert writer.stdout is not None
        end, shipper = time.monotonic() + chance.uniform(0.6, 1.8), 0
        while time.monotonic() < end:
            *ids, last = writer.stdout.readline().split()
            acknowledged |= {*ids, last} if "." in last else set(ids)
            shipper = 0 if "." in last else int(last)
            time.sleep(0.002)
        for pid in chance.sample([writer.pid, shipper], 2):
            if pid:
                os.kill(pid, signal.SIGKILL)
        for line in writer.stdout:  # what it had said before it was killed
            acknowledged |= {word for word in line.split() if "." in word and line.endswith("\n")}
        writer.stdout.close()
        writer.wait()
    done = subprocess.run(
        [sys.executable, "-m", "tidemill.ledger.ship", str(settings.segments("shop"))], env=environment, check=False
    )
    assert done.returncode == 0
    found = requests(settings)
    assert len(found) == len(set(found)), "none twice"
    assert acknowledged <= set(found), "none missing"
    assert len(acknowledged) > 100
    assert not list(settings.segments("shop").glob("*/*.wal"))
