"""Keeps servers on one machine apart: ports that no other start is given, a token between HAProxy and replicas, and
Python modules from the installation alone.

Ray hands out the same ports to every server (30000, 40000, …), and binds gRPC's so that processes of one user share
them (Ray 2.60 passes `("grpc.so_reuseport", "0")`, a text, which gRPC takes for "on"): calls for one server, keys among
them, came to the replicas of another. So each start takes a block of ports of its own, gRPC's are bound exclusively,
and a replica answers nobody who does not come through its own server's HAProxy.
"""

import contextlib
import hmac
import os
import random
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

from tidemill.errors import SettingsError
from tidemill.serve.wire.refusals import refused

TOKEN = "TIDEMILL_SERVER"
"""Environment variable with the token of one start; empty or not there: any caller's requests are answered."""
HEADER = "x-tidemill-server"
"""Header, and key of gRPC's metadata, in which HAProxy sends it; what a client sends under this name is replaced."""
SAFE_PATH = "PYTHONSAFEPATH"
_FIRST, _END, _BLOCK = 20_000, 30_000, 200
"""Ports: below those that the system gives out by itself (32768 on Linux), above those of Ray's workers (10002 on)."""
_BESIDE = (
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
)
"""What HAProxy, and Ray's proxy behind it, listen on besides the service's ports."""
_HTTP, _GRPC = 10, 105
"""Where, in a block, the ports of replicas begin. They end where others begin: there may be 94 replicas."""
_RANGES = tuple(
    f"RAY_SERVE_DIRECT_INGRESS_{end}_{protocol}_PORT" for protocol in ("HTTP", "GRPC") for end in ("MIN", "MAX")
)
_LONGEST = 11
"""Bytes of a temporary folder's path: HAProxy's socket has 86 more, of at most 97; Ray's some 84, of at most 107."""
_guards: list[socket.socket] = []


def ports(taken: tuple[int, ...] = ()) -> dict[str, str]:
    """A block of ports for one start, as Ray reads it from the environment; variables that are set already stay.

    The block's first port stays bound until this process ends, which keeps it from other starts, whoever makes them.

    Args:
        taken: ports that the service itself will listen on.

    Raises:
        SettingsError: no block is free.
    """
    names = (*_BESIDE, *_RANGES)
    if all(os.environ.get(name) for name in names):
        return {name: os.environ[name] for name in names}
    blocks = [range(first, first + _BLOCK) for first in range(_FIRST, _END, _BLOCK)]
    random.SystemRandom().shuffle(blocks)  # the block of a server that has just ended may not be free in full
    for block in blocks:
        if any(port in block for port in taken):
            continue
        beside = [block.start + 1 + place for place in range(len(_BESIDE))]
        if not all(map(_is_free, (*beside, block.start + _HTTP, block.start + _GRPC))):
            continue
        guard = socket.socket()
        try:
            guard.bind(("", block.start))
        except OSError:
            guard.close()
            continue
        _guards.append(guard)
        ends = (block.start + _HTTP, block.start + _GRPC - 1, block.start + _GRPC, block.stop - 1)
        return {name: os.environ.get(name) or str(port) for name, port in zip(names, (*beside, *ends), strict=True)}
    raise SettingsError(
        f"Each server takes {_BLOCK} ports of its own between {_FIRST} and {_END}",
        observed="none of these blocks is free",
        remedy=f"end other servers on this machine, or set {', '.join(names)}",
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections may linger
        probe.bind(("", port))
        return True
    return False


def temporary_folder() -> Path:
    """Where sockets may lie: the user's temporary folder, or /tmp where the path of the user's is too long for them.

    Raises:
        SettingsError: nothing can be written to /tmp then.
    """
    given = tempfile.gettempdir()
    if len(os.fsencode(given)) <= _LONGEST:
        return Path(given)
    if os.access("/tmp", os.W_OK | os.X_OK):
        return Path("/tmp")
    raise SettingsError(
        f"Sockets of Ray and HAProxy lie in a temporary folder with a path of at most {_LONGEST} bytes, or in /tmp",
        observed=f"{given}, and nothing can be written to /tmp",
        remedy="set TMPDIR to a folder with a shorter path",
    )


def session_folder() -> Path:
    """Where a Ray that we start keeps its sessions, logs and sockets: in a folder that is this user's alone.

    Ray lets everybody read and write in its own (`/tmp/ray`, mode 0777), whatever folder it is given; so it is given
    one in a folder that nobody else can enter.
    """
    place = temporary_folder() / f"tidemill-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
    about = place.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077:
        raise SettingsError(
            "The folder of Ray's sessions is this user's alone",
            observed=f"{place} is somebody else's, or open to others",
            remedy="take it away, or chmod 700 it; or set TMPDIR to a folder of your own",
        )
    return place / "ray"


def bind_grpc_exclusively() -> None:
    """Let a gRPC port that Ray binds in this process be bound by nobody else. To be called before Ray starts a server.

    Of options with one name gRPC keeps the first, so ours, a number, stands before Ray's text.
    """
    from ray.serve._private import constants

    ours = ("grpc.so_reuseport", 0)
    if ours not in constants.DEFAULT_GRPC_SERVER_OPTIONS:
        constants.DEFAULT_GRPC_SERVER_OPTIONS.insert(0, ours)


def job() -> Any:
    """For `ray.init(job_config=…)`: workers look for modules where they are installed, and not in the driver's folders.

    Ray puts the driver's current folder before all others, so that a file there called like any module is run instead
    of it. It leaves that out where a job has a working directory, which is all that this one says of itself.
    """
    from ray.job_config import JobConfig

    class Job(JobConfig):  # type: ignore[misc]  # Ray has no types
        def _runtime_env_has_working_dir(self) -> bool:
            return True

    return Job()


def check_token(given: bytes | None) -> None:
    """given: what came as the header, or in the metadata of a call.

    Raises:
        RequestError: 421, the request came by another server's HAProxy, or by none.
    """
    token = os.environ.get(TOKEN)
    if token and not hmac.compare_digest(given or b"", token.encode()):
        rule = "A replica answers what comes through its own server"
        raise refused(421, rule, "a request that does not", "send it to the server's address, not to a replica's")
