"""Content-Encoding of requests and Accept-Encoding of responses: gzip and deflate, with a limit on what comes out."""

import zlib

from tidemill.serve.wire.refusals import refused

SMALLEST = 1024
"""Bytes: a smaller body is not worth the time."""
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib's window bits by encoding: gzip and zlib frames (RFC 9110, 8.4.1)."""
_LEVEL = 1
_CHUNK = 2**16
_MEMBERS = 1024
"""Of a gzip body. An empty one has 20 bytes, and each costs time."""


def decoded(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before it was compressed.

    Args:
        encoding: the header Content-Encoding; "" or identity: the body is as it is.
        limit: bytes that may come out; no more are ever held.

    Raises:
        RequestError: 415 another encoding, 400 damaged data, 413 more than `limit` bytes.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in _WINDOWS:
        raise refused(415, "A body is encoded with gzip, deflate or not at all", encoding[:40], "send another encoding")
    try:
        out = _inflated(body, _WINDOWS[name], limit)
    except zlib.error:
        if name != "deflate":
            raise _damaged(name, "no valid data") from None
        try:  # some clients send deflate without zlib's frame
            out = _inflated(body, -15, limit)
        except zlib.error as error:
            raise _damaged(name, "no valid data") from error
    return out


def chosen(accept: str) -> str:
    """The encoding to answer with: gzip, deflate or "" for none.

    Args:
        accept: the header Accept-Encoding; a quality of 0 refuses.
    """
    wanted: dict[str, float] = {}
    for entry in accept.lower().split(",")[:32]:
        name, _, rest = entry.partition(";")
        quality = rest.strip().removeprefix("q=").strip()
        try:
            wanted[name.strip()] = float(quality) if quality else 1.0
        except ValueError:
            continue
    offered = {name: wanted.get(name, wanted.get("*", 0.0)) for name in ("gzip", "deflate")}
    best = max(offered, key=lambda name: offered[name])
    return best if offered[best] > 0 else ""


def encoded(body: bytes, accept: str) -> tuple[bytes, str]:
    """The body, compressed if the client asks for it and it is large enough; and the Content-Encoding, or ""."""
    name = chosen(accept) if accept and len(body) > SMALLEST else ""
    if not name:
        return body, ""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[name])
    return compressor.compress(body) + compressor.flush(), name


def _inflated(body: bytes, window: int, limit: int) -> bytes:
    parts: list[bytes] = []
    size = place = members = 0
    while not members or (place < len(body) and window == _WINDOWS["gzip"]):  # a gzip body may have several members
        members += 1
        if members > _MEMBERS:
            raise _damaged("gzip", f"more than {_MEMBERS} members")
        stream = zlib.decompressobj(window)
        while not stream.eof:
            given = body[place : place + _CHUNK]  # zlib copies what it leaves over, for every member
            if not given:
                raise _damaged("compressed", "it ends too early")
            part = stream.decompress(given, limit - size + 1)
            size += len(part)
            parts.append(part)
            if size > limit:
                remedy = "send the rows in several requests"
                raise refused(
                    413, f"A decompressed body holds at most {limit} bytes", f"more than {limit} bytes", remedy
                )
            place += len(given) - len(stream.unused_data)
    if place < len(body):
        raise _damaged("compressed", f"{len(body) - place} bytes follow it")
    return b"".join(parts)


def _damaged(name: str, observed: str) -> Exception:
    return refused(400, "A compressed body is whole and undamaged", f"{name}: {observed}", "compress it again")
