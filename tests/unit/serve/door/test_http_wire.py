"""HTTP on the wire, byte by byte: kept connections, chunks, slow and broken clients."""

import asyncio
import contextlib
from typing import Any

import pytest
from http_parts import BODY, HEAD, registry, serving

from patience import PATIENCE, until_async
from real_servers import by_http
from tidemill.serve.replica import Replica

__all__ = ["registry"]


class Wire:
    """A connection that says what it is told to, byte by byte."""

    async def __aenter__(self) -> "Wire":
        return self

    def __init__(self, port: int) -> None:
        self.port = port

    async def say(self, *parts: bytes, pause: float = 0.0) -> None:
        if not hasattr(self, "reader"):
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(pause)

    async def hear(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def on_the_wire(registry: str, main: Any, **more: Any) -> None:
    async def with_server(replica: Replica) -> None:
        async with by_http(replica) as port:
            await main(replica, port)

    serving(registry, with_server, **more)


def test_one_connection_carries_many_requests_refused_ones_among_them(registry: str) -> None:
    def framed(body: bytes) -> bytes:
        return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body

    async def main(replica: Replica, port: int) -> None:
        async with Wire(port) as wire:
            for body, status in ((BODY, 200), (b"{", 400), (BODY, 200), (b'{"rows":[{}]}', 422), (BODY, 200)):
                await wire.say(framed(body))
                assert (await wire.hear())[0] == status
            await wire.say(framed(BODY) + framed(b"{") + framed(BODY))  # all at once
            assert [(await wire.hear())[0] for _ in range(3)] == [200, 400, 200]
            await wire.say(b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            head = (await wire.reader.readuntil(b"\r\n\r\n")).decode()
            assert head.startswith("HTTP/1.1 200") and (await wire.hear())[0] == 200

    on_the_wire(registry, main)


@pytest.mark.slow
def test_chunked_and_slow_bodies(registry: str) -> None:
    def chunk(part: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(part), part)

    async def main(replica: Replica, port: int) -> None:
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        async with Wire(port) as wire:
            await wire.say(chunked, chunk(BODY[:5]), chunk(BODY[5:]), b"0\r\n\r\n", pause=0.01)
            assert (await wire.hear())[0] == 200
            await wire.say(chunked + chunk(b" " * 600) + chunk(b" " * 600) + b"0\r\n\r\n")
            assert (await wire.hear())[0] == 413
        for begun in (
            HEAD + b"Content-Length: 50\r\n\r\n",  # and no body at all
            HEAD + b"Content-Length: 50\r\n\r\n" + BODY[:10],
            chunked,
            chunked + chunk(BODY[:10]),
        ):
            async with Wire(port) as wire:
                await wire.say(begun)
                status, headers, body = await wire.hear()
                assert status == 408 and b"arrives within 0.3 seconds" in body and headers["connection"] == "close"
                assert await wire.reader.read() == b"", "the connection is closed"
        async with Wire(port) as wire:  # slow, but in time
            await wire.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY), BODY[:3], BODY[3:9], BODY[9:], pause=0.02)
            assert (await wire.hear())[0] == 200

    on_the_wire(registry, main)


def test_connections_that_break_leave_nothing_behind(registry: str, caplog: Any) -> None:
    async def main(replica: Replica, port: int) -> None:
        for begun in (
            b"PO",
            HEAD,
            HEAD + b"Content-Length: 50\r\n\r\n" + BODY[:10],
            HEAD + b"Content-Length: 50\r\n\r\n",
        ):
            async with Wire(port) as wire:
                await wire.say(begun)
        async with Wire(port) as wire:  # gone before its answer
            await wire.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        await until_async(lambda: not replica.ongoing)
        async with Wire(port) as wire:
            await wire.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
            assert (await wire.hear())[0] == 200
        assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]

    on_the_wire(registry, main)


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: -5\r\n",
        b"Content-Length: abc\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: nonsense\r\n",
        b"no colon\r\n",
        b"X: \x00\r\n",
    ],
)
def test_nonsense_on_the_wire_is_the_clients_fault(registry: str, lines: bytes) -> None:
    async def main(replica: Replica, port: int) -> None:
        async with Wire(port) as wire:
            await wire.say(HEAD + lines + b"\r\n" + BODY)
            status, _, _ = await wire.hear()
            assert status in (400, 413, 408), status

    on_the_wire(registry, main)
