"""Runs train.py again and again, each time in a process of its own, with the imports done once.

Starting Python and importing torch takes far longer than most refusals. So one process imports what
train.py imports, and for each run forks a child, which runs the real train.py as `__main__` with its own
arguments, folder, environment and output files. `python warm.py` is that process: it reads one JSON line
for each run, and answers with the child's number and later with its exit status.
"""

import json
import os
import runpy
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]


class Warm:
    """`with Warm() as warm: warm.run([…], folder)`; runs follow one another."""

    def __enter__(self) -> "Warm":
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate("")

    def start(self, arguments: Sequence[str], folder: Path, **environment: str) -> int:
        """Start a run and give its process's number; `finish` must follow before the next."""
        job = {"arguments": list(arguments), "folder": str(folder), "environment": environment}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        self._folder, self._arguments = folder, list(arguments)
        return int(self._line())

    def finish(self) -> "subprocess.CompletedProcess[str]":
        """The exit status is −9 after kill -9."""
        status = os.waitstatus_to_exitcode(int(self._line()))
        texts = [(self._folder / name).read_text(encoding="utf-8") for name in ("stdout.txt", "stderr.txt")]
        return subprocess.CompletedProcess(self._arguments, status, *texts)

    def run(self, arguments: Sequence[str], folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        self.start(arguments, folder, **environment)
        return self.finish()

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the warm process has died"
        return line


def wait_for(path: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} has not appeared"
        time.sleep(0.01)


def _serve() -> None:
    import torch._dynamo  # noqa: F401


    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(job)
        _answer(child)
        _answer(os.waitpid(child, 0)[1])


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _run(job: dict) -> None:
    """Never returns."""
    folder = Path(job["folder"])
    os.chdir(folder)
    os.environ.update(job["environment"])
    for number, name in ((1, "stdout.txt"), (2, "stderr.txt")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = [str(ROOT / "train.py"), *job["arguments"]]
    status = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:  # as the interpreter would
        if isinstance(error.code, int):
            status = error.code
        elif error.code is not None:
            sys.stderr.write(f"{error.code}\n")
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve()
