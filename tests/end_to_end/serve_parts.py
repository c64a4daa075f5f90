"""A real `tidemill serve` in a process of its own, and how it is asked."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from patience import PATIENCE
from tidemill.bundle.registry.registry import Registry

ROW = {"open": True, "city": "Zürich", "size": 61.5}


def free_port() -> int:
    """Below those that the system gives out by itself: one of Ray's many processes may take such a one first; and above
    those that servers take beside the one that is asked for."""
    while True:
        port = random.randrange(30_000, 32_700)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def command(registry: Registry, port: int, *more: str) -> list[str]:
    words = [sys.executable, "-P", "-m", "tidemill.cli", "serve", "--registry", registry.path, "--model", "small"]
    return [*words, "--port", str(port), *more]


@dataclass
class Server:
    """A server that runs. said: what it printed until it was ready, and after its end the rest."""

    process: "subprocess.Popen[str]"
    port: int
    grpc: int
    said: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, number: int, *, group: bool) -> str:
        """What it says at its end; it must be a good one."""
        (os.killpg if group else os.kill)(self.process.pid, number)
        try:
            rest, _ = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        assert self.process.returncode == 0, rest
        return rest


def begin(registry: Registry, *more: str, folder: Path | None = None, user: int | None = None) -> Server:
    port, grpc_port = free_port(), free_port()
    process = subprocess.Popen(
        command(registry, port, "--grpc-port", str(grpc_port), *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=folder,
        **({} if user is None else {"user": user, "group": user, "extra_groups": []}),
    )
    said = ""
    while "Ctrl-C" not in said:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            process.communicate(timeout=PATIENCE)
            raise AssertionError(f"the server ended: {said}")
        said += line
    return Server(process, port, grpc_port, said)


@pytest.fixture(scope="module")
def registry(small_multiclass: Any, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")
    registry.add("small", small_multiclass.folder)
    return registry


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger")


@pytest.fixture(scope="module")
def server(registry: Registry, ledger: Path) -> Iterator[Server]:
    """Behind HAProxy, as by default; ended by Ctrl-C to all of its group, as a terminal does."""
    server = begin(registry, f"ledger.path={ledger}", "ledger.ship_seconds=0.5")
    ended = ""
    try:
        yield server
    finally:
        ended = server.stop(signal.SIGINT, group=True)
    assert ended.strip() == "Draining …", "nothing else is said at the end"


def ask(url: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, body, headers), timeout=PATIENCE) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


JSON = "application/json"
