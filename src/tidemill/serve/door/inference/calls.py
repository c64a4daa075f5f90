"""The calls of the Open Inference Protocol other than infer, and by which paths REST reaches them.

A call's answer is a JSON document, made once for both protocols: gRPC's messages have the same fields.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from tidemill.serve.wire import depth
from tidemill.serve.wire.refusals import refused

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One call. rpc: its name in gRPC, whichever way it came. version, model: "" where none is named."""

    rpc: str
    model: str = ""
    version: str = ""
    ready: bool = False


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
        return Call(rpc, model, version, _content(body).get("ready") is True)
    rule = "The paths are those of the Open Inference Protocol, version 2"
    raise refused(404, rule, path[:200], "correct the path, as in /v2/models/MODEL/infer")


def rest(document: Document, call: Call) -> tuple[int, bytes]:
    """Status and body of a call's answer over REST, from the message of its response."""
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
