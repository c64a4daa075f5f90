"""A request's body: read no further than its limits, no longer, and not while others fill the memory."""

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator, Mapping, MutableMapping
from typing import Any

from tidemill.serve.door.traffic import LONG, Traffic
from tidemill.serve.wire import compression
from tidemill.serve.wire.refusals import Limits, refused, too_large

_Message = MutableMapping[str, Any]
Receive = Callable[[], Coroutine[Any, Any, _Message]]


_QUICK = 2**12
"""Bytes: what is compressed to so few is at most 4 MiB long."""


class Gone(Exception):  # noqa: N818 — nobody is left to be told
    """The client has gone before its request was complete."""


async def read(
    headers: Mapping[bytes, bytes], receive: Receive, limits: Limits, traffic: Traffic, *, predicts: bool
) -> bytes:
    """The body, decompressed.

    Args:
        predicts: others may have taken the places of those for predictions while this body was on its way.

    Raises:
        Gone: as it says.
        RequestError: 400 no length or no compression that we know, 408 too slow, 413 too large, 503 too much in hand.
    """
    most = limits.bytes
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        observed = length[:20].decode("latin-1")
        raise refused(400, "Content-Length is a number of bytes", repr(observed), "send the body's length")
    if len(length) > 15 or int(length) > most:
        raise too_large(limits, f"{length[:20].decode()} bytes")
    first = receive()
    try:
        waiting = first.send(None)
    except StopIteration as done:  # a body that has come with its head, as most do, is worth no timer
        message = done.value
        coming = _given(message) if _more(message) else None
    else:
        coming = _resumed(first, waiting)
    if coming is None:
        body = _content(message)
    else:
        body = await _all(coming, int(length), receive, limits, traffic)
        if predicts:
            traffic.admit(traffic.predicting + 1)
    if len(body) > most:  # of a length that its header did not say
        raise too_large(limits, f"{len(body)} bytes")
    encoding = headers.get(b"content-encoding")
    if not encoding:
        return body
    name = encoding.decode("latin-1")
    if len(body) <= _QUICK:
        return compression.decoded(body, name, most)
    return await asyncio.to_thread(compression.decoded, body, name, most)  # others are answered meanwhile


async def _all(
    first: Coroutine[Any, Any, _Message], length: int, receive: Receive, limits: Limits, traffic: Traffic
) -> bytes:
    """Counted while it comes: by the length that it was said to have, and by what has come beyond that."""
    parts, size, held = [], 0, 0
    try:
        if length > LONG:
            held = traffic.hold(0, length)
        async with asyncio.timeout(limits.seconds):
            message = await first
            while True:
                parts.append(_content(message))
                size += len(parts[-1])
                if size > limits.bytes:
                    raise too_large(limits, f"more than {limits.bytes} bytes")
                if size > LONG and size > held:
                    held = traffic.hold(held, size)
                if not _more(message):
                    return b"".join(parts)
                message = await receive()
    except TimeoutError as error:
        rule = f"A request's body arrives within {limits.seconds:g} seconds"
        raise refused(408, rule, "it did not", "send it faster, or in several requests") from error
    finally:
        traffic.held -= held
        first.close()


async def _given(message: _Message) -> _Message:
    return message


@types.coroutine
def _resumed(begun: Coroutine[Any, Any, Any], waiting: Any) -> Generator[Any, Any, Any]:
    """What is left of a coroutine whose first step, made by hand, led to a wait."""
    try:
        yield waiting
        return (yield from begun)
    finally:
        begun.close()


def _more(message: Mapping[str, Any]) -> bool:
    return bool(message.get("more_body"))


def _content(message: Mapping[str, Any]) -> bytes:
    if message["type"] == "http.disconnect":
        raise Gone
    content: bytes = message.get("body", b"")
    return content
