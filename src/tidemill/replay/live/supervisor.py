"""`python -m tidemill.replay.live.supervisor COMMAND …` runs it while standard input lasts, and leaves nothing of it.

Standard input ends with the process that holds its other end, however that ends: by Ctrl-C, an error or kill -9. What
the command has started is told by a mark in its environment, as a retraining outlives the steward that began it.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import uuid
from pathlib import Path

_MARK = "TIDEMILL_LEASH"
_LOOK = 0.1  # seconds
_POLITE = 60.0  # seconds: Ray waits half a minute for its own


def main(command: list[str]) -> int:
    """The command's exit status."""
    mark = uuid.uuid4().hex
    environment = {**os.environ, _MARK: mark}
    environment.pop("PYTHONSAFEPATH", None)  # `python train.py` finds what lies beside it, as its user means it to
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, env=environment)
    try:
        while process.poll() is None and not select.select([sys.stdin], [], [], _LOOK)[0]:
            pass
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLITE)
    finally:
        while left := _marked(mark):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    return process.wait()


def _marked(mark: str) -> list[int]:
    """Processes that the command has begun, and theirs; not those that have ended and are only not yet waited for."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # another user's, or one that has ended
                if f"{_MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
