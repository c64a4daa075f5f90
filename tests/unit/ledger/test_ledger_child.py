"""The process that ships: killed, starved, waited for at the end, or run by an operator."""

import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ledger_entries import Write, answered, described
from ledger_reading import requests

from patience import until
from tidemill.ledger import child, ship
from tidemill.ledger.ledger import Ledger
from tidemill.ledger.settings import LedgerSettings

SRC = Path(__file__).parents[3] / "src"


@pytest.mark.slow
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


@pytest.mark.slow
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
from tidemill.ledger.settings import Fsync, LedgerSettings
ledger = Ledger(LedgerSettings(path=sys.argv[1], ship_seconds=0.05, fsync=Fsync.NEVER), "shop")
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
