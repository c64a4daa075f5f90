"""The endpoints that are our own: /predict, /feedback, /health, /metrics, /profile, /openapi.json, /docs and /."""

import hmac
import os
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from tidemill.errors import RequestError
from tidemill.serve.answering.service import Service
from tidemill.serve.door import pages
from tidemill.serve.door.http import JSON, Endpoint, Incoming
from tidemill.serve.door.keys import Key, Scope
from tidemill.serve.hooks.metrics import CONTENT_TYPE
from tidemill.serve.wire import arrow, feedback, protocol
from tidemill.serve.wire.refusals import Limits, refused
from tidemill.serve.wire.request import Reply, Request, rows_of_columns

_TIMEOUT = b"x-request-timeout-seconds"
_VERSION = b"x-model-version"
OWN = "X-Tidemill-Own"
"""Header of the question that `tidemill serve` asks when it has started. It holds the secret of `OWN_SECRET`: whoever
starts the server makes it for this one start, so nobody else can ask without being recorded."""
OWN_SECRET = "TIDEMILL_OWN"
_OWN = OWN.lower().encode()
UNLOADED = "unloaded"
"""What /health says, by 503, of a model that the registry says is not to be served."""


class Endpoints:
    """What people and programs ask of a replica.

    Args:
        metrics: all replicas' metrics as Prometheus text.
        report: what /health says besides its status.
        document: the OpenAPI document.
        profiles: all replicas' live profiles as JSON; None: none are made.
    """

    def __init__(
        self,
        service: Service,
        limits: Limits,
        metrics: Callable[[], Awaitable[bytes]],
        report: Callable[[], Mapping[str, object]],
        document: Callable[[], bytes],
        profiles: Callable[[], Awaitable[bytes]] | None = None,
    ) -> None:
        self._service = service
        self._limits = limits
        self._metrics = metrics
        self._report = report
        self._document = document
        self._pages = pages.Pages()
        self._profiles = profiles
        self._own = os.environ.get(OWN_SECRET, "").encode()
        get = ("GET",)
        self.table = {
            "/predict": Endpoint(self.predict, ("POST",), Scope.PREDICT, (JSON, arrow.TYPE), "/predict"),
            "/feedback": Endpoint(self.feedback, ("POST",), Scope.FEEDBACK, (JSON,), "/feedback"),
            "/health": Endpoint(self.health, get, None, label="/health"),
            "/metrics": Endpoint(self.metrics, get, Scope.METRICS, label="/metrics"),
            "/profile": Endpoint(self.profile, get, Scope.METRICS, label="/profile"),
            "/openapi.json": Endpoint(self.openapi, get, None, label="/openapi.json"),
            "/docs": Endpoint(self.docs, get, None, label="/docs"),
            "/": Endpoint(self.front, get, None, label="/"),
        }

    async def predict(self, request: Incoming) -> Reply:
        if request.headers.get(b"content-type", JSON)[: len(arrow.TYPE)].lower() == arrow.TYPE:
            return await self._predict_arrow(request)
        service = self._service
        version = service.version(None)
        rows, pinned = protocol.decode(request.body, version.reader, self._limits)
        pinned = pinned or _pinned(request)
        if pinned is not None and pinned != version.number:
            rows, _ = protocol.decode(request.body, service.version(pinned).reader, self._limits)
        own = request.headers.get(_OWN)
        recorded = own is None or not self._own or not hmac.compare_digest(own, self._own)
        until, by = deadline(request), client(request.key)
        reply: Reply = await service.predict(Request(rows, protocol.encode, pinned, until, by, recorded))
        return reply

    async def _predict_arrow(self, request: Incoming) -> Reply:
        service = self._service
        pinned = _pinned(request)
        version = service.version(pinned)
        table = arrow.decode(request.body, version.reader, self._limits)
        rows = rows_of_columns(table.count, table.raw, table.others, version.reader.keys_in(table.others))
        until, by = deadline(request), client(request.key)
        reply: Reply = await service.predict(Request(rows, arrow.encode, pinned, until, by))
        return reply

    async def feedback(self, request: Incoming) -> Reply:
        champion = self._service.version(None)
        labels = feedback.decode(request.body, champion.label_rules, self._limits, time.time_ns())
        if request.key is not None and Scope.FEEDBACK_ALL not in request.key.scopes:
            labels = [msgspec.structs.replace(label, client=client(request.key)) for label in labels]
        await self._service.label(labels)
        return Reply(feedback.encode(labels))

    async def health(self, request: Incoming) -> Reply:
        report = self._report()
        return Reply(msgspec.json.encode(report), 200 if report["status"] == "ok" else 503)

    async def metrics(self, request: Incoming) -> Reply:
        return Reply(await self._metrics(), type=CONTENT_TYPE.encode())

    async def profile(self, request: Incoming) -> Reply:
        if self._profiles is None:
            rule = "Live profiles are made where hours of them are kept"
            raise refused(404, rule, "profile_hours=0", "set profile_hours to 1 or more")
        return Reply(await self._profiles())

    async def openapi(self, request: Incoming) -> Reply:
        return Reply(self._document())

    async def docs(self, request: Incoming) -> Reply:
        body = self._pages.docs(self._document(), request.headers.get(b"host", b""))
        return Reply(body, type=pages.TYPE, headers=(pages.POLICY,))

    async def front(self, request: Incoming) -> Reply:
        host, varies = request.headers.get(b"host", b""), (b"vary", b"accept")
        if pages.wants_page(request.headers.get(b"accept", b"")):
            body = self._pages.front_page(self._document(), host)
            return Reply(body, type=pages.TYPE, headers=(pages.POLICY, varies))
        return Reply(self._pages.front(self._document(), host), headers=(varies,))


def client(key: Key | None) -> str | None:
    """What the ledger calls who asks with a key: by its name, which stays when a key is replaced by another."""
    return None if key is None else key.name


def deadline(request: Incoming) -> float | None:
    """When the client will have given up, seconds on the monotonic clock.

    Raises:
        RequestError: 400, the header holds no positive number.
    """
    given = request.headers.get(_TIMEOUT)
    if given is None:
        return None
    try:
        seconds = float(given)
        if not 0 < seconds < 86_400:
            raise ValueError
    except ValueError as error:
        raise _no_timeout(given) from error
    return request.arrived + seconds


def _pinned(request: Incoming) -> str | None:
    given = request.headers.get(_VERSION)
    return None if given is None else given.decode("latin-1")


def _no_timeout(given: bytes) -> RequestError:
    rule = f"The header {_TIMEOUT.decode()} holds seconds, more than 0 and less than a day"
    return refused(400, rule, given[:40].decode("latin-1"), "send a number like 2.5")
