"""The server of a replay: `tidemill serve` on a free port, started and awaited."""

import socket
import sys
import time
import urllib.request

from tidemill.errors import ReplayError
from tidemill.ledger.settings import LedgerSettings
from tidemill.replay.live.children import Children

HOST = "127.0.0.1"
PROGRAM = (sys.executable, "-P", "-m", "tidemill.cli")
_SHIP = 0.1  # seconds
_STARTED = 180.0  # seconds until the server must answer
_TRIES = 3


def start(children: Children, registry: str, model: str, ledger: LedgerSettings) -> int:
    """Start the server; returns its port once it is ready."""
    for attempt in range(_TRIES):
        with socket.create_server((HOST, 0)) as probe:
            port: int = probe.getsockname()[1]
        where = ["--registry", registry, "--model", model, "--port", str(port)]
        settings = [f"ledger.path={ledger.path}", f"ledger.ship_seconds={_SHIP}", "ledger.fsync=never"]
        children.start("server", [*PROGRAM, "serve", *where, *settings, f"watch_seconds={_SHIP}"])
        try:
            _await(port, children)
            break
        except ReplayError:  # a port that was free may be taken before HAProxy has it
            if attempt == _TRIES - 1:
                raise
            children.end("server")
    return port


def _await(port: int, children: Children) -> None:
    end = time.monotonic() + _STARTED
    while not _ready(port):
        children.check()
        if time.monotonic() > end:
            raise ReplayError(
                "The server answers before long",
                observed=f"not after {_STARTED:.0f} s",
                remedy="see logs/server.log in the replay's folder",
            )
        time.sleep(0.1)


def _ready(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
    try:
        with opener.open(f"http://{HOST}:{port}/health", timeout=10) as response:
            return bool(response.status == 200)
    except OSError:
        return False
