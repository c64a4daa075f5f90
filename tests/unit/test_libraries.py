"""Warnings of libraries go to the run's folder; whoever asks Python for them sees them."""

import subprocess
import sys
from pathlib import Path

RUN = """
import logging, sys, warnings
from pathlib import Path
import numpy as np
from tidemill import libraries
logging.basicConfig(level="WARNING", format="%(name)s %(message)s")
logging.getLogger("tidemill").setLevel("INFO")
with libraries.kept_in(Path(sys.argv[1])):
    np.float64(1e308) * np.array([10.0])
    warnings.warn("use https://user:hush@host instead", FutureWarning)
    logging.getLogger("lightning").warning("a tip")
    logging.getLogger("lightning").error("a fault")
    if len(sys.argv) > 2:
        raise SystemExit(3)
logging.getLogger("lightning").warning("after it")
"""
COMMAND = """
import sys, warnings
from tidemill import cli
from tidemill.commands import registry
registry._list = lambda parsed: warnings.warn("a tip", RuntimeWarning)
sys.argv = ["tidemill", "registry", "list"]
sys.exit(cli.main())
"""


def run(code: str, *words: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *python, "-c", code, *words], capture_output=True, text=True, check=False)


def test_a_run_keeps_warnings_in_its_folder(tmp_path: Path) -> None:
    done = run(RUN, str(tmp_path))
    assert done.returncode == 0, done.stderr
    fault, told, after = done.stderr.splitlines()
    assert (fault, after) == ("lightning a fault", "lightning after it")
    assert told.endswith(f"is kept in {tmp_path / 'libraries.log'}")
    kept = (tmp_path / "libraries.log").read_text()
    assert "RuntimeWarning: overflow" in kept and "lightning: a tip" in kept and "FutureWarning" in kept
    assert "hush" not in kept


def test_a_run_that_is_stopped_keeps_them_too(tmp_path: Path) -> None:
    assert run(RUN, str(tmp_path), "stop").returncode == 3
    assert "RuntimeWarning: overflow" in (tmp_path / "libraries.log").read_text()


def test_who_asks_for_warnings_sees_them(tmp_path: Path) -> None:
    done = run(RUN, str(tmp_path), python=("-W", "default"))
    assert "RuntimeWarning: overflow" in done.stderr and not (tmp_path / "libraries.log").exists()


def test_a_command_shows_no_warnings_of_libraries() -> None:
    done = run(COMMAND)
    assert (done.returncode, done.stderr) == (0, "")
    assert "RuntimeWarning: a tip" in run(COMMAND, python=("-W", "default")).stderr
