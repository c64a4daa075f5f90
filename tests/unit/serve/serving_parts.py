"""A replica without Ray for the tests: other bundles, a client of its ASGI application, its ledger read back."""

import asyncio
import contextlib
import json
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnx_weights import tensors
from real_servers import by_http
from tidemill.bundle import checksums, golden, manifest
from tidemill.bundle.runtime import Runtime
from tidemill.data.schema import Column, Role, Schema
from tidemill.ledger import frames
from tidemill.ledger.ledger import Ledger
from tidemill.ledger.settings import LedgerSettings
from tidemill.serve.answering.active import Active
from tidemill.serve.answering.batcher import Queues
from tidemill.serve.answering.service import Service
from tidemill.serve.arguments import Arguments, parse
from tidemill.serve.door.endpoints import Endpoints
from tidemill.serve.door.http import Application
from tidemill.serve.door.inference.backend import ReplicaBackend
from tidemill.serve.door.traffic import Traffic
from tidemill.serve.hooks.metrics import Metrics
from tidemill.serve.hooks.observing import Observers
from tidemill.serve.replica import Replica
from tidemill.serve.wire.refusals import Limits
from tidemill.settings import Kind

ROW = {"open": True, "city": "Zürich", "size": 61.5}


@dataclass(frozen=True)
class Got:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def observed(self) -> str:
        return self.json["error"]["observed"]


async def call(
    application: Any,
    method: str,
    path: str,
    *parts: Any,
    headers: Iterable[tuple[str, str]] = (),
    disconnect: bool = False,
) -> Got:
    """What the application answers to a body in parts; None: nothing. disconnect: the client goes after them."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if disconnect:
        messages.append({"type": "http.disconnect"})
    elif messages:
        messages[-1]["more_body"] = False
    else:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    waiting, sent = iter(messages), []

    async def receive() -> Any:
        return next(waiting)

    async def send(message: Any) -> None:
        sent.append(message)

    given = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await application({"type": "http", "method": method, "path": path, "headers": given}, receive, send)
    if not sent:
        return None
    start, *rest = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Got(start["status"], found, b"".join(message["body"] for message in rest))


async def post(application: Any, path: str, content: object, **more: Any) -> Got:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    got = await call(application, "POST", path, body, **more)
    assert got is not None
    return got


def arguments(registry: str, **more: Any) -> Arguments:
    return parse({"registry": registry, "model": "small", "ledger": {"path": None}, **more})


@contextlib.asynccontextmanager
async def started(given: Arguments) -> AsyncIterator[Replica]:
    replica = Replica(given, "r1")
    try:
        await replica.start()
        yield replica
    finally:
        await replica.stop()


@dataclass(frozen=True)
class Running:
    """A replica that answers on a thread of its own. do: runs a coroutine there."""

    replica: Replica
    port: int
    do: Callable[[Coroutine[Any, Any, None]], None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def running(given: Arguments) -> Iterator[Running]:
    begun: Future[Running] = Future()

    async def main() -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        do = lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(60)  # noqa: E731
        async with started(given) as replica, by_http(replica) as port:
            begun.set_result(Running(replica, port, do))
            ended.append(lambda: loop.call_soon_threadsafe(end.set))
            await end.wait()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            if begun.done():
                raise
            begun.set_exception(error)

    ended: list[Callable[[], Any]] = []
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield begun.result(60)
    finally:
        for end in ended:
            end()
        thread.join()


async def followed(replica: Replica) -> None:
    """Look at the registry now, and wait until it is as the registry says."""
    await replica._watcher.look()
    await replica._watcher.settled()


def entries(folder: Path) -> list[Any]:
    """What the write-ahead segments below a ledger's folder hold, in order."""
    found: list[Any] = []
    for segment in sorted(folder.rglob("*.wal")):
        damage = frames.Damage()
        found += frames.entries(segment.read_bytes(), damage)
        assert damage == frames.Damage()
    return found


def varied(source: Path, folder: Path, *, columns: Sequence[Column] = (), shift: float = 0.0) -> Path:
    """A copy of a classifier's bundle whose first class is likelier by `shift`, and whose schema has more columns."""
    shutil.copytree(source, folder)
    described = manifest.read(folder)
    if shift:
        model = onnx.load(folder / "model.onnx")
        width = len(described.identity.classes)
        bias = next(t for t in tensors(model.graph) if list(t.dims) == [width] and t.data_type == 1)
        moved = onnx.numpy_helper.to_array(bias) + np.array([shift, *[0] * (width - 1)], np.float32)
        bias.CopyFrom(onnx.numpy_helper.from_array(moved, bias.name))
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        rows = golden.read(folder / golden.NAME, described.schema.inputs)
        answers = Runtime((folder / "model.onnx").read_bytes(), described.interface)(rows.raw)
        golden.write(replace(rows, answers=answers), folder / golden.NAME)
    schema = Schema(columns=(*described.schema.columns, *columns), time_is_input=described.schema.time_is_input)
    interface = replace(described.interface, schema=schema.to_dict())
    manifest.write(replace(described, interface=interface), folder)
    checksums.write(folder)
    return folder


OTHERS = (
    Column(name="id", kind=Kind.CATEGORICAL, role=Role.KEY),
    Column(name="sex", kind=Kind.CATEGORICAL, role=Role.SENSITIVE),
    Column(name="note", kind=Kind.CATEGORICAL, role=Role.IGNORED),
)


@dataclass(frozen=True)
class Stand:
    """A service behind its application, without the registry and its watcher."""

    service: Service
    application: Application
    metrics: Metrics
    traffic: Traffic


@contextlib.asynccontextmanager
async def standing(
    held: Active, ledger: Ledger | None = None, queues: Queues | None = None, limits: Limits | None = None
) -> AsyncIterator[Stand]:
    metrics, observers, limits = Metrics("small"), Observers([]), limits or Limits()
    ledger = ledger or Ledger(LedgerSettings(path=None), "small")
    service = Service(held, ledger, metrics, observers, queues or Queues())

    async def scrape() -> bytes:
        return metrics.text()

    own = Endpoints(service, limits, scrape, lambda: {"status": "ok"}, lambda: b"{}").table
    traffic = Traffic(metrics, service.admit, lambda error: None, limits.held)
    more = ReplicaBackend("small", lambda: service, None, None, traffic)  # type: ignore[arg-type]  # nothing is loaded here
    find = lambda path: own.get(path) or more.find(path)  # noqa: E731
    yield Stand(service, Application(find, limits, None, traffic), metrics, traffic)
    await service.close()
    observers.close()
