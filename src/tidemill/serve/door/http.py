"""The HTTP door: an ASGI application that checks a request, hands it to its endpoint, and sends what comes back.

Behind Ray's ingress nothing has looked at a request before us, so limits are held here: size and time of the body,
content type and encoding, keys and their rates. It knows no model and no Ray.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tidemill.errors import RequestError
from tidemill.serve.door import body, exposure
from tidemill.serve.door.keys import Key, Keys, Scope
from tidemill.serve.door.traffic import LONG, Traffic
from tidemill.serve.wire import compression
from tidemill.serve.wire.refusals import Limits, encode_error, refused
from tidemill.serve.wire.request import Reply

LOG = logging.getLogger("ray.serve")

_Scope = MutableMapping[str, Any]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = b"application/json"
_UNKEYED = 2**16
"""Bytes: the longest body for an endpoint that is open to all, so that nobody without a key has much of it read."""


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """A request as endpoints see it: its body read whole and decompressed. key: None where none is asked for."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes
    arrived: float
    key: Key | None = None


Handler = Callable[[Incoming], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """scope: what a key must be good for, None: open to all; where nothing is said, only keys for everything will do.
    types: content types of a body; empty: there is none."""

    handler: Handler
    methods: tuple[str, ...]
    scope: Scope | None = Scope.ADMIN
    types: tuple[bytes, ...] = ()
    label: str = "other"
    error_body: Callable[[RequestError], bytes] = encode_error


Find = Callable[[str], Endpoint | None]
"""From a path to what answers it."""


class Application:
    """The ASGI application of one replica.

    Args:
        find: the endpoints.
        limits: of a request's body.
        keys: None lets everybody in.
        traffic: what gRPC has in hand stands there too.
        hosts: names besides loopback's that requests without keys may be for; None: any.
    """

    def __init__(
        self,
        find: Find,
        limits: Limits,
        keys: Keys | None,
        traffic: Traffic,
        hosts: Collection[str] | None = None,
    ) -> None:
        self._find = find
        self._limits = limits
        self._keys = keys
        self._traffic = traffic
        self._hosts = hosts
        self._unkeyed = replace(limits, bytes=min(limits.bytes, _UNKEYED))

    async def __call__(self, scope: _Scope, receive: body.Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await _other(scope["type"], receive, send)
            return
        arrived = time.monotonic()
        path = scope["path"]
        endpoint, traffic = self._find(path), self._traffic
        traffic.ongoing += 1
        try:
            reply = await self._reply(endpoint, scope, receive, arrived)
        except RequestError as error:
            reply = _refusal(error, endpoint)
            traffic.refused(error)
        except body.Gone:
            return
        except Exception:
            LOG.exception("A request failed")
            reply = Reply(_FAULT, 500)
        finally:
            traffic.ongoing -= 1
        headers = [
            (b"content-type", reply.type),
            (b"content-length", str(len(reply.body)).encode()),
            *reply.headers,
        ]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})
        traffic.metrics.answered(path, reply.status, time.monotonic() - arrived)

    async def _reply(self, endpoint: Endpoint | None, scope: _Scope, receive: body.Receive, arrived: float) -> Reply:
        path, method = scope["path"], scope["method"]
        if endpoint is None:
            raise refused(404, "A path is one of those in /openapi.json", path[:200], "correct the path")
        if method not in endpoint.methods and not (method == "HEAD" and "GET" in endpoint.methods):
            allowed = ", ".join(endpoint.methods)
            raise refused(405, f"{endpoint.label} takes {allowed}", method[:20], "use the right method")
        headers = dict(scope["headers"])
        key: Key | None = None
        if self._keys is None:
            exposure.check_host(headers, self._hosts)
            if method == "POST":
                exposure.check_site(headers)
        elif endpoint.scope is not None:
            key = self._keys.check(_key(headers), endpoint.scope)
        predicts, traffic = endpoint.scope is Scope.PREDICT, self._traffic
        if predicts:
            traffic.admit(traffic.predicting + 1)
        content, held = b"", 0
        if method == "POST":
            _check_type(headers.get(b"content-type", JSON), endpoint)
            limits = self._unkeyed if endpoint.scope is None else self._limits
            content = await body.read(headers, receive, limits, traffic, predicts=predicts)
            if len(content) > LONG:
                held = traffic.hold(0, len(content))
        traffic.predicting += predicts  # from here on: who needs no key, or sends its body slowly, takes no place
        try:
            reply = await endpoint.handler(Incoming(method, path, headers, content, arrived, key))
        finally:
            traffic.predicting -= predicts
            traffic.held -= held
        accepted = headers.get(b"accept-encoding")
        if accepted:
            shorter, name = compression.encoded(reply.body, accepted.decode("latin-1"))
            if name:
                return msgspec.structs.replace(
                    reply, body=shorter, headers=(*reply.headers, (b"content-encoding", name.encode()))
                )
        return reply


async def _other(kind: str, receive: body.Receive, send: _Send) -> None:
    """What the ASGI specification has besides HTTP: starting and ending, and WebSockets, which we refuse."""
    message = await receive()
    while kind == "lifespan":
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
        message = await receive()
    await send({"type": "websocket.close", "code": 1003})


def _key(headers: Mapping[bytes, bytes]) -> str | None:
    given = (headers.get(name) for name in (b"authorization", b"x-api-key"))
    return presented(*(None if value is None else value.decode("latin-1") for value in given))


def presented(authorization: str | None, own: str | None) -> str | None:
    """The key, as a bearer token or in the header X-API-Key."""
    if authorization is not None and authorization[:7].lower() == "bearer ":
        return authorization[7:].strip()
    return own


def _check_type(given: bytes, endpoint: Endpoint) -> None:
    if given in endpoint.types or given.split(b";", 1)[0].strip().lower() in endpoint.types:
        return
    if endpoint.types:
        there = ", ".join(type_.decode() for type_ in endpoint.types)
        observed = given[:100].decode("latin-1") or "an empty one"
        raise refused(415, f"The content type is {there}", observed, "send the header Content-Type")


def _refusal(error: RequestError, endpoint: Endpoint | None) -> Reply:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if error.status == 405 and endpoint:
        headers = ((b"allow", ", ".join(endpoint.methods).encode()),)
    elif error.status == 408:  # what it would send yet is not to be taken for its next request
        headers = ((b"connection", b"close"),)
    elif error.status == 401:
        headers = ((b"www-authenticate", b"Bearer"),)
    elif error.retry_after is not None:
        headers = ((b"retry-after", str(error.retry_after).encode()),)
    body = endpoint.error_body(error) if endpoint else encode_error(error)
    return Reply(body, error.status, JSON, headers)


_FAULT = msgspec.json.encode(
    {
        "error": {
            "rule": "The server answers every valid request",
            "observed": "a fault of its own",
            "remedy": "see its log",
        }
    }
)
