"""Where a retraining's command runs: a process beside the steward, or a job of a Ray cluster; each after serving."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tidemill.errors import TrainingError
from tidemill.serve.on_ray import ray_start
from tidemill.steward.retraining import background
from tidemill.steward.retraining.command import RetrainSettings

_STARTED: dict[Path, subprocess.Popen[bytes]] = {}
"""Processes that this one started, by folder: it alone gets to know how they end."""
LOCK = "lock"
"""In the folder: whoever holds it runs, or looks after, the retraining."""
_TAIL = 8192  # bytes
_LONGEST = 400  # characters
_ERROR = re.compile(r"^[\w.]*Error: .+", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """How an attempt ended: code of the process, None where nobody knows; said: the error it ended with, if any."""

    code: int | None
    said: str

    @property
    def killed(self) -> bool:
        """From outside, so that another attempt may fare better; one that failed by itself would fail again."""
        return self.code < 0 if self.code is not None else not self.said


class Running(Protocol):
    """Attempts at one retraining, numbered from 1."""

    def start(self, number: int, words: Sequence[str], lock: int) -> None:
        """lock: a file descriptor whose lock must be held until the attempt ends, where that can be."""

    def end(self, number: int) -> End | None:
        """None while it runs."""

    def stop(self, number: int) -> None:
        """End it, with all processes that it made."""


class Process:
    """A process of its own session, which outlives the steward; it holds the folder's lock until it ends.

    So whoever has the lock knows that nothing runs.
    """

    def __init__(self, folder: Path, settings: RetrainSettings) -> None:
        self.folder, self.settings = folder, settings

    def start(self, number: int, words: Sequence[str], lock: int) -> None:
        with log_of(self.folder, number).open("wb") as log:
            _STARTED[self.folder] = started = subprocess.Popen(
                _behind_others(words, self.settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock],
                env={**os.environ, **background.limits(self.settings.threads)},
            )
        self._group(number).write_text(str(started.pid), encoding="ascii")

    def stop(self, number: int) -> None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            group = int(self._group(number).read_text(encoding="ascii"))
            if _is_free_or_holds(group, self.folder / LOCK):
                os.killpg(group, signal.SIGKILL)

    def _group(self, number: int) -> Path:
        return self.folder / f"attempt-{number}.pid"

    def end(self, number: int) -> End | None:
        mine = _STARTED.pop(self.folder, None)
        return End(code=mine.wait() if mine else None, said=_said(log_of(self.folder, number)))


class RayJob:
    """A job whose submission id is the retraining's, so that it cannot be submitted twice.

    The cluster's machines must share folder and registry with the steward, and have code and Python where it has them.
    """

    def __init__(self, folder: Path, settings: RetrainSettings) -> None:
        self.folder, self.settings = folder, settings

    def start(self, number: int, words: Sequence[str], lock: int) -> None:
        entry = shlex.join(_behind_others(words, self.settings))
        with _reached(self.settings.ray_address):
            client = self._client()
            if self._details(client, number) is None:
                client.submit_job(
                    entrypoint=f"cd {shlex.quote(str(Path.cwd()))} && exec {entry}",
                    submission_id=self._id(number),
                    entrypoint_num_cpus=self.settings.threads,
                    runtime_env={"env_vars": background.limits(self.settings.threads)},
                )

    def end(self, number: int) -> End | None:
        with _reached(self.settings.ray_address):
            client = self._client()
            details = self._details(client, number)
            if details is None:  # never submitted, or of a cluster that is gone
                return End(code=None, said="")
            if not details.status.is_terminal():
                return None
            log_of(self.folder, number).write_text(client.get_job_logs(self._id(number)), encoding="utf-8")
        return End(code=details.driver_exit_code, said=_said(log_of(self.folder, number)))

    def stop(self, number: int) -> None:
        with _reached(self.settings.ray_address):
            self._client().stop_job(self._id(number))

    def _client(self) -> Any:
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(self.settings.ray_address)

    def _details(self, client: Any, number: int) -> Any:
        return next((job for job in client.list_jobs() if job.submission_id == self._id(number)), None)

    def _id(self, number: int) -> str:
        return self.folder.name if number == 1 else f"{self.folder.name}-{number}"


def _behind_others(words: Sequence[str], settings: RetrainSettings) -> list[str]:
    """The command with its priority; `python` is the one that the steward runs in."""
    first = sys.executable if words[0] in ("python", "python3") else words[0]
    return [sys.executable, "-P", "-m", background.MODULE, settings.priority, first, *words[1:]]


@contextlib.contextmanager
def _reached(address: str | None) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not ray_start.is_rays(error) and not isinstance(error, ValueError):
            raise
        raise TrainingError(
            "retrain.runner=ray needs a Ray cluster that takes jobs",
            observed=f"retrain.ray_address={address}: {ray_start.line(error)}",
            remedy="correct the address of the head's dashboard, like http://HOST:8265, or set retrain.runner=process",
        ) from error


def _is_free_or_holds(pid: int, lock: Path) -> bool:
    """Whether a process holds the lock, so that it is the one that was started; or no process has its number any more.

    A number that is a group's is given to no new process: where its first process is gone, the group is still ours.
    """
    try:
        return any(file.readlink() == lock for file in Path("/proc", str(pid), "fd").iterdir())
    except OSError:
        return not Path("/proc", str(pid)).exists()


def log_of(folder: Path, number: int) -> Path:
    """What an attempt said."""
    return folder / f"attempt-{number}.log"


def _said(log: Path) -> str:
    """The error at the end of a log, as `tidemill.ending` and Python write it, in a line of bounded length."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    starts = [one.start() for one in _ERROR.finditer(text)]
    said = " ".join(text[starts[-1] :].split()) if starts else ""
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]} …"
