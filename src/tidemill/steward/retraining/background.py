"""`python -m tidemill.steward.retraining.background PRIORITY COMMAND …`: becomes the command, after all others.

Work that can wait shall not be felt by those who serve: it is the last to get a processor and the disk, and the first
to go when memory runs out.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

MODULE = "tidemill.steward.retraining.background"


class Priority(StrEnum):
    """idle: what nobody else wants, which on a machine that is never idle is nothing (SCHED_IDLE, ionice's idle class).
    low: about a tenth of a processor that others want as well (nice 10). normal: as much as they.
    """

    IDLE = "idle"
    LOW = "low"
    NORMAL = "normal"


def limits(threads: int) -> dict[str, str]:
    """Environment in which numerical libraries start so many threads and no more."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
    return {name: str(threads) for name in names}


def lower(priority: Priority) -> None:
    """Give this process its priority, as far as the system knows of such."""
    niceness = {Priority.IDLE: 19, Priority.LOW: 10, Priority.NORMAL: 0}[priority]
    os.nice(niceness)
    # Linux may share processors among sessions first, by the niceness of each session (sched(7), autogroups)
    for file, value in (("autogroup", str(niceness)), ("oom_score_adj", "1000")):
        with contextlib.suppress(OSError):
            Path("/proc/self", file).write_text(value, encoding="ascii")
    if priority is Priority.IDLE and sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main(priority: Priority, command: Sequence[str]) -> None:
    lower(priority)
    idle = priority is Priority.IDLE and shutil.which("ionice")
    words = ["ionice", "-c", "3", *command] if idle else list(command)
    os.environ.pop("PYTHONSAFEPATH", None)  # `python train.py` finds what lies beside it, as its user means it to
    try:
        os.execvp(words[0], words)
    except OSError as error:
        sys.exit(f"{type(error).__name__}: the command {words[0]}: {error.strerror}")


if __name__ == "__main__":
    main(Priority(sys.argv[1]), sys.argv[2:])
