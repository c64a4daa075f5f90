"""HTTP that no client library sends: cut short, of two lengths, smuggled, endless, slow; and what comes back."""

import contextlib
import random
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from parts.epoll_loop import LOOPBACK

MARK = "/smuggled"
"""A path that no request of ours asks for: whoever answers it took the inside of a body for a request."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_PATIENCE = 0.3  # seconds after an answer in which another one would come


@dataclass(frozen=True)
class Wire:
    """Bytes to send as they are. complete: a server knows that no more will come, and so must answer or close.

    pauses: seconds between the parts.
    """

    name: str
    parts: tuple[bytes, ...]
    complete: bool = True
    pause: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """statuses: of all answers that came. hung: nothing came and nobody closed."""

    name: str
    statuses: tuple[int, ...]
    hung: bool
    smuggled: bool


def garbage(body: bytes, key: str, seed: int, count: int) -> Iterator[Wire]:
    """Each of the known tricks once, then random damage to heads.

    Args:
        body: of a right request to /predict.
        key: the lines of headers that every request needs.
    """
    yield from _tricks(body, key)
    chance = random.Random(seed)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\n{key}Content-Type: application/json\r\n".encode()
    for _ in range(count):
        changed = bytearray(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        for _ in range(chance.choice((1, 2, 4))):
            at = chance.randrange(len(head) + 24)
            match chance.randrange(4):
                case 0:
                    changed[at] = chance.randrange(256)
                case 1:
                    changed[at:at] = chance.choice((b"\r\n", b"\n", b"\0", b" ", b":", b"\r", b"\t", b"Host: y\r\n"))
                case 2:
                    del changed[at : at + chance.choice((1, 3, 9))]
                case _:
                    changed[at:at] = bytes(chance.randrange(256) for _ in range(8))
        yield Wire("damaged head", (bytes(changed),), complete=False)


def send(wire: Wire, port: int, patience: float) -> Outcome:
    """Send it over a connection of its own and read until it is closed, or nothing more comes."""
    got, closed = b"", False
    with contextlib.suppress(ConnectionError), socket.create_connection((LOOPBACK, port), timeout=patience) as opened:
        try:
            for number, part in enumerate(wire.parts):
                if number:
                    time.sleep(wire.pause)
                opened.sendall(part)
            opened.settimeout(patience if wire.complete else _PATIENCE)
            while part := opened.recv(65_536):
                got += part
                opened.settimeout(_PATIENCE)
            closed = True
        except TimeoutError:
            pass
        except ConnectionError:
            closed = True
    statuses = tuple(int(status) for status in _STATUS.findall(got))
    hung = wire.complete and not got and not closed  # HTTP/2 is answered in frames
    return Outcome(wire.name, statuses, hung, MARK.encode() in got)


def _tricks(body: bytes, key: str) -> Iterator[Wire]:
    more = f"Host: x\r\n{key}Content-Type: application/json\r\n"
    start = f"POST /predict HTTP/1.1\r\n{more}".encode()
    right = start + b"Content-Length: %d\r\n\r\n" % len(body) + body
    inner = f"GET {MARK} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    chunk = b"%x\r\n%b\r\n" % (len(body), body)
    chunked = b"Transfer-Encoding: chunked\r\n"
    yield Wire("pipelined", (right * 5,))
    yield Wire("chunked", (start + chunked + b"\r\n" + chunk + b"0\r\n\r\n",))
    yield Wire("chunk extensions and trailers", (start + chunked + b"\r\n" + chunk + b"0;a=b\r\nX: y\r\n\r\n",))
    for name, lines in {
        "length and chunks": b"Content-Length: 4\r\n" + chunked,
        "chunks and length": chunked + b"Content-Length: 4\r\n",
        "two lengths": b"Content-Length: 0\r\nContent-Length: 4\r\n",
        "a list of lengths": b"Content-Length: 0, 4\r\n",
        "a signed length": b"Content-Length: +0\r\n",
        "a length in hex": b"Content-Length: 0x0\r\n",
        "a length with a space": b"Content-Length : 0\r\n",
        "a length of many digits": b"Content-Length: " + b"0" * 5000 + b"\r\n",
        "a negative length": b"Content-Length: -1\r\n",
        "chunks by another name": b"Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n",
        "chunks twice": chunked * 2,
        "chunks after identity": b"Transfer-Encoding: identity, chunked\r\n",
        "chunks behind a tab": b"Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n",
        "chunks behind a vertical tab": b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n",
        "chunks in a folded line": b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n",
        "chunks after a bare line feed": b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    }.items():
        yield Wire(name, (start + lines + b"\r\n0\r\n\r\n" + inner,), complete=False)
    yield Wire(
        "a chunk's size that overflows", (start + chunked + b"\r\nffffffffffffffff1\r\n" + inner,), complete=False
    )
    yield Wire("a chunk's size that is none", (start + chunked + b"\r\n-1\r\n" + inner,))
    yield Wire("a body twice as long", (right + body + b"\r\n\r\n" + inner,), complete=False)
    yield Wire("no body", (start + b"\r\n",))
    yield Wire("less than its length", (start + b"Content-Length: 99\r\n\r\n{",))  # told after `limits.seconds`
    yield Wire("a length beyond the limit", (start + b"Content-Length: 99999999999\r\n\r\n{",))
    yield Wire("an expectation", (start + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body) + body,))
    yield Wire("another expectation", (start + b"Expect: a miracle\r\nContent-Length: 2\r\n\r\n{}",))
    yield Wire("half a head", (start[: len(start) // 2],), complete=False)
    yield Wire("a large header", (start + b"X: " + b"a" * 40_000 + b"\r\n\r\n",))
    yield Wire("many headers", (start + b"".join(b"X%d: y\r\n" % at for at in range(2000)) + b"\r\n",))
    yield Wire("a long path", (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",))
    yield Wire("a NUL in the path", (b"GET /predict\0 HTTP/1.1\r\nHost: x\r\n\r\n",))
    yield Wire("a whole address", (b"GET http://elsewhere/health HTTP/1.1\r\nHost: x\r\n\r\n",))
    yield Wire("a tunnel", (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",))
    yield Wire("no host", (b"GET /health HTTP/1.1\r\n\r\n",))
    yield Wire("two hosts", (b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",))
    yield Wire("a star", (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",))
    yield Wire("HTTP/0.9", (b"GET /health\r\n\r\n",), complete=False)
    yield Wire("HTTP/1.0", (b"GET /health HTTP/1.0\r\n\r\n",))
    yield Wire("HTTP/9.9", (b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",))
    yield Wire("HTTP/2 by prior knowledge", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",))
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    yield Wire("HTTP/2 by upgrade", (b"GET /health HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n",))
    socket_ = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
    yield Wire("a WebSocket", (b"GET /predict HTTP/1.1\r\nHost: x\r\n" + socket_ + b"\r\n",))
    yield Wire("TLS", (bytes.fromhex("16030100c4010000c00303") + bytes(64),), complete=False)
    yield Wire("HEAD", (b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n",))
    yield Wire("TRACE", (b"TRACE /health HTTP/1.1\r\nHost: x\r\nX-API-Key: y\r\n\r\n",))
    yield Wire("a body with GET", (b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd",))
    yield Wire(
        "two of each header", (start + key.encode() + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",)
    )
    yield Wire(
        "slow, but in time",
        (right[:-9], *(right[at : at + 3] for at in range(len(right) - 9, len(right), 3))),
        True,
        0.3,
    )
    for at in range(5):
        yield Wire("slow without end", (start + b"Content-Length: 9\r\n\r\n", *[b"1"] * (at + 1)), True, 0.5)
