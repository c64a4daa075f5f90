"""Real servers for tests: a replica by HTTP and by gRPC, and a web server that says what a test wants."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import uvicorn

from tidemill.serve.door.inference import servicer
from tidemill.serve.replica import Replica


@contextlib.asynccontextmanager
async def by_http(replica: Replica) -> AsyncIterator[int]:
    """The port of a real uvicorn, as Ray runs it in replicas."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            replica.application, log_level="critical", access_log=False, http="httptools", lifespan="off", ws="none"
        )
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.create_task(server.serve([listener]))
        try:
            while not server.started:
                await asyncio.sleep(0.005)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


@contextlib.asynccontextmanager
async def by_grpc(backend: Any) -> AsyncIterator[Any]:
    """A channel to a service, like `Replica.backend`."""
    serving = servicer.Servicer()
    serving.service = backend
    server = grpc.aio.server()
    servicer.add_GRPCInferenceServiceServicer_to_server(serving, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


@contextlib.contextmanager
def answering(answer: Callable[[str, bytes], tuple[int, bytes]]) -> Iterator[str]:
    """The URL of a web server that answers a method and a body by a status and a body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.command, self.rfile.read(int(self.headers.get("content-length", 0))))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
