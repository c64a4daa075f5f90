"""The gRPC service on a real server: every call, and its refusals."""

import asyncio
import contextlib
import inspect
import logging
import pickle
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import grpc
import numpy as np
import pytest
from ray.serve._private.grpc_util import gRPCGenericServer

from real_servers import by_grpc
from small_bundle import Small
from tidemill.bundle.answers import names
from tidemill.bundle.predictor import Predictor
from tidemill.ledger.record import Role
from tidemill.serve.door.inference import servicer
from tidemill.serve.door.inference.calls import Call
from tidemill.serve.wire.inference import documents, messages, responses
from tidemill.serve.wire.inference.messages import ModelInferRequest
from tidemill.serve.wire.inference.requests import Decoder
from tidemill.serve.wire.inference.statistics import Statistics
from tidemill.serve.wire.refusals import refused
from tidemill.serve.wire.request import Answer


class Backend:
    """The smallest that there can be: one version, no queue."""

    def __init__(self, folder: Path) -> None:
        self.predictor = Predictor(folder)
        self.identity = self.predictor.manifest.identity
        self.decoder = Decoder(self.predictor.columns, names(self.identity.objective))
        self.statistics = Statistics()
        self.done = []
        self.metadata = documents.model_metadata(self.identity, self.predictor.columns, ["1"])

    def _known(self, model: str, version: str) -> None:
        if model not in ("", "small") or version not in ("", "1"):
            raise refused(404, "The model is served here", f"{model} {version}", "look into the index")

    def counted(self, rpc: str) -> Any:
        return contextlib.nullcontext()

    def admit(self, rpc: str, metadata: dict[str, str]) -> None:
        if rpc not in ("ServerLive", "ServerReady") and metadata.get("authorization") != "Bearer k":
            raise refused(401, "A request has a key", "none", "send one")

    async def document(self, call: Any) -> Any:
        match call.rpc:
            case "ServerLive" | "ServerReady":
                return {call.rpc.removeprefix("Server").lower(): call.rpc == "ServerLive"}
            case "ServerMetadata":
                return documents.server_metadata()
            case "RepositoryIndex":
                return {"models": documents.repository_index("small", {"1": None, "2": "damaged"}, call.ready)}
        self._known(call.model, call.version)
        match call.rpc:
            case "ModelReady":
                return {"ready": True}
            case "ModelMetadata":
                return self.metadata
            case "ModelConfig":
                return {"config": documents.model_config(self.identity, self.predictor.columns, ["1"])}
            case "ModelStatistics":
                return documents.model_statistics("small", {"1": self.statistics})
        self.done.append(call)
        return {}

    async def infer(self, message: ModelInferRequest, metadata: None) -> Any:
        if message.model_name == "fault":
            raise ZeroDivisionError("a secret")
        self._known(message.model_name, message.model_version)
        request = self.decoder.message(message)
        answer = Answer(self.predictor.predict(request.raw), self.identity, Role.CHAMPION)
        self.statistics.executed(request.rows, 1, 2)
        return responses.message(request, "id7", answer)


@pytest.fixture(scope="module")
def backend(small_multiclass: Small) -> Backend:
    return Backend(small_multiclass.folder)


def calling(backend: Backend, *calls: Any, key: str = "k") -> list[Any]:
    """The answers to (rpc, request) on a server of their own; a refusal is the error."""

    async def run() -> Any:
        metadata = [("authorization", f"Bearer {key}"), ("trace-bin", b"\xff")]
        found = []
        async with by_grpc(backend) as channel:
            for rpc, request in calls:
                path = f"/inference.GRPCInferenceService/{rpc}"
                if rpc == "ModelStreamInfer":
                    read = messages.ModelStreamInferResponse.FromString
                    call = channel.stream_stream(path, type(request[0]).SerializeToString, read)
                    found.append([answer async for answer in call(iter(request), metadata=metadata)])
                    continue
                read = getattr(messages, f"{rpc}Response").FromString
                try:
                    call = channel.unary_unary(path, type(request).SerializeToString, read)
                    found.append(await call(request, metadata=metadata))
                except grpc.aio.AioRpcError as error:
                    found.append(error)
        return found

    return asyncio.run(run())


def infer_request(rows: int = 3, **more: Any) -> ModelInferRequest:
    made = messages.ModelInferRequest(**{"model_name": "small", "id": "r1", **more})
    made.inputs.add(name="open", datatype="BOOL", shape=[rows, 1], contents={"bool_contents": [True] * rows})
    made.inputs.add(name="city", datatype="BYTES", shape=[rows], contents={"bytes_contents": ["東京".encode()] * rows})
    return made


def test_inference_answers_in_raw_contents(backend: Backend) -> None:
    one, two, other = calling(
        backend,
        ("ModelInfer", infer_request()),
        ("ModelInfer", infer_request(outputs=[{"name": "label"}])),
        ("ModelInfer", infer_request(rows=0)),
    )
    raw = backend.decoder.message(infer_request()).raw
    wanted = backend.predictor.predict(raw)
    assert (one.model_name, one.id, one.parameters["request_id"].string_param) == ("small", "r1", "id7")
    assert one.parameters["role"].string_param == "champion"
    assert [(out.name, out.datatype, list(out.shape)) for out in one.outputs] == [
        ("probabilities", "FP32", [3, 3]),
        ("label", "BYTES", [3]),
    ]
    assert np.array_equal(np.frombuffer(one.raw_output_contents[0], "<f4").reshape(3, 3), wanted["probabilities"])
    label = wanted["label"][0].encode()
    assert one.raw_output_contents[1] == (len(label).to_bytes(4, "little") + label) * 3
    assert [out.name for out in two.outputs] == ["label"] and two.raw_output_contents[0] == one.raw_output_contents[1]
    assert list(other.outputs[0].shape) == [0, 3] and list(other.raw_output_contents) == [b"", b""]


def test_documents_are_those_of_rest(backend: Backend) -> None:
    named = {"name": "small"}
    live, ready, model_ready, server, metadata, config, statistics = calling(
        backend,
        ("ServerLive", messages.ServerLiveRequest()),
        ("ServerReady", messages.ServerReadyRequest()),
        ("ModelReady", messages.ModelReadyRequest(**named, version="1")),
        ("ServerMetadata", messages.ServerMetadataRequest()),
        ("ModelMetadata", messages.ModelMetadataRequest(**named)),
        ("ModelConfig", messages.ModelConfigRequest(**named)),
        ("ModelStatistics", messages.ModelStatisticsRequest(**named)),
    )
    assert live.live and not ready.ready and model_ready.ready
    assert server.name == "tidemill" and "binary_tensor_data" in server.extensions
    wanted = backend.metadata
    assert [(i.name, i.datatype, list(i.shape)) for i in metadata.inputs] == [
        tuple(i.values()) for i in wanted["inputs"]
    ]
    assert list(metadata.versions) == ["1"] and list(metadata.outputs[0].shape) == [-1, 3]
    assert config.config.max_batch_size == 0 and list(config.config.version_policy.specific.versions) == [1]
    kinds = {entry.name: (entry.data_type, entry.optional, list(entry.dims)) for entry in config.config.input}
    assert kinds["open"] == (1, False, [-1]) and kinds["size"] == (12, True, [-1]) and kinds["city"][0] == 13
    (kept,) = statistics.model_stats
    assert kept.version == "1" and kept.execution_count == backend.statistics.document("", "")["execution_count"]


def test_the_repository_is_listed_loaded_and_unloaded(backend: Backend) -> None:
    parameters = {"force": {"bool_param": True}}
    backend.done.clear()
    every, ready, loaded, unloaded, wrong = calling(
        backend,
        ("RepositoryIndex", messages.RepositoryIndexRequest()),
        ("RepositoryIndex", messages.RepositoryIndexRequest(ready=True)),
        ("RepositoryModelLoad", messages.RepositoryModelLoadRequest(model_name="small", parameters=parameters)),
        ("RepositoryModelUnload", messages.RepositoryModelUnloadRequest(model_name="small")),
        ("RepositoryModelLoad", messages.RepositoryModelLoadRequest(model_name="other")),
    )
    assert [(model.version, model.state, model.reason) for model in every.models] == [
        ("1", "READY", ""),
        ("2", "UNAVAILABLE", "damaged"),
    ]
    assert [model.version for model in ready.models] == ["1"] and loaded.ByteSize() == unloaded.ByteSize() == 0
    assert backend.done == [Call("RepositoryModelLoad", "small"), Call("RepositoryModelUnload", "small")]
    assert wrong.code() is grpc.StatusCode.NOT_FOUND


def test_refusals_have_their_status_and_reason(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    unknown, bad, fault = calling(
        backend,
        ("ModelMetadata", messages.ModelMetadataRequest(name="ö" * 5000)),
        ("ModelInfer", infer_request(inputs=[{"name": "opn", "datatype": "BOOL", "shape": [3]}])),
        ("ModelInfer", infer_request(model_name="fault")),
    )
    assert unknown.code() is grpc.StatusCode.NOT_FOUND and "The model is served here. Got: ööö" in unknown.details()
    assert bad.code() is grpc.StatusCode.INVALID_ARGUMENT and "input 'opn' has none" in bad.details()
    assert fault.code() is grpc.StatusCode.INTERNAL and "secret" not in fault.details()
    assert "A request failed" in caplog.text
    (locked, alive) = calling(
        backend, ("ModelInfer", infer_request()), ("ServerLive", messages.ServerLiveRequest()), key="x"
    )
    assert locked.code() is grpc.StatusCode.UNAUTHENTICATED and alive.live


def test_a_stream_goes_on_behind_an_error(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    requests = [infer_request(), infer_request(model_version="9", id="r2"), infer_request(id="r3")]
    (answers,) = calling(backend, ("ModelStreamInfer", requests))
    assert [answer.infer_response.id for answer in answers] == ["r1", "r2", "r3"]
    assert [bool(answer.error_message) for answer in answers] == [False, True, False]
    assert "The model is served here" in answers[1].error_message


def test_http_status_gives_the_code_of_grpc() -> None:
    for status, name in ((400, "INVALID_ARGUMENT"), (403, "PERMISSION_DENIED"), (429, "RESOURCE_EXHAUSTED")):
        assert servicer.status_code(status).name == name
    for status, name in (
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
        (502, "INTERNAL"),
        (413, "RESOURCE_EXHAUSTED"),
    ):
        assert servicer.status_code(status).name == name


def test_messages_are_the_specifications_down_to_the_bytes() -> None:
    made = messages.ModelInferRequest(model_name="m", id="i", raw_input_contents=[b"\1\2"])
    made.parameters["p"].int64_param = 3
    made.inputs.add(name="x", datatype="FP64", shape=[-1], contents={"fp64_contents": [1.0]})
    made.outputs.add(name="y")
    assert made.SerializeToString(deterministic=True) == (
        b"\x0a\x01m\x1a\x01i\x22\x07\x0a\x01p\x12\x02\x10\x03"
        b"\x2a\x21\x0a\x01x\x12\x04FP64\x1a\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x2a\x0a\x3a\x08\0\0\0\0\0\0\xf0\x3f"
        b"\x32\x03\x0a\x01y\x3a\x02\1\2"
    )


def test_the_configuration_is_tritons_down_to_the_bytes() -> None:
    made = messages.ModelConfig(name="m", backend="b", max_batch_size=1)
    made.version_policy.specific.versions.append(3)
    made.input.add(name="x", data_type="TYPE_FP64", dims=[-1], optional=True)
    made.output.add(name="y", data_type="TYPE_STRING", dims=[2])
    made.model_transaction_policy.decoupled = True
    minus_one = b"\xff" * 9 + b"\x01"
    assert made.SerializeToString(deterministic=True) == (
        b"\x0a\x01m\x1a\x05\x1a\x03\x0a\x01\x03\x20\x01"
        b"\x2a\x13\x0a\x01x\x10\x0c\x22\x0a" + minus_one + b"\x40\x01"
        b"\x32\x08\x0a\x01y\x10\x0d\x1a\x01\x02\x8a\x01\x01b\x9a\x01\x02\x08\x01"
    )


def test_messages_travel_to_other_processes() -> None:
    made = infer_request()
    assert pickle.loads(pickle.dumps(made)) == made
    assert type(pickle.loads(pickle.dumps(made))) is messages.ModelInferRequest


def test_messages_leave_the_default_pool_alone() -> None:
    from google.protobuf import descriptor_pool

    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")
    with pytest.raises(AttributeError, match=r"wire\.inference\.messages' has no message 'NoSuchRequest'"):
        _ = messages.NoSuchRequest


def test_ray_serve_finds_what_it_looks_for() -> None:
    """Ray replaces the handlers of what the function registers, and calls methods by name with `grpc_context`."""
    factory = Mock()

    async def register() -> None:
        servicer.add_GRPCInferenceServiceServicer_to_server(Mock(), gRPCGenericServer(factory))

    asyncio.run(register())
    asked = {call.kwargs["service_method"].rpartition("/")[2] for call in factory.call_args_list}
    methods = {name for name in vars(servicer.Servicer) if name[0].isupper()}
    assert asked == methods and len(methods) == 12
    for name in methods:
        assert "grpc_context" in inspect.signature(getattr(servicer.Servicer, name)).parameters
