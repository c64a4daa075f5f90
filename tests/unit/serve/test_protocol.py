import json

import numpy as np
import pytest

from tidemill.bundle.manifest import Identity
from tidemill.data.raw import MISSING_TIMESTAMP, from_rows
from tidemill.data.schema import Column
from tidemill.errors import RequestError
from tidemill.serve import protocol
from tidemill.serve.protocol import Limits
from tidemill.settings import Kind, Objective

COLUMNS = (
    Column(name="n", kind=Kind.NUMERIC, missing_allowed=False),
    Column(name="c", kind=Kind.CATEGORICAL),
    Column(name="b", kind=Kind.BOOLEAN),
    Column(name="t", kind=Kind.TIMESTAMP),
)
LIMITS = Limits(rows=3, bytes=2000)


def decode(body):
    return protocol.decode(body if isinstance(body, bytes) else json.dumps(body).encode(), COLUMNS, LIMITS)


def identity(objective, classes=()):
    return Identity(model="m", version="7", created="", objective=objective, classes=list(classes))


def test_rows_become_raw_arrays():
    raw = decode({"rows": [{"n": 1, "c": "é", "b": True, "t": "2013-01-01T00:00:00Z"}, {"n": 2.5, "c": None}]})
    assert raw["n"].tolist() == [1.0, 2.5] and raw["c"].tolist() == ["é", ""]
    assert raw["t"].tolist() == [1_356_998_400_000_000, MISSING_TIMESTAMP]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "standard JSON in UTF-8"),
        (b"{", 400, "standard JSON in UTF-8"),
        (b"\xff", 400, "standard JSON in UTF-8.*can't decode"),
        (b'{"rows": [{"n": NaN}]}', 400, "NaN is not JSON"),
        (b'{"rows": [{"n": -Infinity}]}', 400, "-Infinity is not JSON"),
        (b'{"rows": [{"n": ' + b"9" * 1900 + b"}]}", 422, "column 'n'"),
        ([], 400, "one key 'rows'.*JSON of the type list"),
        (None, 400, "JSON of the type NoneType"),
        ({}, 400, "no key 'rows'"),
        ({"rows": [], "raws": 1}, 400, "unknown key 'raws'"),
        ({"row": []}, 400, "unknown key 'row'"),
        ({"rows": {}}, 422, "'rows' is a list of objects.*dict"),
        ({"rows": [3]}, 422, "object"),
        ({"rows": [{"n": 1}] * 4}, 413, "at most 3 rows and 2000 bytes.*4 rows"),
        ({"rows": [{"n": 1, "c": "x" * 3000}]}, 413, "bytes"),
        ({"rows": [{"n": 1}, {"n": 1, "extra": 2}]}, 422, "row 1.*'?extra'?"),
        ({"rows": [{"c": "x"}]}, 422, "row 0, column 'n'"),
        ({"rows": [{"n": "1"}]}, 422, "'n'.*"),
        ({"rows": [{"n": True}]}, 422, "'n'"),
        ({"rows": [{"n": 1, "c": 5}]}, 422, "'c'"),
        ({"rows": [{"n": 1, "b": 1}]}, 422, "'b'"),
        ({"rows": [{"n": 1, "t": "yesterday"}]}, 422, "'t'"),
        ({"rows": [{"n": 1, "c": "\ud800"}]}, 422, "'c'"),
        ({"rows": [{"n": [1]}]}, 422, "'n'"),
    ],
)
def test_what_no_model_could_answer_is_refused(body, status, text):
    with pytest.raises(RequestError, match=f"(?s){text}") as caught:
        decode(body)
    assert caught.value.status == status
    assert set(json.loads(protocol.encode_error(caught.value))["error"]) == {"rule", "observed", "remedy"}


def test_nesting_without_end_is_refused():
    with pytest.raises(RequestError) as caught:
        protocol.decode(b"[" * 100_000, COLUMNS, Limits())
    assert caught.value.status == 400


def test_classes_in_the_response():
    answers = {
        "probabilities": np.array([[0.1, 0.9], [1 / 3, 2 / 3]], np.float32),
        "label": np.array(["ü", "ü"], object),
    }
    content = json.loads(protocol.encode(answers, identity(Objective.BINARY, ("a", "ü"))))
    assert (content["model"], content["version"]) == ("m", "7")
    first, second = content["predictions"]
    assert first["label"] == "ü" and list(first["probabilities"]) == ["a", "ü"]
    assert np.float32(second["probabilities"]["a"]) == answers["probabilities"][1, 0], "bit for bit"
    assert first["id"] != second["id"]


def test_values_in_the_response():
    answers = {name: np.array([value], np.float32) for name, value in (("value", 1.5), ("lower", 1), ("upper", 2))}
    content = json.loads(protocol.encode(answers, identity(Objective.REGRESSION)))
    (prediction,) = content["predictions"]
    assert prediction["value"] == 1.5 and prediction["interval"] == [1.0, 2.0]


def test_ids_are_unique():
    answers = {"probabilities": np.ones((500, 1), np.float32), "label": np.array(["a"] * 500, object)}
    ids = set()
    for _ in range(20):
        encoded = protocol.encode(answers, identity(Objective.MULTICLASS, ("a",)))
        ids |= {prediction["id"] for prediction in json.loads(encoded)["predictions"]}
    assert len(ids) == 10_000


def test_rows_of_raw_arrays_can_be_sent_again():
    rows = [
        {"n": 0.1, "c": "東", "b": False, "t": "2013-01-01T00:00:00.000001+00:00"},
        {"n": 2.0**53, "c": None, "b": None, "t": None},
    ]
    raw = from_rows(rows, COLUMNS)
    assert protocol.rows_of(raw, COLUMNS, 2) == rows
