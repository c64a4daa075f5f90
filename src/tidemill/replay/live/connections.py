"""Keep-alive connections to a server, each with one request under way: HTTP/1.1 as far as a replay needs it."""

import asyncio
import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

_TIMEOUT = 60.0  # seconds for one answer
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """status: of HTTP; 0 where there was no whole answer, and `body` says why."""

    status: int
    body: bytes


class Connections:
    """A few connections to one address. `async with Connections("127.0.0.1", 8000, 8) as server: …`."""

    def __init__(self, host: str, port: int, number: int) -> None:
        self._connections = [_Connection(host, port) for _ in range(number)]

    async def __aenter__(self) -> "Connections":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.gather(*(connection.end() for connection in self._connections))

    async def post(self, path: str, bodies: Sequence[bytes]) -> list[Answer]:
        """The answers to all of them, in their order. They are under way beside each other, in no order."""
        answers: list[Answer | None] = [None] * len(bodies)
        waiting = iter(enumerate(bodies))  # shared: each connection takes the next when it is free
        used = self._connections[: len(bodies)]
        await asyncio.gather(*(_work(connection, path, waiting, answers) for connection in used))
        return [answer for answer in answers if answer is not None]


async def _work(
    connection: "_Connection", path: str, waiting: Iterable[tuple[int, bytes]], answers: list[Answer | None]
) -> None:
    for index, body in waiting:
        answers[index] = await connection.post(path, body)


class _Connection:
    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> Answer:
        """Sent once and never again: an answer that does not come is a failure to be counted."""
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        try:
            async with asyncio.timeout(_TIMEOUT):
                reader, writer = await self._opened()
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                return await self._answer(reader)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:  # TimeoutError is an OSError
            self.close()
            return Answer(0, f"{type(error).__name__}: {error}".encode())

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():  # closed by the server while nothing was asked
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        return self._streams

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None:
            raise ValueError(f"an answer without Content-Length: {head[:200]!r}")
        body = await reader.readexactly(int(length[1]))
        if _CLOSE.search(head):
            self.close()
        return Answer(int(head[9:12]), body)

    async def end(self) -> None:
        if self._streams is not None:
            writer = self._streams[1]
            self.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
