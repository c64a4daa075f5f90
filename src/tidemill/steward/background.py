"""`python -m tidemill.steward.background COMMAND …`: becomes the command, after everything else in line.

Work that can wait takes processor, disk and memory only as far as nobody who serves wants them: it is the last to run
(SCHED_IDLE), to read and write (ionice's idle class), and the first to go when memory runs out.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

WORDS = ("-m", "tidemill.steward.background")
"""What stands between a Python and the command."""


def limits(threads: int) -> dict[str, str]:
    """Environment in which numerical libraries start so many threads and no more."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
    return {name: str(threads) for name in names}


def last_in_line() -> None:
    """Give this process the lowest priority that the system has; what it does not have is left out."""
    os.nice(19)
    # Linux may share processors among sessions first, by the niceness of each session (sched(7), autogroups)
    for file, value in (("autogroup", "19"), ("oom_score_adj", "1000")):
        with contextlib.suppress(OSError):
            Path("/proc/self", file).write_text(value, encoding="ascii")
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main(command: Sequence[str]) -> None:
    last_in_line()
    words = ["ionice", "-c", "3", *command] if shutil.which("ionice") else list(command)
    os.execvp(words[0], words)


if __name__ == "__main__":
    main(sys.argv[1:])
