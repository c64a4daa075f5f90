"""The loop under load.py: sockets, HTTP/1.1 answers and the schedule of requests, as cheaply as Python allows."""

import re
import select
import socket
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parts.load import Load, OnAnswer, Result

LOOPBACK = "127.0.0.1"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_READ = 65_536  # bytes
_HEADS = 1_000  # heads repeat but for the date; servers that write a request id into each must not fill the memory
_WAITING = 200_000  # due requests without a connection; more would only measure this list
_REFUSED = 5.0  # seconds without anybody listening that end the load


class Connection:
    """One socket, and the request that is under way on it."""

    __slots__ = ("buffer", "busy", "due", "expires", "request", "socket", "unsent")

    def __init__(self, opened: socket.socket) -> None:
        self.socket, self.busy, self.buffer, self.unsent = opened, False, b"", b""
        self.due = self.expires = 0.0
        self.request = 0


class Loop:
    def __init__(self, load: "Load", on_answer: "OnAnswer | None", result: "Result") -> None:
        self.load, self.on_answer, self.result = load, on_answer, result
        self.epoll = select.epoll()
        self.connections: dict[int, Connection] = {}
        self.idle: deque[Connection] = deque()
        self.waiting: deque[float] = deque()  # when requests of the open loop were due
        self.heads: dict[bytes, tuple[int, int, bool]] = {}
        self.next = 0
        self.left = load.count if load.count is not None else sys.maxsize
        self.counting = self.asking = False

    def run(self) -> None:
        try:
            for _ in range(self.load.connections):
                self.idle.append(self.open())
            if self.load.warmup:
                self.until(time.perf_counter() + self.load.warmup)
            self.counting = True
            begun, cpu = time.perf_counter(), time.process_time()
            self.until(begun + self.load.seconds)
            self.result.seconds = time.perf_counter() - begun
            self.result.cpu_seconds = time.process_time() - cpu
            self.drain()
        finally:
            for connection in self.connections.values():
                connection.socket.close()
            self.epoll.close()

    def until(self, end: float) -> None:
        self.asking = True
        if self.load.rate is None:
            self.closed(end)
        else:
            self.opened(end, 1 / self.load.rate)
        self.asking = False

    def closed(self, end: float) -> None:
        now = checked = time.perf_counter()
        while self.idle:
            self.send(self.idle.popleft(), now)
        while now < end and self.left > 0:
            self.poll(min(end - now, 0.1))
            now = time.perf_counter()
            if now - checked > 0.1:
                self.expire(now)
                checked = now

    def opened(self, end: float, step: float) -> None:
        due = now = checked = time.perf_counter()
        while now < end and self.left > 0:
            while due <= now:
                self.waiting.append(due)
                due += step
            self.dispatch()
            # epoll counts whole milliseconds, select microseconds
            select.select([self.epoll], [], [], max(0.0, min(due, end) - time.perf_counter()))
            self.poll(0.0)
            now = time.perf_counter()
            if now - checked > 0.1:
                self.expire(now)
                checked = now

    def drain(self) -> None:
        """Requests already sent are answered and counted: the slow ones are the ones that matter."""
        for _ in self.waiting:
            self.count("unsent")
        self.waiting.clear()
        while any(connection.busy for connection in self.connections.values()):  # ends: each of them expires
            self.poll(0.05)
            self.expire(time.perf_counter())

    def dispatch(self) -> None:
        while self.waiting and self.idle:
            self.send(self.idle.popleft(), self.waiting.popleft())
        while len(self.waiting) > _WAITING:
            self.waiting.popleft()
            self.count("unsent")

    def poll(self, seconds: float) -> None:
        again = self.asking and self.load.rate is None
        for number, event in self.epoll.poll(max(0.0, seconds)):
            connection = self.connections.get(number)
            if connection is None:
                continue
            if event & select.EPOLLOUT:
                self.push(connection)
                continue
            try:
                data = connection.socket.recv(_READ)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self.lost(connection)
            elif connection.busy and self.take(connection, data):
                if again:
                    self.send(connection, time.perf_counter())
                else:
                    self.idle.append(connection)

    def take(self, connection: Connection, data: bytes) -> bool:
        """Whether the answer is whole and the connection free for the next request."""
        if connection.buffer:
            data = connection.buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            connection.buffer = data
            return False
        head = data[:end]
        status, length, closes = self.heads.get(head) or self.parse(head)
        whole = len(data) - end - 4 >= length if length >= 0 else None
        body = data[end + 4 :] if whole else _unchunked(data[end + 4 :]) if whole is None else None
        if body is None:
            connection.buffer = data
            return False
        latency = time.perf_counter() - connection.due
        connection.buffer, connection.busy = b"", False
        if self.counting:
            self.count(str(status))
            (self.result.accepted if 200 <= status < 300 else self.result.refused).append(latency)
        if self.on_answer is not None:
            self.on_answer(connection.request, status, head, body, latency)
        if closes:
            self.replace(connection)
        return not closes

    def parse(self, head: bytes) -> tuple[int, int, bool]:
        """Status, length (−1: chunked), whether the server closes."""
        status, length = _STATUS.match(head), _LENGTH.search(head)
        if status is None or (length is None and not _CHUNKED.search(head)):
            raise ValueError(f"not an HTTP/1.1 answer that says where it ends: {head[:300]!r}")
        if len(self.heads) >= _HEADS:
            self.heads.clear()
        parsed = (int(status[1]), int(length[1]) if length else -1, _CLOSE.search(head) is not None)
        self.heads[head] = parsed
        return parsed

    def send(self, connection: Connection, due: float) -> None:
        index = self.next
        self.next = index + 1 if index + 1 < len(self.load.requests) else 0
        connection.request, connection.due, connection.busy = index, due, True
        connection.expires = max(due, time.perf_counter()) + self.load.timeout
        content = self.load.requests[index]
        try:
            sent = connection.socket.send(content)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.lost(connection)
            return
        if sent < len(content):
            connection.unsent = content[sent:]
            self.epoll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def push(self, connection: Connection) -> None:
        try:
            connection.unsent = connection.unsent[connection.socket.send(connection.unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self.lost(connection)
            return
        if not connection.unsent:
            self.epoll.modify(connection.socket, select.EPOLLIN)

    def count(self, name: str) -> None:
        if self.counting:
            self.left -= 1
            self.result.statuses[name] = self.result.statuses.get(name, 0) + 1

    def unanswered(self, connection: Connection, why: str) -> None:
        self.count(why)
        if self.on_answer is not None:
            latency = time.perf_counter() - connection.due
            self.on_answer(connection.request, 0, why.encode(), connection.buffer, latency)

    def expire(self, now: float) -> None:
        for connection in [each for each in self.connections.values() if each.busy and each.expires < now]:
            self.unanswered(connection, "timeout")
            self.replace(connection)

    def lost(self, connection: Connection) -> None:
        """The server has closed; that is an error only where a request was under way."""
        if connection.busy:
            self.unanswered(connection, "connection lost")
        else:
            self.idle.remove(connection)
        self.replace(connection)

    def replace(self, connection: Connection) -> None:
        self.epoll.unregister(connection.socket)
        del self.connections[connection.socket.fileno()]
        connection.socket.close()
        fresh = self.open()
        if self.asking and self.load.rate is None:
            self.send(fresh, time.perf_counter())
        else:
            self.idle.append(fresh)

    def open(self) -> Connection:
        give_up = time.perf_counter() + _REFUSED
        while True:
            try:
                opened = socket.create_connection((LOOPBACK, self.load.port), timeout=_REFUSED)
                break
            except OSError:
                self.count("connection refused")
                if time.perf_counter() > give_up or not self.asking:
                    raise
                time.sleep(0.05)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setblocking(False)
        connection = Connection(opened)
        self.connections[opened.fileno()] = connection
        self.epoll.register(opened, select.EPOLLIN)
        return connection


def _unchunked(data: bytes) -> bytes | None:
    """The body of a chunked answer, or None while it is not whole."""
    parts: list[bytes] = []
    at = 0
    while (end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:end].split(b";")[0], 16)
        if len(data) < end + 2 + size + 2:
            return None
        if size == 0:
            return b"".join(parts)
        parts.append(data[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return None
