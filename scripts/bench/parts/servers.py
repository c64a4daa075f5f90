"""Servers that a benchmark starts, waits for, watches and stops, each with all the processes it makes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parts.epoll_loop import LOOPBACK
from parts.load import Load, run
from parts.small_model import NAME, Model

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STOP = 45.0  # seconds: Ray waits half a minute for its own
READY = 120.0


class ServerError(Exception):
    """A server could not be started; the text says why."""


@dataclass
class Server:
    """A running server and the processes below it."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path
    ready_seconds: float = 0.0
    known: set[int] = field(default_factory=set)

    def tree(self) -> dict[int, str]:
        """Process id → name, of the server's process and all below it."""
        parents: dict[int, int] = {}
        names: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    text = (entry / "stat").read_text()
                    parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
                    title = (entry / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
                    names[int(entry.name)] = title or text[text.find("(") + 1 : text.rfind(")")]
        found = {self.process.pid}
        while grown := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= grown
        self.known |= found
        return {pid: names[pid] for pid in found if pid in names}

    def replicas(self) -> list[int]:
        """Process ids of Ray Serve's replicas of ours."""
        return [pid for pid, name in self.tree().items() if name.startswith("ray::ServeReplica")]

    def cpu_seconds(self) -> dict[int, float]:
        """By process id."""
        used = {}
        for pid in self.tree():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                used[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
        return used

    def stop(self) -> None:
        self.tree()
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP)
        for pid in self.known:  # those that it left behind
            if _is_below(pid, self.log):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()


def free_port() -> int:
    """A port that nobody listens at, so that benchmarks can run side by side."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def ask(port: int, content: bytes, seconds: float = 10.0) -> tuple[int, bytes]:
    """Status and body of one request; status 0 where there is no answer.

    Raises:
        OSError: nothing listens there.
    """
    answers: list[tuple[int, bytes]] = []
    load = Load(port=port, requests=[content], connections=1, count=1, warmup=0.0, seconds=seconds, timeout=seconds)
    run(load, lambda request, status, head, body, latency: answers.append((status, body)))
    return answers[0] if answers else (0, b"")


@contextlib.contextmanager
def started(
    command: Sequence[str], port: int, content: bytes, log: Path, *, folder: Path | None = None, **more: str
) -> Iterator[Server]:
    """The server, once it answers `content` with 200. more: environment variables.

    Raises:
        ServerError: it did not answer within two minutes, or it ended, or the block could not reach it.
    """
    begun = time.perf_counter()
    # The log's path in the environment marks every process that belongs to this server.
    environment = {**os.environ, "TIDEMILL_BENCH_SERVER": str(log), **more}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=folder, env=environment
        )
    server = Server(process, port, log)
    try:
        while not _answers(port, content):
            if process.poll() is not None or time.perf_counter() - begun > READY:
                raise ServerError(_last_line(log) or f"it ended with {process.poll()}")
            time.sleep(0.1)
        server.ready_seconds = time.perf_counter() - begun
        yield server
        if process.poll() is not None:
            raise ServerError(f"it ended with {process.returncode} under load: {_last_line(log)}")
    except OSError as error:
        raise ServerError(f"{error}; its log ends: {_last_line(log)}") from error
    finally:
        server.stop()


def ours(
    model: Model, port: int, content: bytes, log: Path, *settings: str
) -> contextlib.AbstractContextManager[Server]:
    """`tidemill serve` as a user starts it, on 127.0.0.1, its ledger beside the log. settings: key=value."""
    program = str(Path(sys.executable).with_name("tidemill"))
    command = [program, "serve", "--registry", str(model.registry), "--model", NAME, "--port", str(port)]
    return started([*command, *settings], port, content, log, folder=log.parent)


def _answers(port: int, content: bytes) -> bool:
    try:
        return ask(port, content)[0] == 200
    except (OSError, ValueError):
        return False


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][-300:] if lines else ""


def _is_below(pid: int, log: Path) -> bool:
    """Whether the process is still one of the server's: ids are used again."""
    with contextlib.suppress(OSError):
        return f"TIDEMILL_BENCH_SERVER={log}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    return False


def wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    """Whether it came to hold in time."""
    end = time.perf_counter() + seconds
    while not holds():
        if time.perf_counter() > end:
            return False
        time.sleep(0.1)
    return True
