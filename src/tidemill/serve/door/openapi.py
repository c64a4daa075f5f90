"""The OpenAPI document of a replica, made from the model in use: its columns, its classes, and one of its golden rows.

OpenAPI 3.1: https://spec.openapis.org/oas/v3.1.0.html
"""

from collections.abc import Sequence
from typing import Any

import msgspec

import tidemill
from tidemill.bundle.manifest import Identity
from tidemill.bundle.predictor import Predictor
from tidemill.ledger import keys as ledger_keys
from tidemill.ledger.record import Role
from tidemill.serve.door.openapi_schemas import Schema, fixed, label, prediction, ref, row, tensor_names
from tidemill.serve.wire import protocol
from tidemill.serve.wire.reader import Reader
from tidemill.serve.wire.request import Answer

_STATUS = {
    400: "The body is no such request",
    401: "No valid key",
    403: "The key is not good for this; without keys: a web page of another site had it sent",
    404: "There is no such model or version, or what is asked for is switched off",
    405: "The path takes another method, see the header Allow",
    408: "The body did not arrive in time",
    409: "What is asked for contradicts how this server is set",
    413: "Too many rows or bytes",
    415: "Another content type or encoding",
    422: "A value that does not fit the model; the row and column are named",
    429: "Too many requests with this key",
    503: "Overloaded, unloaded, or unable to record; try again later",
    504: "The deadline passed before the answer",
}
_RETRIED = (429, 503)
_KEYED = (401, 403, 429)
_BODY = (400, 408, 413, 415, 422)
_JSON, _ARROW, _BINARY = "application/json", "application/vnd.apache.arrow.stream", "application/octet-stream"
_BYTES: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}
_REQUEST = "0123456789ab1"


def document(predictor: Predictor, *, keys: bool = False) -> bytes:
    """The document as JSON. keys: whether the server asks for API keys."""
    identity = predictor.manifest.identity
    reader, key = Reader(predictor.manifest.schema), ledger_keys.column(predictor.manifest.schema)
    components: Schema = {
        "schemas": {
            "Row": row(predictor.columns, reader.others),
            "Prediction": prediction(identity),
            "Label": label(identity, key.name if key else None),
            "InferInput": tensor_names(predictor.columns),
            **fixed(identity),
        }
    }
    paths = {**_own(predictor, identity, keys), **_protocol(identity.model, keys)}
    if keys:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    info = {"title": f"Predictions of {identity.model}", "version": f"{tidemill.__version__}+{identity.version}"}
    return msgspec.json.encode({"openapi": "3.1.0", "info": info, "paths": paths, "components": components})


def _own(predictor: Predictor, identity: Identity, keys: bool) -> Schema:
    rows = protocol.rows_of(predictor.golden.raw, predictor.columns, 1)
    first = {name: values[:1] for name, values in predictor.golden.answers.items()}
    answer = msgspec.json.decode(protocol.encode(_REQUEST, Answer(first, identity, Role.CHAMPION)).body)
    answer["version"] = str(identity.version)
    given = answer["predictions"][0]
    known = given.get("label", given.get("value"))
    predict = _operation(
        "predict",
        "Predictions for rows, in their order. Compressed bodies (gzip, deflate) are taken.",
        {_JSON: _content("PredictResponse", answer), _ARROW: {"schema": _BYTES}},
        (*_BODY, 404, 503, 504),
        keys,
        request={_JSON: _content("PredictRequest", {"rows": rows}), _ARROW: {"schema": _BYTES}},
    )
    predict["parameters"] = [_TIMEOUT, _VERSION]
    feedback = _operation(
        "feedback",
        "Labels of earlier answers, by id or by the record's key; again for corrections. All are taken, or none.",
        {_JSON: _content("FeedbackResponse", {"received": 1})},
        (*_BODY, 404, 503),
        keys,
        request={_JSON: _content("FeedbackRequest", {"labels": [{"id": given["id"], "label": known}]})},
    )
    health = _operation("health", "Whether it answers, and with which versions.", {_JSON: _content("Health")}, ())
    health["responses"]["503"] = {
        "description": "The model is unloaded, or the ledger refuses",
        "content": {_JSON: _content("Health")},
    }
    text = {"text/plain": {"schema": {"type": "string"}}}
    metrics = _operation("metrics", "Metrics of all replicas, as Prometheus reads them.", text, (), keys)
    profile = _operation(
        "profile", "Live profiles of all replicas, by hour and version.", {_JSON: _content("Profiles")}, (404,), keys
    )
    itself = _operation("openapi", "This document.", {_JSON: {"schema": {"type": "object"}}}, ())
    page = {"text/html": {"schema": {"type": "string"}}}
    front = _operation(
        "front", "What this service is, and how it is asked.", {_JSON: {"schema": {"type": "object"}}, **page}, ()
    )
    return {
        "/": {"get": front},
        "/docs": {"get": _operation("docs", "This document, for people.", page, ())},
        "/predict": {"post": predict},
        "/feedback": {"post": feedback},
        "/health": {"get": health},
        "/metrics": {"get": metrics},
        "/profile": {"get": profile},
        "/openapi.json": {"get": itself},
    }


def _protocol(model: str, keys: bool) -> Schema:
    """The paths of the Open Inference Protocol, version 2, with Triton's extensions."""
    plain = {_JSON: {"schema": {"type": "object"}}}
    paths: Schema = {
        "/v2": _get("serverMetadata", "Name, version and extensions.", plain),
        "/v2/health/live": _get("serverLive", "Whether the process runs.", plain),
        "/v2/health/ready": _get("serverReady", "Whether it answers.", plain),
        "/v2/models/stats": _get("allStatistics", "Counts and durations of all versions.", plain, (), keys),
    }
    not_ready = {"description": "It is unloaded", "content": plain}
    paths["/v2/health/ready"]["get"]["responses"]["503"] = not_ready
    infer = {_JSON: _content("InferResponse"), _BINARY: {"schema": _BYTES}}
    named = [_path("model", {"type": "string", "examples": [model]})]
    versioned = [*named, _path("version", {"type": "string"})]
    for path, parameters, suffix in (
        ("/v2/models/{model}", named, ""),
        ("/v2/models/{model}/versions/{version}", versioned, "Version"),
    ):
        for place, name, summary, statuses in (
            ("", "modelMetadata", "Inputs, outputs and versions.", (404, 503)),
            ("/ready", "modelReady", "Whether the model answers.", (404, 503)),
            ("/config", "modelConfig", "The model's configuration, as Triton's clients read it.", (404, 503)),
            ("/stats", "modelStatistics", "Counts and durations.", (404, 503)),
        ):
            keyed = keys and place == "/stats"
            paths[path + place] = _get(name + suffix, summary, plain, statuses, keyed) | {"parameters": parameters}
        operation = _operation(
            "modelInfer" + suffix,
            "Predictions for named raw columns; tensors as JSON or, behind the JSON, as binary data.",
            infer,
            (400, 404, 408, 409, 413, 415, 422, 503, 504),
            keys,
            request={_JSON: _content("InferRequest"), _BINARY: {"schema": _BYTES}},
            error="ProtocolError",
        )
        paths[path + "/infer"] = {"post": {**operation, "parameters": [_LENGTH, _TIMEOUT]}, "parameters": parameters}
    anything = {_JSON: {"schema": {"type": "object"}}}
    index = {_JSON: {"schema": {"type": "array", "items": {"type": "object"}}}}
    bodies = (400, 408, 413, 415)
    operation = _operation(
        "repositoryIndex", "The versions in use.", index, bodies, request=anything, error="ProtocolError", needed=False
    )
    paths["/v2/repository/index"] = {"post": operation}
    for verb in ("load", "unload"):
        operation = _operation(
            f"repository{verb.capitalize()}",
            f"{verb.capitalize()} the model, in all replicas.",
            plain,
            (*bodies, 404, 409, 503),
            keys,
            request=anything,
            error="ProtocolError",
            needed=False,
        )
        paths[f"/v2/repository/models/{{model}}/{verb}"] = {"post": operation, "parameters": named}
    return paths


def _operation(
    name: str,
    summary: str,
    content: Schema,
    statuses: Sequence[int],
    keys: bool = False,
    *,
    request: Schema | None = None,
    error: str = "Error",
    needed: bool = True,
) -> Schema:
    """keys: whether this path asks for one. needed: whether a request has a body."""
    responses: Schema = {"200": {"description": "Done", "content": content}}
    for status in sorted({405, *statuses, *(_KEYED if keys else (403,) if request is not None else ())}):
        responses[str(status)] = {"description": _STATUS[status], "content": {_JSON: {"schema": ref(error)}}}
        if status in _RETRIED:
            seconds = {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 1}}
            responses[str(status)]["headers"] = {"Retry-After": seconds}
    operation: Schema = {"operationId": name, "summary": summary, "responses": responses}
    if request is not None:
        operation["requestBody"] = {"required": needed, "content": request}
    if keys:
        operation["security"] = [{"bearer": []}, {"header": []}]
    return operation


def _get(name: str, summary: str, content: Schema, statuses: Sequence[int] = (), keys: bool = False) -> Schema:
    return {"get": _operation(name, summary, content, statuses, keys, error="ProtocolError")}


def _content(name: str, example: Any = None) -> Schema:
    content: Schema = {"schema": ref(name)}
    return content if example is None else {**content, "example": example}


def _path(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _header(name: str, description: str, **schema: object) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema}


_LENGTH = _header(
    "Inference-Header-Content-Length", "Bytes of the JSON, where binary data follow it", type="integer", minimum=0
)
_TIMEOUT = _header(
    "X-Request-Timeout-Seconds",
    "When the client will have given up",
    **{"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 86400},
)
_VERSION = _header(
    "X-Model-Version",
    "The version that answers, where the body does not say so: an Arrow body has no place for it",
    type="string",
)
