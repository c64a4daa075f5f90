"""The Ray Serve application: a thin wrapper of HTTP around `Predictor` and `protocol`.

Run it with `tidemill serve`, or by `serving/config.yaml` on a cluster:

    import_path: tidemill.serve.app:build
"""

import asyncio
import logging
import time
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from pydantic import BaseModel, ConfigDict, PositiveInt
from ray import serve
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tidemill.bundle.registry import Registry
from tidemill.errors import RequestError
from tidemill.serve import protocol
from tidemill.serve.predictor import Predictor

log = logging.getLogger("ray.serve")
_METHODS = {"/predict": "POST", "/health": "GET", "/metrics": "GET"}


class Arguments(BaseModel):
    """What `args` of serving/config.yaml may hold."""

    model_config = ConfigDict(extra="forbid")

    registry: str
    model: str
    alias: str = "champion"
    provider: str = "cpu"
    threads: PositiveInt | None = None
    max_rows: PositiveInt = protocol.Limits().rows
    max_bytes: PositiveInt = protocol.Limits().bytes


class Metrics:
    """What Prometheus scrapes from one replica."""

    def __init__(self, model: str, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        # Requests go by path and status; anything unknown counts as one path, so that clients cannot add series.
        self._requests = Counter("tidemill_requests", "Requests answered", ["path", "status"], registry=self._registry)
        self._errors = Counter("tidemill_errors", "Requests answered with 4xx or 5xx", registry=self._registry)
        self._rows = Counter("tidemill_rows", "Rows predicted", registry=self._registry)
        self._seconds = Histogram(
            "tidemill_request_seconds", "Time to answer a request", ["path"], registry=self._registry
        )
        info = Info("tidemill_model", "The model in use", registry=self._registry)
        info.info({"model": model, "version": version})

    def answered(self, path: str, status: int, seconds: float) -> None:
        path = path if path in _METHODS else "other"
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)
        if status >= 400:
            self._errors.inc()

    def predicted(self, rows: int) -> None:
        self._rows.inc(rows)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class Server:
    """One replica: loads the bundle, then answers."""

    def __init__(self, arguments: Arguments) -> None:
        folder = Registry(arguments.registry).fetch(arguments.model, arguments.alias)
        self._predictor = Predictor(folder, threads=arguments.threads, provider=arguments.provider)
        self._identity = self._predictor.manifest.identity
        self._limits = protocol.Limits(rows=arguments.max_rows, bytes=arguments.max_bytes)
        self._metrics = Metrics(self._identity.model, str(self._identity.version))

    async def __call__(self, request: Request) -> Response:
        begun = time.perf_counter()
        try:
            response = await self._answer(request)
        except RequestError as error:
            response = _json(protocol.encode_error(error), error.status)
            if error.status == 405:
                response.headers["Allow"] = _METHODS[request.url.path]
        except ClientDisconnect:
            response = Response(status_code=499)
        except Exception:
            log.exception("A request failed")
            response = _json(_FAULT, 500)
        self._metrics.answered(request.url.path, response.status_code, time.perf_counter() - begun)
        return response

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        if path not in _METHODS:
            raise protocol.refused(404, f"The paths are {', '.join(_METHODS)}", path[:200], "correct the path")
        if ("GET" if request.method == "HEAD" else request.method) != _METHODS[path]:
            raise protocol.refused(405, f"{path} takes {_METHODS[path]}", request.method, "use the right method")
        if path == "/metrics":
            return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)
        if path == "/health":
            identity = self._identity
            return _json(protocol.dumps({"status": "ok", "model": identity.model, "version": identity.version}))
        body = await self._body(request)
        content, rows = await asyncio.to_thread(self._predict, body)
        self._metrics.predicted(rows)
        return _json(content)

    def _predict(self, body: bytes) -> tuple[bytes, int]:
        raw = protocol.decode(body, self._predictor.columns, self._limits)
        answers = self._predictor.predict(raw)
        return protocol.encode(answers, self._identity), len(next(iter(answers.values())))

    async def _body(self, request: Request) -> bytes:
        """Read no further than the limit."""
        parts: list[bytes] = []
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > self._limits.bytes:
                raise protocol.too_large(self._limits, f"more than {self._limits.bytes} bytes")
            parts.append(part)
        return b"".join(parts)


def build(args: Arguments) -> serve.Application:
    """The application, for `serve.run` or the `import_path` of a Serve config."""
    deployment = serve.deployment(
        Server,
        name=args.model,
        max_ongoing_requests=32,
        max_constructor_retry_count=1,
        ray_actor_options={"num_gpus": 1} if args.provider == "cuda" else {},
    )
    application: Any = deployment.bind(args)
    return application


_FAULT = protocol.dumps(
    {
        "error": {
            "rule": "The server answers every valid request",
            "observed": "a fault of its own",
            "remedy": "see its log",
        }
    }
)


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status_code=status, media_type="application/json")
