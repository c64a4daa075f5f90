"""The gRPC service of the Open Inference Protocol: its methods, for grpc.aio and for Ray Serve deployments alike.

Ray Serve calls a deployment's methods by the name of the call. A deployment inherits from `Servicer`, and the Serve
configuration names the registration function:

    grpc_options: {grpc_servicer_functions:
      [tidemill.serve.door.inference.servicer.add_GRPCInferenceServiceServicer_to_server]}
"""

# ruff: noqa: N802 — gRPC's methods have the names of the specification

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import grpc  # type: ignore[import-untyped]
from google.protobuf import json_format  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from tidemill.errors import RequestError
from tidemill.serve.door.inference.calls import Call, Document
from tidemill.serve.door.key_file import Key
from tidemill.serve.door.traffic import LONG
from tidemill.serve.wire.inference import messages
from tidemill.serve.wire.refusals import refused

LOG = logging.getLogger("ray.serve")
PEER = ":peer"
"""Name in the metadata of a call under which its sender's address stands; no client can send one with a colon."""
SERVICE = f"{messages.PACKAGE}.GRPCInferenceService"
_UNARY = (
    *("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "ModelConfig"),
    *("ModelStatistics", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"),
)
_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    421: grpc.StatusCode.PERMISSION_DENIED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
    507: grpc.StatusCode.UNAVAILABLE,
}
_FIELDS = 2**14
"""Of a message: its inputs, their data, outputs and parameters."""
_DETAILS = 1000
"""Bytes: status details travel percent-encoded in HTTP/2 trailers, which clients limit to 8 KiB."""


class Service(Protocol):
    """What the servicer calls."""

    def counted(self, rpc: str) -> AbstractContextManager[None]:
        """Around each call, and each message of a stream: what comes out of it has been answered or refused."""

    def admit(self, rpc: str, metadata: Mapping[str, str]) -> Key | None:
        """Before each call: the key that it came with. Raises RequestError: 401, 403 or 429."""

    async def infer(self, message: Any, key: Key | None) -> Any:
        """A ModelInferRequest → a ModelInferResponse. Raises RequestError."""

    async def document(self, call: Call) -> Document:
        """The message of the call's response, as JSON. Raises RequestError."""


def _documented(rpc: str) -> Callable[["Servicer", Any, Any], Coroutine[Any, Any, Any]]:
    """A call that is answered with a document, as by HTTP."""

    async def method(self: "Servicer", request: Any, grpc_context: Any) -> Any:
        response = getattr(messages, f"{rpc}Response")()
        try:
            with self.service.counted(rpc):
                self.service.admit(rpc, _metadata(grpc_context))
                document = await self.service.document(_call(rpc, _whole(request)))
                return json_format.ParseDict(document, response, ignore_unknown_fields=True)
        except Exception as error:
            return _failed(error, grpc_context, response)

    return method


class Servicer:
    """The methods of inference.GRPCInferenceService. Set `service` before the first call."""

    service: Service

    async def ModelInfer(self, request: Any, grpc_context: Any) -> Any:
        metadata = _metadata(grpc_context)
        try:
            with self.service.counted("ModelInfer"):
                key = self.service.admit("ModelInfer", metadata)
                return await self.service.infer(_whole(request), key)
        except Exception as error:
            return _failed(error, grpc_context, messages.ModelInferResponse())

    async def ModelStreamInfer(self, request: AsyncIterator[Any], grpc_context: Any) -> AsyncIterator[Any]:
        """Each request gets its answer or its error, in order; an error ends nothing."""
        metadata = _metadata(grpc_context)
        async for message in request:
            try:
                with self.service.counted("ModelStreamInfer"):
                    key = self.service.admit("ModelInfer", metadata)
                    answer = await self.service.infer(_whole(message), key)
                yield messages.ModelStreamInferResponse(infer_response=answer)
            except Exception as error:
                failed = messages.ModelInferResponse(id=getattr(message, "id", ""))
                yield messages.ModelStreamInferResponse(error_message=_reason(error)[1], infer_response=failed)


for _rpc in _UNARY:
    if _rpc != "ModelInfer":
        setattr(Servicer, _rpc, _documented(_rpc))


def add_GRPCInferenceServiceServicer_to_server(servicer: Any, server: Any) -> None:
    """Register a servicer, as the function of this name in generated modules does."""
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, name),
            request_deserializer=_reading(getattr(messages, f"{name}Request")),
            response_serializer=getattr(messages, f"{name}Response").SerializeToString,
        )
        for name in _UNARY
    }
    handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
        servicer.ModelStreamInfer,
        request_deserializer=_reading(messages.ModelInferRequest),
        response_serializer=messages.ModelStreamInferResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def status_code(status: int) -> grpc.StatusCode:
    """gRPC's code for an HTTP status of 4xx or 5xx."""
    return _CODES.get(status, grpc.StatusCode.INVALID_ARGUMENT if status < 500 else grpc.StatusCode.INTERNAL)


class _Unread(str):
    """In place of a message that could not be read: why."""


def _reading(kind: Any) -> Callable[[bytes], Any]:
    """What reads a message of a kind. gRPC takes an exception there for a fault of ours, and logs its traceback."""

    def read(data: bytes) -> Any:
        if len(data) > LONG and _fields(data, _FIELDS) > _FIELDS:
            return _Unread(f"it has more than {_FIELDS} fields")
        try:
            return kind.FromString(data)
        except DecodeError as error:
            return _Unread(error)

    return read


def _fields(data: bytes, most: int) -> int:
    """Fields of a message, nested ones not counted; at most one more than `most`.

    A field without content takes two bytes, and the object that is made of it a hundred; no key has been seen yet.
    """
    place = found = 0
    while place < len(data) and found <= most:
        found += 1
        tag, place = _varint(data, place)
        match tag & 7:
            case 0:
                _, place = _varint(data, place)
            case 1:
                place += 8
            case 2:
                length, place = _varint(data, place)
                place += length
            case 5:
                place += 4
            case _:  # groups, which protobuf's own reading refuses or skips
                break
    return found


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number and the place behind it. https://protobuf.dev/programming-guides/encoding"""
    value = shift = 0
    while place < len(data):
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128 or shift > 63:
            break
    return value, place


def _whole(message: Any) -> Any:
    """The message, once it is known to be one.

    Raises:
        RequestError: 400, it could not be read.
    """
    if isinstance(message, _Unread):
        raise refused(400, "A call's message is of the type that the call names", message[:200], "send valid protobuf")
    return message


def _call(rpc: str, request: Any) -> Call:
    if rpc.startswith("RepositoryModel"):
        return Call(rpc, request.model_name)
    if rpc == "RepositoryIndex":
        return Call(rpc, ready=request.ready)
    return Call(rpc, getattr(request, "name", ""), getattr(request, "version", ""))


def _metadata(context: Any) -> dict[str, str]:
    found = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    return found | {PEER: context.peer() or ""}


def _failed(error: Exception, context: Any, response: Any) -> Any:
    """The status is set rather than raised: what is raised, Ray logs as a fault with its traceback."""
    status, reason = _reason(error)
    context.set_code(status_code(status))
    context.set_details(reason)
    return response


def _reason(error: Exception) -> tuple[int, str]:
    if isinstance(error, RequestError):
        return error.status, str(error).encode()[:_DETAILS].decode(errors="ignore")
    LOG.error("A request failed", exc_info=error)
    return 500, "The server answers every valid request. Got: a fault of its own. Remedy: see its log."
