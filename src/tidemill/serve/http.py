"""The HTTP door: an ASGI application that checks a request, hands it to its endpoint, and sends what comes back.

Behind Ray's ingress nothing has looked at a request before us, so limits are held here: size and time of the body,
content type and encoding, keys and their rates. It knows no model and no Ray.
"""

import asyncio
import logging
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tidemill.errors import RequestError
from tidemill.serve import compression, exposure, protocol
from tidemill.serve.ask import Reply
from tidemill.serve.keys import Keys, Scope
from tidemill.serve.traffic import Traffic

log = logging.getLogger("ray.serve")

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Coroutine[Any, Any, MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = b"application/json"
_UNKEYED = 2**16
"""Bytes: the longest body for an endpoint that is open to all, so that nobody without a key has much of it read."""


class Incoming(msgspec.Struct, frozen=True):
    """A request as endpoints see it: its body read whole and decompressed."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes
    arrived: float


Handler = Callable[[Incoming], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """scope: what a key must be good for, None: open to all. types: content types of a body; empty: there is none."""

    handler: Handler
    methods: tuple[str, ...]
    scope: Scope | None = None
    types: tuple[bytes, ...] = ()
    label: str = "other"
    error_body: Callable[[RequestError], bytes] = protocol.encode_error


Find = Callable[[str], Endpoint | None]
"""From a path to what answers it."""


class Application:
    """The ASGI application of one replica.

    Args:
        find: the endpoints.
        limits: of a request's body.
        keys: None lets everybody in.
        traffic: what gRPC has in hand stands there too.
    """

    def __init__(self, find: Find, limits: protocol.Limits, keys: Keys | None, traffic: Traffic) -> None:
        self._find = find
        self._limits = limits
        self._keys = keys
        self._traffic = traffic
        self._unkeyed = replace(limits, bytes=min(limits.bytes, _UNKEYED))

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
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
        except _Gone:
            return
        except Exception:
            log.exception("A request failed")
            reply = Reply(_FAULT, 500)
        finally:
            traffic.ongoing -= 1
        body = b"" if scope["method"] == "HEAD" else reply.body
        headers = [
            (b"content-type", reply.type),
            (b"content-length", str(len(reply.body)).encode()),
            *reply.headers,
        ]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        traffic.metrics.answered(path, reply.status, time.monotonic() - arrived)

    async def _reply(self, endpoint: Endpoint | None, scope: _Scope, receive: _Receive, arrived: float) -> Reply:
        path, method = scope["path"], scope["method"]
        if endpoint is None:
            raise protocol.refused(404, "A path is one of those in /openapi.json", path[:200], "correct the path")
        if method not in endpoint.methods and not (method == "HEAD" and "GET" in endpoint.methods):
            allowed = ", ".join(endpoint.methods)
            raise protocol.refused(405, f"{endpoint.label} takes {allowed}", method[:20], "use the right method")
        headers = dict(scope["headers"])
        if self._keys is None:
            if method == "POST":
                exposure.check_site(headers)
        elif endpoint.scope is not None:
            self._keys.check(_key(headers), endpoint.scope)
        predicts, traffic = endpoint.scope is Scope.PREDICT, self._traffic
        if predicts:
            traffic.admit(traffic.predicting + 1)
        body = b""
        if method == "POST":
            _check_type(headers.get(b"content-type", JSON), endpoint)
            body = await self._body(headers, receive, self._unkeyed if endpoint.scope is None else self._limits)
        traffic.predicting += predicts  # from here on: who needs no key, or sends its body slowly, takes no place
        try:
            reply = await endpoint.handler(Incoming(method, path, headers, body, arrived))
        finally:
            traffic.predicting -= predicts
        accepted = headers.get(b"accept-encoding")
        if accepted:
            content, name = compression.encoded(reply.body, accepted.decode("latin-1"))
            if name:
                return msgspec.structs.replace(
                    reply, body=content, headers=(*reply.headers, (b"content-encoding", name.encode()))
                )
        return reply

    async def _body(self, headers: Mapping[bytes, bytes], receive: _Receive, limits: protocol.Limits) -> bytes:
        """Read no further than the limit, and no longer."""
        most = limits.bytes
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            observed = length[:20].decode("latin-1")
            raise protocol.refused(400, "Content-Length is a number of bytes", repr(observed), "send the body's length")
        if len(length) > 15 or int(length) > most:
            raise protocol.too_large(limits, f"{length[:20].decode()} bytes")
        first = receive()
        try:
            waiting = first.send(None)
        except StopIteration as done:  # a body that has come with its head, as most do, is worth no timer
            message = done.value
            body = (
                await self._in_time(_rest(_content(message), receive, limits)) if _more(message) else _content(message)
            )
        else:
            body = await self._in_time(_all(_resumed(first, waiting), receive, limits))
        if len(body) > most:  # of a length that was not told
            raise protocol.too_large(limits, f"{len(body)} bytes")
        encoding = headers.get(b"content-encoding")
        return compression.decoded(body, encoding.decode("latin-1"), most) if encoding else body

    async def _in_time(self, reading: Awaitable[bytes]) -> bytes:
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await reading
        except TimeoutError as error:
            rule = f"A request's body arrives within {self._limits.seconds:g} seconds"
            raise protocol.refused(408, rule, "it did not", "send it faster, or in several requests") from error


class _Gone(Exception):  # noqa: N818 — nobody is left to be told
    """The client has gone before its request was complete."""


async def _other(kind: str, receive: _Receive, send: _Send) -> None:
    """What the ASGI specification has besides HTTP: starting and ending, and WebSockets, which we refuse."""
    message = await receive()
    while kind == "lifespan":
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
        message = await receive()
    await send({"type": "websocket.close", "code": 1003})


@types.coroutine
def _resumed(begun: Coroutine[Any, Any, Any], waiting: Any) -> Generator[Any, Any, Any]:
    """What is left of a coroutine whose first step, made by hand, led to a wait."""
    try:
        yield waiting
        return (yield from begun)
    finally:
        begun.close()


async def _all(first: Awaitable[MutableMapping[str, Any]], receive: _Receive, limits: protocol.Limits) -> bytes:
    message = await first
    return await _rest(_content(message), receive, limits) if _more(message) else _content(message)


async def _rest(first: bytes, receive: _Receive, limits: protocol.Limits) -> bytes:
    parts, size = [first], len(first)
    while True:
        message = await receive()
        parts.append(_content(message))
        size += len(parts[-1])
        if size > limits.bytes:
            raise protocol.too_large(limits, f"more than {limits.bytes} bytes")
        if not _more(message):
            return b"".join(parts)


def _more(message: Mapping[str, Any]) -> bool:
    return bool(message.get("more_body"))


def _content(message: Mapping[str, Any]) -> bytes:
    if message["type"] == "http.disconnect":
        raise _Gone
    content: bytes = message.get("body", b"")
    return content


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
        raise protocol.refused(415, f"The content type is {there}", observed, "send the header Content-Type")


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
    body = endpoint.error_body(error) if endpoint else protocol.encode_error(error)
    return Reply(body, error.status, JSON, headers)


_FAULT = protocol.dumps(
    {
        "error": {
            "rule": "The server answers every valid request",
            "observed": "a fault of its own",
            "remedy": "see its log",
        }
    }
)
