"""`python -m tidemill.replay.leash COMMAND …`: runs it for as long as standard input lasts, and leaves nothing of it.

Standard input ends with the process that holds its other end, however that ends: by Ctrl-C, an error or kill -9.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

_LOOK = 0.1  # seconds
_POLITE = 60.0  # seconds: Ray waits half a minute for its own


def main(command: list[str]) -> int:
    """The command's exit status."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        while process.poll() is None and not select.select([sys.stdin], [], [], _LOOK)[0]:
            pass
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLITE)
    finally:
        for pid in _session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return process.wait()


def _session(leader: int) -> list[int]:
    """Processes of the session that the command has begun."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader:
                    found.append(int(entry.name))
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever holds the leash hears it, and lets go
    sys.exit(main(sys.argv[1:]))
