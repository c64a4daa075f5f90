"""Child processes: each with its log, and nothing left of them however the block ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from patience import PATIENCE, until
from tidemill.errors import ReplayError
from tidemill.replay.live.children import Children

FAMILY = """
import subprocess, sys, time
from pathlib import Path
far = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
Path(sys.argv[1]).write_text(f"{far.pid}\\n")
print("begun", flush=True)
time.sleep(600)
"""
"""A process that starts another one in a session of its own, as a steward does with a retraining."""
HOLDER = """
import sys, time
from pathlib import Path
from tidemill.replay.live.children import Children
with Children(Path(sys.argv[1])) as children:
    children.start("family", [sys.executable, "-c", sys.argv[2], sys.argv[3]])
    time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def begun(place: Path) -> int:
    until(lambda: place.is_file() and place.read_text().endswith("\n"))
    return int(place.read_text())


def test_the_block_ends_children_and_what_they_have_started(tmp_path: Path) -> None:
    with Children(tmp_path / "logs") as children:
        children.start("family", [sys.executable, "-c", FAMILY, str(tmp_path / "pid")])
        far = begun(tmp_path / "pid")
        children.check()
        assert alive(far)
    assert not alive(far)
    assert (tmp_path / "logs" / "family.log").read_text() == "begun\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_when_the_holder_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), FAMILY, str(tmp_path / "pid")]
    holder = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    far = begun(tmp_path / "pid")
    os.kill(holder.pid, number)
    holder.wait(PATIENCE)
    until(lambda: not alive(far))


def test_a_child_that_is_run_to_its_end(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.run("good", [sys.executable, "-c", "print('done')"])
        with pytest.raises(ReplayError, match=r"The bad runs to its end\. Got: it ended: oh no\..*bad\.log"):
            children.run("bad", [sys.executable, "-c", "import sys; sys.exit('oh no')"])
        children.check()
    assert (tmp_path / "good.log").read_text() == "done\n"


def test_one_that_has_ended_by_itself_is_noticed(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start("brief", [sys.executable, "-c", "raise SystemExit(3)"])
        with pytest.raises(ReplayError, match="it ended: exit status 3"):
            until(lambda: children.check() is not None)
        children.end("brief")
        children.check()
