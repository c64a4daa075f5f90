"""Child processes of a replay: each with a log of its own, and all of them ended when the block ends."""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tidemill.errors import ReplayError

_ENDING = 90.0  # seconds
_POLL = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class _Child:
    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def failed(self) -> ReplayError:
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        said = lines[-1][-400:] if lines else f"exit status {self.process.returncode}"
        return ReplayError(f"The {self.name} runs to its end", observed=f"it ended: {said}", remedy=f"see {self.log}")


class Children:
    """`with Children(folder) as children: children.start("server", command)`; logs lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[_Child] = []

    def __enter__(self) -> "Children":
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """In the reverse order; all of them are told before one is waited for, if the block did not end well."""
        children, self._running = self._running[::-1], []
        if kind is not None:
            for child in children:
                _let_go(child)
        for child in children:
            _end(child)

    def start(self, name: str, command: Sequence[str]) -> None:
        log = self._folder / f"{name}.log"
        supervised = [sys.executable, "-P", "-m", "tidemill.replay.live.supervisor", *command]
        with log.open("wb") as output:
            process = subprocess.Popen(
                supervised, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
            )
        self._running.append(_Child(name, process, log))

    def run(self, name: str, command: Sequence[str]) -> None:
        """Start it and wait for its end.

        Raises:
            ReplayError: it failed; its last words are told.
        """
        self.start(name, command)
        child = self._running[-1]
        while child.process.poll() is None:
            time.sleep(_POLL)
        self._running.remove(child)
        _end(child)
        if child.process.returncode:
            raise child.failed()

    def end(self, name: str) -> None:
        """End one before the others."""
        child = next(child for child in self._running if child.name == name)
        self._running.remove(child)
        _end(child)

    def check(self) -> None:
        """
        Raises:
            ReplayError: one of them has ended.
        """
        for child in self._running:
            if child.process.poll() is not None:
                raise child.failed()


def _let_go(child: _Child) -> None:
    assert child.process.stdin is not None
    child.process.stdin.close()


def _end(child: _Child) -> None:
    _let_go(child)
    try:
        child.process.wait(_ENDING)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()
