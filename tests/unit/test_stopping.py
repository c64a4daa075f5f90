"""Processes that run until they are stopped, and jobs that a script has started with `&`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from patience import PATIENCE
from tidemill import ending
from tidemill.stopping import stopped_by_signals

ENDLESS = """
from tidemill.stopping import stopped_by_signals
with stopped_by_signals() as stop:
    print("begun", flush=True)
    stop.wait()
print("ended")
"""

STARTING = """
import multiprocessing, signal, subprocess, sys
from tidemill.stopping import deaf_to_interrupts

def tell():
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()), flush=True)

if __name__ == "__main__":
    with deaf_to_interrupts(multiprocessing=True):
        for _ in range(2):
            process = multiprocessing.get_context("spawn").Process(target=tell)
            process.start()
            process.join()
    with deaf_to_interrupts(multiprocessing=False):
        subprocess.run([sys.executable, "-c", "import signal; print(signal.SIGINT in signal.pthread_sigmask(0, ()))"])
    tell()
    try:
        with deaf_to_interrupts(multiprocessing=True):
            signal.raise_signal(signal.SIGINT)
            print("not yet", flush=True)
    except KeyboardInterrupt:
        print("now", flush=True)
"""


@pytest.fixture
def deaf() -> Iterator[None]:
    """As a job is that a script has started with `&`."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_stop_it_and_are_left_as_they_were(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stopped_by_signals() as stop:
        signal.raise_signal(number)
        assert stop.wait(PATIENCE)
    assert signal.getsignal(number) is before


def test_a_job_in_the_background_of_a_script_ends_by_sigterm_and_not_by_the_scripts_ctrl_c() -> None:
    """What a non-interactive shell starts with `&` ignores SIGINT; so does it here."""
    words = ["sh", "-c", '"$0" -c "$1" & echo $!; wait $!', sys.executable, ENDLESS]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        job = int(shell.stdout.readline())
        assert shell.stdout.readline() == "begun\n"
        os.kill(job, signal.SIGINT)
        ignored = Path(f"/proc/{job}/status")
        if ignored.exists():  # on Linux one can see it, and need not wait for nothing to happen
            mask = next(line for line in ignored.read_text().splitlines() if line.startswith("SigIgn:"))
            assert int(mask.split()[1], 16) & 1 << (signal.SIGINT - 1)
        os.kill(job, signal.SIGTERM)
        assert shell.stdout.read() == "ended\n"
        assert shell.wait(PATIENCE) == 0


def test_a_run_that_is_deaf_to_ctrl_c_stays_so_and_says_at_sigterm_how_to_go_on(
    deaf: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, ending.told("python train.py"):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 128 + signal.SIGTERM
    assert "The registry is as it was." in capsys.readouterr().err


def test_processes_that_are_started_deaf_never_hear_ctrl_c_and_the_one_that_starts_them_does(tmp_path: Path) -> None:
    """The first process of `multiprocessing` was the one that heard it: see `deaf_to_interrupts`."""
    script = tmp_path / "starting.py"
    script.write_text(STARTING)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout.split("\n")[:-1] == ["True", "True", "True", "False", "not yet", "now"]
