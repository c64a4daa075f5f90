"""The Open Inference Protocol of one replica: its calls and inferences, for REST and gRPC alike, by its service."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol

from tidemill.serve.answering.service import Service
from tidemill.serve.answering.version import Version
from tidemill.serve.door import exposure, isolation
from tidemill.serve.door.endpoints import client, deadline
from tidemill.serve.door.http import Endpoint, Incoming, presented
from tidemill.serve.door.inference import calls
from tidemill.serve.door.inference.calls import INFER, Call, Document
from tidemill.serve.door.inference.servicer import PEER, SERVICE
from tidemill.serve.door.keys import Key, Keys, Scope
from tidemill.serve.door.traffic import Traffic
from tidemill.serve.wire.inference import documents, responses
from tidemill.serve.wire.inference.requests import InferRequest
from tidemill.serve.wire.refusals import refused
from tidemill.serve.wire.request import Reply, Request, Rows, rows_of_columns

_LENGTH = b"inference-header-content-length"
_SCOPES: dict[str, Scope | None] = {
    INFER: Scope.PREDICT,
    "ModelStatistics": Scope.METRICS,
    **dict.fromkeys(("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelConfig")),
    "RepositoryIndex": None,
}
"""What gRPC's calls ask a key for, None: they are open to all; loading, unloading and any others are not."""


class Repository(Protocol):
    """Where load and unload lead: the registry's desired state, for all replicas."""

    async def serve(self, serving: bool) -> None: ...


class ReplicaBackend:
    """Answers REST, and gRPC as `servicer.Service` says.

    Args:
        model: its name.
        keys: None lets everybody in.
        traffic: what HTTP has in hand stands there too.
        here: calls by gRPC come from this machine, or are refused.
    """

    def __init__(
        self,
        model: str,
        service: Callable[[], Service],
        keys: Keys | None,
        repository: Repository,
        traffic: Traffic,
        *,
        here: bool = False,
    ) -> None:
        self._model = model
        self._of = service
        self._keys = keys
        self._repository = repository
        self._traffic = traffic
        self._here = here
        body = responses.error_body
        self._infer = Endpoint(self._post_infer, ("POST",), Scope.PREDICT, label="An inference", error_body=body)
        self._admin = Endpoint(self._call, ("POST",), Scope.ADMIN, label="Loading", error_body=body)
        self._stats = Endpoint(self._call, ("GET",), Scope.METRICS, label="Statistics", error_body=body)
        self._open = {
            method: Endpoint(self._call, (method,), None, label="This path", error_body=body)
            for method in ("GET", "POST")
        }
        self._none = Endpoint(self._call, ("GET", "POST"), None, error_body=body)

    def find(self, path: str) -> Endpoint | None:
        """The endpoint of a path under /v2."""
        if not path.startswith("/v2"):
            return None
        if path.endswith("/infer"):
            return self._infer
        if path.endswith(("/load", "/unload")):
            return self._admin
        if path.endswith("/stats"):
            return self._stats
        return self._open.get(calls.method(path), self._none)

    def counted(self, rpc: str) -> AbstractContextManager[None]:
        return self._traffic.call(f"/{SERVICE}/{rpc}")

    def admit(self, rpc: str, metadata: Mapping[str, str]) -> Key | None:
        isolation.check_call(metadata)
        if self._here and not exposure.is_own_peer(metadata.get(PEER, "")):
            remedy = "serve with --host and keys"
            raise refused(403, "A server on loopback answers its own machine", metadata.get(PEER, "?"), remedy)
        scope = _SCOPES.get(rpc, Scope.ADMIN)
        if self._keys is not None and scope is not None:
            key = presented(metadata.get("authorization"), metadata.get("x-api-key"))
            return self._keys.check(key, scope)
        return None

    async def infer(self, message: Any, key: Key | None) -> Any:
        with self._traffic.prediction():
            version = self._version(message.model_name, message.model_version)
            given = version.decoder.message(message)
            encode, until = partial(responses.message, given), _deadline(given, None)
            pinned = message.model_version or None
            return await self._service.predict(Request(_rows(given, version), encode, pinned, until, client(key)))

    async def document(self, call: Call) -> Document:
        """The message of a call's response, as JSON.

        Raises:
            RequestError: 404 no such model or version; 409, 503: it cannot be loaded or unloaded, or none is served.
        """
        service, model, version = self._service, call.model, call.version
        match call.rpc:
            case "ServerLive":
                return {"live": True}
            case "ServerReady":
                return {"ready": service.held.serving}
            case "ServerMetadata":
                return documents.server_metadata()
            case "RepositoryIndex":
                reason = None if service.held.serving else "unloaded"
                versions = dict.fromkeys(self._numbers, reason)
                return {"models": documents.repository_index(self._model, versions, call.ready)}
            case "RepositoryModelLoad" | "RepositoryModelUnload":
                self._known(model)
                await self._repository.serve(call.rpc == "RepositoryModelLoad")
                return {}
            case "ModelStatistics":
                every = list(service.versions.values())
                chosen = [self._version(model, version)] if model or version else every
                statistics = {each.number: each.statistics for each in (chosen if version else every)}
                return documents.model_statistics(self._model, statistics)
        named = self._version(model, version)
        match call.rpc:
            case "ModelMetadata":
                return documents.model_metadata(named.identity, named.reader.columns, self._numbers)
            case "ModelConfig":
                return {"config": documents.model_config(named.identity, named.reader.columns, self._numbers)}
        return {"ready": True}

    async def _post_infer(self, request: Incoming) -> Reply:
        call = calls.route(request.method, request.path)
        version = self._version(call.model, call.version)
        given = version.decoder.http(request.body, request.headers.get(_LENGTH))
        encode, until = partial(responses.http, given), _deadline(given, deadline(request))
        pinned, by = call.version or None, client(request.key)
        reply: Reply = await self._service.predict(Request(_rows(given, version), encode, pinned, until, by))
        return reply

    async def _call(self, request: Incoming) -> Reply:
        call = calls.route(request.method, request.path, request.body)
        status, body = calls.rest(await self.document(call), call)
        return Reply(body, status)

    @property
    def _service(self) -> Service:
        return self._of()

    @property
    def _numbers(self) -> Sequence[str]:
        return [version.number for version in self._service.versions.values()]

    def _known(self, model: str) -> None:
        if model and model != self._model:
            raise refused(
                404, "A model that is asked for is served here", f"{model[:60]!r}", f"ask for {self._model!r}"
            )

    def _version(self, model: str, version: str) -> Version:
        self._known(model)
        return self._service.version(version or None)


def _rows(given: InferRequest, version: Version) -> Rows:
    key = given.parameters.get("key")
    keys = version.reader.keys_in(given.others) if key is None else [str(key)] * given.rows
    return rows_of_columns(given.rows, given.raw, given.others, keys)


def _deadline(request: InferRequest, earlier: float | None) -> float | None:
    if request.timeout is None:
        return earlier
    own = time.monotonic() + request.timeout
    return own if earlier is None else min(own, earlier)
