import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from small_bundle import Small
from tidemill.bundle.predictor import Predictor
from tidemill.data.schema import Column
from tidemill.errors import RequestError
from tidemill.serve.door import openapi
from tidemill.serve.door.openapi_schemas import ID, label, row
from tidemill.serve.hooks.metrics import path_label
from tidemill.serve.wire import protocol
from tidemill.serve.wire.reader import Reader
from tidemill.serve.wire.refusals import encode_error, refused
from tidemill.settings import Kind, Objective


@pytest.fixture(scope="module")
def predictor(small: Small) -> Predictor:
    return Predictor(small.folder)


@pytest.fixture(scope="module")
def document(predictor: Predictor) -> dict[Any, Any]:
    return json.loads(openapi.document(predictor))


def everything(node: Any) -> Iterator[Any]:
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from everything(child)


def resolved(document: dict[Any, Any], reference: str) -> dict[Any, Any]:
    node = document
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return node


def check(document: dict[Any, Any], name: str, value: dict[str, Any]) -> None:
    """Hold a value against a schema of the document."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def operations(document: dict[Any, Any]) -> list[Any]:
    return [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]


def test_schemas_are_schemas_and_references_lead_somewhere(document: dict[Any, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    references = [node["$ref"] for node in everything(document) if isinstance(node, dict) and "$ref" in node]
    assert len(references) > 20
    for reference in references:
        assert resolved(document, reference)["type"] == "object"
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names)) == 25


def test_path_parameters_are_declared(document: dict[Any, Any]) -> None:
    for path, item in document["paths"].items():
        declared = {parameter["name"] for parameter in item.get("parameters", ())}
        assert set(re.findall(r"{(\w+)}", path)) == declared
        assert path_label(path) == path.replace("/versions/{version}", ""), "metrics know it too"


def test_examples_fit_their_schemas(document: dict[Any, Any]) -> None:
    found = 0
    for node in everything(document["paths"]):
        if isinstance(node, dict) and "example" in node:
            check(document, node["schema"]["$ref"].rpartition("/")[2], node["example"])
            found += 1
    assert found == 4


def test_the_example_is_a_golden_row_and_its_answer(document: dict[Any, Any], predictor: Predictor) -> None:
    predict = document["paths"]["/predict"]["post"]
    rows = predict["requestBody"]["content"]["application/json"]["example"]["rows"]
    assert rows == protocol.rows_of(predictor.golden.raw, predictor.columns, 1)
    (answer,) = predict["responses"]["200"]["content"]["application/json"]["example"]["predictions"]
    golden = predictor.golden.answers
    if "label" in golden:
        assert answer["label"] == golden["label"][0]
        assert list(answer["probabilities"].values()) == pytest.approx(golden["probabilities"][0].tolist())
    else:
        assert answer["value"] == golden["value"][0] and answer["interval"] == [golden["lower"][0], golden["upper"][0]]


def test_what_is_said_of_rows_is_what_is_done(document: dict[Any, Any], predictor: Predictor) -> None:
    """Whatever the schema takes the protocol takes, and the other way round."""
    example = protocol.rows_of(predictor.golden.raw, predictor.columns, 1)[0]
    changes = [
        ({}, True),
        ({"city": "never seen before"}, True),
        ({"city": None}, True),
        ({"city": 5}, True),
        ({"city": [5]}, False),
        ({"size": 1e300}, True),
        ({"size": "5"}, True),
        ({"size": True}, True),
        ({"size": [5]}, False),
        ({"open": None}, False),
        ({"open": 1}, True),
        ({"open": 2}, False),
        ({"open": "no"}, True),
        ({"at": "2020-01-01"}, True),
        ({"at": 5}, True),
        ({"at": 5.5}, False),
        ({"unknown": 1}, False),
        ({"grade": "low", "price": 1.0}, False),
    ]
    reader = predictor_reader(predictor)
    for change, right in changes:
        changed = {**example, **change}
        valid = schema_takes(document, {"rows": [changed]})
        try:
            reader.checked([changed])
            taken = True
        except RequestError:
            taken = False
        assert (valid, taken) == (right, right), change
    assert not schema_takes(document, {"rows": [{}]}), "open is always needed"


def predictor_reader(predictor: Predictor) -> Reader:
    from tidemill.serve.wire.reader import Reader

    return Reader(predictor.manifest.schema)


def schema_takes(document: dict[Any, Any], value: dict[str, Any]) -> bool:
    try:
        check(document, "PredictRequest", value)
    except jsonschema.ValidationError:
        return False
    return True


def test_errors_and_labels_fit(document: dict[Any, Any], predictor: Predictor) -> None:
    error = refused(422, "A rule", "something", "a remedy")
    check(document, "Error", json.loads(encode_error(error)))
    regression = predictor.manifest.identity.objective is Objective.REGRESSION
    right, wrong = (1.5, "mid") if regression else ("mid", "other")
    check(document, "FeedbackRequest", {"labels": [{"id": "ab-0", "label": right, "at": "2020-01-01"}]})
    for entry in ({"id": "ab-0", "label": wrong}, {"id": "x", "label": right}, {"id": "ab-0"}):
        with pytest.raises(jsonschema.ValidationError):
            check(document, "FeedbackRequest", {"labels": [entry]})


def test_keys_are_asked_for_only_where_they_are(predictor: Predictor, document: dict[Any, Any]) -> None:
    assert "securitySchemes" not in document["components"]
    assert not any(
        "security" in operation or "401" in operation["responses"] for _, _, operation in operations(document)
    )
    keyed = json.loads(openapi.document(predictor, keys=True))
    assert set(keyed["components"]["securitySchemes"]) == {"bearer", "header"}
    secured = {path for path, _, operation in operations(keyed) if "security" in operation}
    assert {"/predict", "/feedback", "/metrics", "/v2/models/{model}/infer"} < secured
    assert not {"/health", "/openapi.json", "/v2/health/ready", "/v2/models/{model}"} & secured
    for _, _, operation in operations(keyed):
        assert {"401", "403", "429"} <= operation["responses"].keys() or "security" not in operation


def test_what_can_be_tried_again_says_when(document: dict[Any, Any]) -> None:
    responses = document["paths"]["/predict"]["post"]["responses"]
    assert set(responses) == {"200", "400", "403", "404", "405", "408", "413", "415", "422", "503", "504"}
    assert "Retry-After" in responses["503"]["headers"] and "headers" not in responses["422"]
    infer = document["paths"]["/v2/models/{model}/infer"]["post"]["responses"]["422"]
    assert infer["content"]["application/json"]["schema"]["$ref"].endswith("/ProtocolError")


def test_domains_and_ranges_are_told_and_not_demanded() -> None:
    columns = [
        Column(name="a", kind=Kind.NUMERIC, minimum=1.0, maximum=2.5),
        Column(name="b", kind=Kind.CATEGORICAL, domain=tuple(f"c{i}" for i in range(60)), missing_allowed=False),
        Column(name="c", kind=Kind.CATEGORICAL, missing_marks=("?",), missing_allowed=False),
        Column(name="d", kind=Kind.NUMERIC, minimum=0.0),
    ]
    schema = row(columns, ["key"])
    told = {name: entry["description"] for name, entry in schema["properties"].items()}
    assert "usually from 1 to 2.5" in told["a"] and "from 0 to any" in told["d"]
    assert "c49, …; others are taken too" in told["b"] and "c50" not in told["b"]
    assert schema["required"] == ["b", "c"]
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate({"a": 1e9, "b": "new", "c": "new", "key": 5})
    for wrong in ({"b": "", "c": "x"}, {"b": "x", "c": "?"}, {"b": "x", "c": "x", "key": []}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(wrong)


def test_ids_are_those_that_feedback_takes() -> None:
    from tidemill.serve.wire import feedback

    for text in ("ab-0", "0123456789ab1f-12", "x-0", "ab-01", "ab", "a" * 65 + "-0", "ab-1234567890"):
        assert bool(re.search(ID, text)) == bool(feedback._ID.fullmatch(text))


@pytest.mark.parametrize("key", [None, "order"])
def test_labels_by_key_are_described_where_there_are_keys(key: str | None, predictor: Predictor) -> None:
    schema = label(predictor.manifest.identity, key)
    truth = (
        1.5 if predictor.manifest.identity.objective is Objective.REGRESSION else predictor.manifest.identity.classes[0]
    )
    fits = jsonschema.Draft202012Validator(schema).is_valid
    assert fits({"id": "ab-0", "label": truth})
    assert [fits({"key": given, "label": truth}) for given in (7, "7")] == [key is not None] * 2
    wrong = ({"key": 7, "id": "ab-0"}, {"key": ""}, {"key": None}, {"key": True}, {})
    assert not any(fits({**given, "label": truth}) for given in wrong)
