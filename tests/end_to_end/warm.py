"""Runs train.py again and again, each time in a process of its own, with the imports done once.

Starting Python and importing torch takes far longer than most refusals. So one process imports what
train.py imports, and for each run forks a child, which runs the real train.py as `__main__` with its own
arguments, folder, environment and output files. `python warm.py` is that process: it reads one JSON line
for each run, and answers with the child's number and later with its exit status.
"""

import importlib
import json
import os
import resource
import runpy
import select
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]
STDOUT, STDERR = "stdout.txt", "stderr.txt"


class Warm:
    """`with Warm() as warm: warm.run([…], folder)`; runs follow one another."""

    def __enter__(self) -> "Warm":
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd=ROOT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def start(
        self, arguments: Sequence[str], folder: Path, *, file_limit: int | None = None, **environment: str
    ) -> int:
        """Start a run in `folder` and give its process's number; `finish` must follow before the next.

        Args:
            file_limit: bytes that no file may grow beyond: a disk that gets full.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name in (STDOUT, STDERR):
            (folder / name).write_text("")
        self._arguments, self._folder = list(arguments), folder
        job = {"arguments": self._arguments, "folder": str(folder), "limit": file_limit, "environment": environment}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        return self._number()

    def finish(self) -> "subprocess.CompletedProcess[str]":
        """The exit status is −9 after kill -9."""
        status = os.waitstatus_to_exitcode(self._number())
        texts = [(self._folder / name).read_text(encoding="utf-8") for name in (STDOUT, STDERR)]
        return subprocess.CompletedProcess(self._arguments, status, *texts)

    def run(self, arguments: Sequence[str], folder: Path, **more: Any) -> "subprocess.CompletedProcess[str]":
        self.start(arguments, folder, **more)
        return self.finish()

    def signal(
        self, number: int, when: Callable[[], bool], arguments: Sequence[str], folder: Path, **more: Any
    ) -> "subprocess.CompletedProcess[str]":
        """A run that gets a signal as soon as `when` holds, unless it has ended before."""
        process = self.start(arguments, folder, **more)
        while not select.select([self._process.stdout], [], [], 0.0005)[0]:
            if when():
                os.kill(process, number)
                break
        return self.finish()

    def _number(self) -> int:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the warm process has died"
        return int(line)


HEAVY = ("tidemill.pipeline", "lightning", "onnxscript", "sklearn.model_selection", "torch._dynamo", "wandb")


def _serve() -> None:
    from hydra.core.plugins import Plugins

    from tidemill.settings import known_keys

    for name in HEAVY:
        importlib.import_module(name)
    known_keys()  # imports all models
    Plugins.instance()  # Hydra looks through every package for plugins
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


def _run(job: dict[str, Any]) -> None:
    """Never returns."""
    folder = Path(job["folder"])
    os.chdir(folder)
    os.environ.update(job["environment"])
    for number, name in ((1, STDOUT), (2, STDERR)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if job["limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["limit"], job["limit"]))
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
