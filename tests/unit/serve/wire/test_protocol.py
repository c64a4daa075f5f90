import json
from typing import Any

import numpy as np
import pytest

from tidemill.bundle.manifest import Identity
from tidemill.data.raw import MISSING_TIMESTAMP, from_rows
from tidemill.data.schema import Column, Schema
from tidemill.errors import RequestError
from tidemill.ledger.record import Role
from tidemill.serve.wire import protocol
from tidemill.serve.wire.reader import Reader, Unplain
from tidemill.serve.wire.refusals import Limits, encode_error
from tidemill.serve.wire.request import Answer, Rows
from tidemill.settings import Kind, Objective

COLUMNS = (
    Column(name="n", kind=Kind.NUMERIC, missing_allowed=False),
    Column(name="c", kind=Kind.CATEGORICAL),
    Column(name="b", kind=Kind.BOOLEAN),
    Column(name="t", kind=Kind.TIMESTAMP),
)
READER = Reader(Schema(columns=COLUMNS))
LIMITS = Limits(rows=3, bytes=2000)


def decode(body: Any) -> Rows:
    return protocol.decode(body if isinstance(body, bytes) else json.dumps(body).encode(), READER, LIMITS)[0]


def version(body: Any) -> Any:
    return protocol.decode(json.dumps(body).encode(), READER, LIMITS)[1]


def read(body: Any) -> dict[str, np.ndarray]:
    """As a request goes: what the typed decoder lets pass and `raw` does not is read again."""
    decoded = decode(body)
    if decoded.raw is not None:
        return decoded.raw
    try:
        return READER.raw(decoded.records)
    except Unplain:
        return protocol.reread(json.dumps(body).encode(), READER, LIMITS)[0].raw


def identity(
    objective: Objective, classes: str | tuple[Any, ...] | tuple[str, ...] = (), version: str = "7"
) -> Identity:
    return Identity(model="m", version=version, created="", objective=objective, classes=list(classes))


def encode(answer: Any) -> dict[str, Any]:
    return json.loads(protocol.encode("5f0c", answer).body)


def test_rows_become_raw_arrays() -> None:
    raw = read({"rows": [{"n": 1, "c": "é", "b": True, "t": "2013-01-01T00:00:00Z"}, {"n": 2.5, "c": None}]})
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
        ([], 400, "the key 'rows', and perhaps.*JSON of the type list"),
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
        ({"rows": [{"n": "1,5"}]}, 422, "'n'.*"),
        ({"rows": [{"n": 1, "c": [5]}]}, 422, "'c'"),
        ({"rows": [{"n": 1, "b": 2}]}, 422, "'b'"),
        ({"rows": [{"n": 1, "t": "yesterday"}]}, 422, "'t'"),
        ({"rows": [{"n": 1, "c": "\ud800"}]}, 422, "'c'"),
        ({"rows": [{"n": [1]}]}, 422, "'n'"),
    ],
)
def test_what_no_model_could_answer_is_refused(body: Any, status: int, text: str) -> None:
    with pytest.raises(RequestError, match=f"(?s){text}") as caught:
        read(body)
    assert caught.value.status == status
    assert set(json.loads(encode_error(caught.value))["error"]) == {"rule", "observed", "remedy"}


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(RequestError) as caught:
        protocol.decode(b"[" * 60_000, READER, Limits())
    assert caught.value.status == 400


def test_classes_in_the_response() -> None:
    answers = {
        "probabilities": np.array([[0.1, 0.9], [1 / 3, 2 / 3]], np.float32),
        "label": np.array(["ü", "ü"], object),
    }
    content = encode(Answer(answers, identity(Objective.BINARY, ("a", "ü")), Role.CHAMPION))
    assert (content["model"], content["version"]) == ("m", "7")
    first, second = content["predictions"]
    assert first["label"] == "ü" and list(first["probabilities"]) == ["a", "ü"]
    assert np.float32(second["probabilities"]["a"]) == answers["probabilities"][1, 0], "bit for bit"
    assert (first["id"], second["id"]) == ("5f0c-0", "5f0c-1") and "version" not in first


def test_values_in_the_response() -> None:
    answers = {name: np.array([value], np.float32) for name, value in (("value", 1.5), ("lower", 1), ("upper", 2))}
    content = encode(Answer(answers, identity(Objective.REGRESSION), Role.CHAMPION))
    (prediction,) = content["predictions"]
    assert prediction["value"] == 1.5 and prediction["interval"] == [1.0, 2.0]


def test_each_row_names_its_version_where_there_are_several() -> None:
    by = [("8" if row in (1, 2, 4) else "7", Role.CANARY if row in (1, 2, 4) else Role.CHAMPION) for row in range(5)]
    answers = {"probabilities": np.eye(5, dtype=np.float32), "label": np.array([*"vwxyz"])}
    content = encode(Answer(answers, identity(Objective.MULTICLASS, "vwxyz"), Role.CHAMPION, by))
    predictions = content["predictions"]
    assert content["version"] == "7"
    assert [prediction["version"] for prediction in predictions] == ["7", "8", "8", "7", "8"]
    assert [prediction["label"] for prediction in predictions] == [*"vwxyz"]
    assert [prediction["id"] for prediction in predictions] == [f"5f0c-{row}" for row in range(5)]


def test_what_is_asked_for_besides_rows() -> None:
    row = {"n": 1}
    assert version({"rows": [row], "version": "3"}) == version({"rows": [row], "version": 3}) == "3"
    assert version({"rows": [row]}) is None and decode({"rows": [row]}).keys is None
    assert decode({"rows": [row, row], "keys": ["a", 5]}).keys == ["a", "5"]
    assert decode({"rows": [], "keys": []}).count == 0


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"version": True}, "'version' is a version's number.*True"),
        ({"version": 1.0}, "'version'.*1.0"),
        ({"version": ["3"]}, "'version'"),
        ({"keys": "ab"}, "'keys' is a list of texts.*'ab'"),
        ({"keys": [None, "a"]}, "'keys'.*None"),
        ({"keys": [1.5, "a"]}, "'keys'"),
        ({"keys": ["a"]}, "'keys' has one key for each row.*1 keys, 2 rows"),
    ],
)
def test_wrong_versions_and_keys_are_refused(more: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError, match=text) as caught:
        decode({"rows": [{"n": 1}, {"n": 2}], **more})
    assert caught.value.status == 422


def test_rows_of_raw_arrays_can_be_sent_again() -> None:
    rows = [
        {"n": 0.1, "c": "東", "b": False, "t": "2013-01-01T00:00:00.000001+00:00"},
        {"n": 2.0**53, "c": None, "b": None, "t": None},
    ]
    raw = from_rows(rows, COLUMNS)
    assert protocol.rows_of(raw, COLUMNS, 2) == rows
