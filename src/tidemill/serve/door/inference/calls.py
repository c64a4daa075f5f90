"""The calls of the Open Inference Protocol other than infer: by which paths REST reaches them, and what answers them.

A call's answer is a JSON document, written once for both protocols: gRPC's messages have the same fields.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from tidemill.serve.wire import depth
from tidemill.serve.wire.refusals import refused

Document = dict[str, Any]


class Backend(Protocol):
    """Who answers. `model` and `version` come from the client as they are; "" means any. Refusals are RequestErrors:
    404 for what there is not, 409 or 501 for what cannot be done, 503 where it cannot be done now.
    """

    def live(self) -> bool: ...

    def ready(self) -> bool: ...

    def model_ready(self, model: str, version: str) -> bool: ...

    def server_metadata(self) -> Document: ...

    def model_metadata(self, model: str, version: str) -> Document: ...

    def model_config(self, model: str, version: str) -> Document: ...

    def model_statistics(self, model: str, version: str) -> Document: ...

    def repository_index(self, ready: bool) -> list[Document]: ...

    async def repository_load(self, model: str, parameters: Mapping[str, Any]) -> None: ...

    async def repository_unload(self, model: str, parameters: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Call:
    """One call. rpc: its name in gRPC, whichever way it came. version, model: "" where none is named."""

    rpc: str
    model: str = ""
    version: str = ""
    ready: bool = False
    parameters: Mapping[str, Any] | None = None


INFER = "ModelInfer"
_MODEL = r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"
_ROUTES = [
    ("POST", re.compile(_MODEL + "/infer"), INFER),
    ("GET", re.compile("/v2/health/live"), "ServerLive"),
    ("GET", re.compile("/v2/health/ready"), "ServerReady"),
    ("GET", re.compile("/v2/?"), "ServerMetadata"),
    ("GET", re.compile(_MODEL), "ModelMetadata"),
    ("GET", re.compile(_MODEL + "/ready"), "ModelReady"),
    ("GET", re.compile(_MODEL + "/config"), "ModelConfig"),
    ("GET", re.compile(_MODEL + "/stats"), "ModelStatistics"),
    ("GET", re.compile("/v2/models/stats"), "ModelStatistics"),
    ("POST", re.compile("/v2/repository/index"), "RepositoryIndex"),
    ("POST", re.compile("/v2/repository/models/(?P<model>[^/]+)/load"), "RepositoryModelLoad"),
    ("POST", re.compile("/v2/repository/models/(?P<model>[^/]+)/unload"), "RepositoryModelUnload"),
]


def method(path: str) -> str:
    """The method that a path takes besides HEAD; "" where there is no such path."""
    return next((wanted for wanted, pattern, _ in _ROUTES if pattern.fullmatch(path)), "")


def route(method: str, path: str, body: bytes = b"") -> Call:
    """The call that a REST request makes. The body counts for the repository's calls only.

    Args:
        path: percent-decoded, without the query.

    Raises:
        RequestError: 404 no such path, 405 another method, 400 a body that is no call.
    """
    for wanted, pattern, rpc in _ROUTES:
        found = pattern.fullmatch(path)
        if found is None or (rpc == "ModelMetadata" and path == "/v2/models/stats"):
            continue
        if method not in (wanted, "HEAD" if wanted == "GET" else wanted):
            raise refused(405, f"{path[:200]} takes {wanted}", method[:20], "use the right method")
        groups = found.groupdict()
        model, version = groups.get("model") or "", groups.get("version") or ""
        if not rpc.startswith("Repository"):
            return Call(rpc, model, version)
        content = _content(body)
        return Call(rpc, model, version, content.get("ready") is True, content.get("parameters") or {})
    rule = "The paths are those of the Open Inference Protocol, version 2"
    raise refused(404, rule, path[:200], "correct the path, as in /v2/models/MODEL/infer")


async def answer(backend: Backend, call: Call) -> Document:
    """The message of the call's response, as JSON.

    Raises:
        RequestError: what the backend raises.
    """
    model, version = call.model, call.version
    match call.rpc:
        case "ServerLive":
            return {"live": backend.live()}
        case "ServerReady":
            return {"ready": backend.ready()}
        case "ModelReady":
            return {"ready": backend.model_ready(model, version)}
        case "ServerMetadata":
            return backend.server_metadata()
        case "ModelMetadata":
            return backend.model_metadata(model, version)
        case "ModelConfig":
            return {"config": backend.model_config(model, version)}
        case "ModelStatistics":
            return backend.model_statistics(model, version)
        case "RepositoryIndex":
            return {"models": backend.repository_index(call.ready)}
        case "RepositoryModelLoad":
            await backend.repository_load(model, call.parameters or {})
        case _:
            await backend.repository_unload(model, call.parameters or {})
    return {}


async def rest(backend: Backend, call: Call) -> tuple[int, bytes]:
    """Status and body of a call's answer over REST.

    Raises:
        RequestError: what the backend raises.
    """
    document = await answer(backend, call)
    if call.rpc in ("ServerLive", "ServerReady", "ModelReady"):
        return (200 if all(document.values()) else 503), msgspec.json.encode(document)
    inner = {"ModelConfig": "config", "RepositoryIndex": "models"}.get(call.rpc)
    return 200, msgspec.json.encode(document[inner] if inner else document)


def _content(body: bytes) -> Document:
    try:
        content = depth.parsed(body or b"{}", json.loads)
    except (ValueError, RecursionError) as error:
        raise refused(400, "A request's body is JSON in UTF-8", str(error)[:200], "send JSON, or nothing") from error
    if not isinstance(content, dict) or not isinstance(content.get("parameters", {}), dict):
        observed = f"JSON of the type {type(content).__name__}"
        raise refused(400, "A request is an object, and so are its parameters", observed, 'send {"parameters": {…}}')
    return content
