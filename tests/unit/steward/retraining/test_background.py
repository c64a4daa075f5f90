"""The priority that a command gets, told by the command itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill.steward.retraining import background

TELL = """
import os, pathlib
group, oom = (pathlib.Path("/proc/self", name) for name in ("autogroup", "oom_score_adj"))
shared = int(group.read_text().split()[-1]) if group.exists() else None
idle = os.sched_getscheduler(0) == os.SCHED_IDLE
print(os.nice(0), idle, shared, oom.read_text().strip())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know niceness only")
@pytest.mark.parametrize("priority, nice", [("idle", 19), ("low", 10), ("normal", 0)])
def test_a_command_is_as_low_as_it_was_told(priority: str, nice: int) -> None:
    command = [sys.executable, "-m", background.MODULE, priority, sys.executable, "-c", TELL]
    told = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=True).stdout.split()
    shared = str(nice) if Path("/proc/self/autogroup").exists() else "None"
    assert told == [str(min(os.nice(0) + nice, 19)), str(priority == "idle"), shared, "1000"]


def test_a_command_that_is_not_there_is_named() -> None:
    command = [sys.executable, "-m", background.MODULE, "low", "/no/such/program", "x"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (
        1,
        "FileNotFoundError: the command /no/such/program: No such file or directory\n",
    )


def test_the_libraries_are_told_how_many_threads() -> None:
    assert background.limits(2)["OMP_NUM_THREADS"] == background.limits(2)["POLARS_MAX_THREADS"] == "2"
