"""`python -m tidemill.ledger.ship FOLDER`: ships the write-ahead segments in a folder into their tables.

By hand, after a crash: it takes what ended writers have left, says what it took, and ends. FOLDER is `<wal>/<model>`;
the tables and what is masked on the way stand in its ledger.json, the object store's secrets in the environment.
With --follow it is the process that a ledger keeps beside it: settings come first on standard input, it goes on until
standard input ends, and then takes what is left.
"""

import argparse
import contextlib
import fcntl
import gc
import logging
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec

from tidemill.errors import LedgerError
from tidemill.ledger.settings import NOTE, Note

SHIP_LOCK = "ship.lock"
_PATIENCE = 60.0  # seconds
LOG = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tidemill.ledger.ship", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the segments of one model: <wal>/<model>")
    parser.add_argument("--once", action="store_true", help="ship what is there, and end: the default")
    parser.add_argument(
        "--follow", metavar="WRITER", help="go on until standard input ends and WRITER's segments are gone"
    )
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        return follow(chosen.folder, chosen.follow) if chosen.follow else once(chosen.folder)
    except LedgerError as error:
        LOG.error("%s", error)
        return 1


def once(folder: Path) -> int:
    """Ship what ended writers have left, and the closed segments of living ones."""
    try:
        note = msgspec.json.decode((folder / NOTE).read_bytes(), type=Note)
    except (OSError, msgspec.DecodeError) as error:
        raise LedgerError(
            f"A folder of segments has a {NOTE} that says where they belong",
            observed=f"{folder}: {error}",
            remedy="name the folder <wal>/<model>, like ledger/wal/flights",
        ) from error
    with (folder / SHIP_LOCK).open("w") as lock:
        if not _locked(lock, _PATIENCE, lambda: False):
            raise LedgerError(
                "One process at a time ships the segments of a folder",
                observed=f"another one has been at {folder} for {_PATIENCE:.0f} s",
                remedy="leave it to that one",
            )
        shipped = _shipper(folder, note).run()
    LOG.info("shipped %d segments of %s into %s", shipped, folder, note.settings.path)
    return 0


def follow(folder: Path, writer: str) -> int:
    """Ship again and again, as long as standard input lasts; where another process ships, wait for that to end.

    At the end that process may go on for others: it is enough when it has shipped what `writer` left.
    """
    gc.set_threshold(200_000, 50, 50)  # entries make no cycles: looking for some takes an eighth of the time
    note = msgspec.json.decode(sys.stdin.buffer.readline(), type=Note)
    _step_back(note.waits)
    shipper = None
    with (folder / SHIP_LOCK).open("w") as lock:
        ended = False

        def done() -> bool:
            return not ended or not (folder / writer).exists()

        while not ended:
            ended = bool(select.select([sys.stdin], [], [], note.settings.ship_seconds)[0])
            if shipper is None and _locked(lock, _PATIENCE, done):
                shipper = _shipper(folder, note)
            if shipper is not None:
                shipper.run(upkeep=not ended)  # whoever ends waits for it
    return 0 if done() else 1


def _step_back(waits: bool) -> None:
    """Take what those who answer leave of the processors, or else a tenth of what they want as well.

    SCHED_IDLE also lets them in at once when they wake up: beside niceness alone, answers took up to 100 ms.
    """
    os.nice(19 if waits else 10)
    if waits and sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _shipper(folder: Path, note: Note) -> Any:
    from tidemill.ledger.shipper import (
        Shipper,  # Polars and delta-rs only where they are needed: most wait for the lock
    )

    return Shipper(note.settings, note.model, folder)


def _locked(lock: IO[str], patience: float, needless: Callable[[], bool]) -> bool:
    """Whether the lock could be had before it was needless: whoever has it ships for every writer of the folder."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if needless() or time.monotonic() >= until:
                return False
            time.sleep(0.1)
        else:
            return True


if __name__ == "__main__":
    sys.exit(main())
