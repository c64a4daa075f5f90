"""Answers and documents over REST, and the routes to them."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from tidemill.bundle.manifest import Identity
from tidemill.data.schema import Column
from tidemill.errors import RequestError
from tidemill.ledger.record import Role
from tidemill.serve.door.inference import calls
from tidemill.serve.door.inference.calls import Call
from tidemill.serve.wire.inference import documents, responses
from tidemill.serve.wire.inference.requests import InferRequest, Wanted
from tidemill.serve.wire.inference.statistics import Statistics
from tidemill.serve.wire.refusals import refused
from tidemill.serve.wire.request import Answer
from tidemill.settings import Kind, Objective

ANSWERS = {
    "probabilities": np.array([[0.1, 0.9], [1 / 3, 2 / 3]], np.float32),
    "label": np.array(["ä", ""], dtype=object),
}


def identity(
    version: str = "1",
    classes: tuple[Any, ...] | tuple[str, ...] = ("low", "ä"),
    objective: Objective = Objective.BINARY,
) -> Identity:
    return Identity(model="m", version=version, created="", objective=objective, classes=list(classes))


def asked(*outputs: Any, id: str = "r") -> InferRequest:
    return InferRequest({}, 2, {}, id, {}, outputs or (Wanted("probabilities", False), Wanted("label", False)))


WHOLE = Answer(ANSWERS, identity(), Role.CHAMPION)


def http(request: pytest.FixtureRequest, answer: Any = WHOLE) -> Any:
    reply = responses.http(request, "id", answer)
    return reply.body, {b"content-type": reply.type, **dict(reply.headers)}


def test_json_reads_back_as_the_same_float32() -> None:
    body, headers = http(asked())
    content = json.loads(body)
    assert headers == {b"content-type": b"application/json"}
    assert (content["model_name"], content["model_version"], content["id"]) == ("m", "1", "r")
    assert content["parameters"] == {"request_id": "id", "role": "champion"}
    probabilities, label = content["outputs"]
    assert np.array_equal(np.float32(probabilities["data"]), ANSWERS["probabilities"].ravel())
    assert (probabilities["shape"], probabilities["datatype"]) == ([2, 2], "FP32")
    assert label == {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["ä", ""]}
    assert "id" not in json.loads(http(asked(id=""))[0])


def test_binary_data_follow_the_json_in_the_order_asked_for() -> None:
    request = asked(Wanted("label", True), Wanted("probabilities", True))
    body, headers = http(request)
    length = int(headers[b"inference-header-content-length"])
    assert headers[b"content-type"] == b"application/octet-stream"
    outputs = json.loads(body[:length])["outputs"]
    assert [output["parameters"]["binary_data_size"] for output in outputs] == [10, 16]
    assert body[length:] == b"\2\0\0\0\xc3\xa4\0\0\0\0" + struct.pack("<4f", *ANSWERS["probabilities"].ravel())


def test_one_output_may_be_binary_and_another_not() -> None:
    body, headers = http(asked(Wanted("probabilities", True), Wanted("label", False)))
    content = json.loads(body[: int(headers[b"inference-header-content-length"])])
    assert "data" not in content["outputs"][0] and content["outputs"][1]["data"] == ["ä", ""]


def test_each_row_has_its_version_and_role_where_there_are_several() -> None:
    answer = Answer(ANSWERS, identity(), Role.CHAMPION, [("2", Role.CANARY), ("1", Role.CHAMPION)])
    parameters = {"request_id": "id", "role": "canary", "versions": "2,1", "roles": "canary,champion"}
    content = json.loads(http(asked(), answer)[0])
    assert (content["model_version"], content["parameters"]) == ("2", parameters)
    message = responses.message(asked(), "id", answer)
    assert {name: value.string_param for name, value in message.parameters.items()} == parameters
    assert message.model_version == "2"


def test_an_error_is_one_string() -> None:
    error = refused(400, "A rule holds", "x", "mend it")
    assert json.loads(responses.error_body(error)) == {"error": "A rule holds. Got: x. Remedy: mend it."}


def test_regression_has_three_outputs() -> None:
    column = [Column(name="a", kind=Kind.TIMESTAMP, missing_allowed=False)]
    described = documents.model_metadata(identity(classes=(), objective=Objective.REGRESSION), column, ["1"])
    assert described["inputs"] == [{"name": "a", "datatype": "INT64", "shape": [-1]}]
    assert [(output["name"], output["shape"]) for output in described["outputs"]] == [
        ("value", [-1]),
        ("lower", [-1]),
        ("upper", [-1]),
    ]


def test_statistics_add_up() -> None:
    kept = Statistics()
    kept.executed(rows=3, requests=2, run=20)
    kept.executed(rows=70, requests=1, run=2)
    kept.executed(rows=100, requests=1, run=2)
    kept.succeeded(waited=5, whole=100)
    kept.failed(whole=7)
    found = documents.model_statistics("m", {"1": kept})["model_stats"][0]
    assert (found["version"], found["inference_count"], found["execution_count"]) == ("1", 173, 3)
    assert found["last_inference"] > 1_600_000_000_000
    stats = found["inference_stats"]
    assert stats["compute_infer"] == {"count": 4, "ns": 44}
    assert stats["compute_input"] == stats["compute_output"] == {"count": 4, "ns": 0}, "the specification wants them"
    assert stats["queue"] == {"count": 1, "ns": 5}
    assert stats["success"] == {"count": 1, "ns": 100} and stats["fail"] == {"count": 1, "ns": 7}
    assert [(entry["batch_size"], entry["compute_infer"]) for entry in found["batch_stats"]] == [
        (3, {"count": 1, "ns": 20}),
        (128, {"count": 2, "ns": 4}),
    ]


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("POST", "/v2/models/a b/infer", Call("ModelInfer", "a b")),
        ("POST", "/v2/models/m/versions/3/infer", Call("ModelInfer", "m", "3")),
        ("GET", "/v2/health/live", Call("ServerLive")),
        ("HEAD", "/v2/health/ready", Call("ServerReady")),
        ("GET", "/v2", Call("ServerMetadata")),
        ("GET", "/v2/models/m", Call("ModelMetadata", "m")),
        ("GET", "/v2/models/m/versions/3", Call("ModelMetadata", "m", "3")),
        ("GET", "/v2/models/m/versions/3/ready", Call("ModelReady", "m", "3")),
        ("GET", "/v2/models/m/config", Call("ModelConfig", "m")),
        ("GET", "/v2/models/m/versions/3/stats", Call("ModelStatistics", "m", "3")),
        ("GET", "/v2/models/stats", Call("ModelStatistics")),
    ],
)
def test_paths_lead_to_calls(method: str, path: str, call: Call) -> None:
    assert calls.route(method, path) == call


def test_the_repositorys_calls_read_their_bodies() -> None:
    index = calls.route("POST", "/v2/repository/index", b'{"ready":true}')
    assert index == Call("RepositoryIndex", ready=True)
    load = calls.route("POST", "/v2/repository/models/m/load", b'{"parameters":{"config":"{}"}}')
    assert load == Call("RepositoryModelLoad", "m")
    assert calls.route("POST", "/v2/repository/models/m/unload") == Call("RepositoryModelUnload", "m")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "expected"),
    [
        ("GET", "/v2/models/m/infer", b"", 405, "/v2/models/m/infer takes POST. Got: GET"),
        ("POST", "/v2", b"", 405, "/v2 takes GET. Got: POST"),
        ("GET", "/v2/models//config", b"", 404, "The paths are those of the Open Inference Protocol"),
        ("GET", "/v2/models/m/config/x", b"", 404, "Got: /v2/models/m/config/x"),
        ("POST", "/v2/repository/index", b"{", 400, "A request's body is JSON in UTF-8"),
        (
            "POST",
            "/v2/repository/index",
            b"[]",
            400,
            "A request is an object, and so are its parameters. Got: JSON of the",
        ),
        ("POST", "/v2/repository/index", b'{"parameters":3}', 400, "A request is an object"),
    ],
)
def test_wrong_calls_are_refused(method: str, path: str, body: bytes, status: int, expected: str) -> None:
    with pytest.raises(RequestError) as raised:
        calls.route(method, path, body)
    assert raised.value.status == status and expected in str(raised.value)


def test_rest_answers_with_status_and_document() -> None:
    for method, path, document, status, body in (
        ("GET", "/v2/health/live", {"live": True}, 200, {"live": True}),
        ("GET", "/v2/health/ready", {"ready": False}, 503, {"ready": False}),
        ("GET", "/v2/models/m/ready", {"ready": True}, 200, {"ready": True}),
        ("GET", "/v2/", {"name": "server"}, 200, {"name": "server"}),
        ("GET", "/v2/models/m/config", {"config": {"max_batch_size": 0}}, 200, {"max_batch_size": 0}),
        ("GET", "/v2/models/m/stats", {"model_stats": []}, 200, {"model_stats": []}),
        ("POST", "/v2/repository/index", {"models": [{"name": "m"}]}, 200, [{"name": "m"}]),
        ("POST", "/v2/repository/models/m/load", {}, 200, {}),
    ):
        got, content = calls.rest(document, calls.route(method, path))
        assert (got, json.loads(content)) == (status, body), path
