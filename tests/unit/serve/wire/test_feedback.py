import json
import time
from typing import Any

import pytest

from tidemill.bundle.manifest import Identity
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import RequestError
from tidemill.ledger.record import Label
from tidemill.serve.wire import feedback
from tidemill.serve.wire.feedback import LabelRules
from tidemill.serve.wire.refusals import Limits
from tidemill.settings import Kind, Objective

ID = "0123456789ab1f-0"
NOW = 1_700_000_000_000_000_000


def decode(
    content: Any, classes: tuple[Any, ...] | tuple[str, ...] = ("no", "yes"), limits: Limits | None = None
) -> list[Label]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return feedback.decode(body, LabelRules(classes=frozenset(classes) if classes else None), limits or Limits(), NOW)


def one(entry: dict[str, Any], classes: tuple[Any, ...] | tuple[str, ...] = ("no", "yes")) -> Label:
    (label,) = decode({"labels": [entry]}, classes)
    return label


def test_labels_by_id() -> None:
    labels = decode({"labels": [{"id": ID, "label": "yes"}, {"label": "no", "id": "ff-12", "at": None}]})
    assert labels == [Label(ID, "yes", NOW), Label("ff-12", "no", NOW)]
    assert json.loads(feedback.encode(labels)) == {"received": 2}
    assert decode({"labels": []}) == []


@pytest.mark.parametrize(
    ("at", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01", 0),
        ("1970-01-01T01:00:00.000001+01:00", 1000),
        ("1970-01-01 00:00:01", 1_000_000_000),
        ("1969-12-31T23:59:59", -1_000_000_000),
    ],
)
def test_the_time_of_the_event(at: str, nanoseconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    assert one({"id": ID, "label": "no", "at": at}) == Label(ID, "no", NOW, nanoseconds)
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("label", "classes", "expected"),
    [
        (1, ("0", "1"), "1"),
        (1.0, ("0", "1"), "1"),
        (1, ("0.0", "1.0"), "1.0"),
        (1.0, ("0.0", "1.0"), "1.0"),
        (2.5, ("1.5", "2.5"), "2.5"),
        (True, ("false", "true"), "true"),
        (False, ("False", "True"), "False"),
        ("1", ("0", "1"), "1"),
        ("ä b", ("ä b", "c"), "ä b"),
        (2**60 + 1, (str(2**60 + 1), "0"), str(2**60 + 1)),
    ],
)
def test_numbers_and_truth_values_are_the_class_written_like_them(
    label: Any, classes: tuple[str, ...], expected: str
) -> None:
    assert one({"id": ID, "label": label}, classes).label == expected


@pytest.mark.parametrize(
    ("label", "value"), [(3.25, 3.25), (3, 3.0), (-1e300, -1e300), (2**64, 2.0**64), (" 3.2", 3.2)]
)
def test_values_of_a_regression(label: float | str, value: float) -> None:
    got = one({"id": ID, "label": label}, ()).label
    assert got == value and type(got) is float


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        (b"", 400, "standard JSON in UTF-8"),
        (b'{"labels": [', 400, "standard JSON in UTF-8"),
        (b'{"labels": ["\xff"]}', 400, "standard JSON in UTF-8"),
        (b'{"labels": [{"id": "a-0", "label": NaN}]}', 400, "standard JSON in UTF-8"),
        (b"[" * 50_000, 400, "nested at most 32 levels deep"),
        ([], 400, r"the one key 'labels'. Got: \[\]"),
        ({}, 400, r"the one key 'labels'. Got: the keys \[\]"),
        ({"labels": [], "label": 1}, 400, r'Got: the keys \["labels","label"\]'),
        ({"labels": {}}, 422, "'labels' is a list of objects. Got: {}"),
        (
            {"labels": [{"id": ID, "label": "no"}, 3]},
            422,
            "either 'id' or 'key', and perhaps 'at'. Got: label 1, 3",
        ),
        ({"labels": [{"id": ID}]}, 422, r'label 0, the keys \["id"\]'),
        ({"labels": [{"id": ID, "label": "no", "when": 1}]}, 422, r'\["id","label","when"\]'),
        ({"labels": [{"id": "x-0", "label": "no"}]}, 422, 'as /predict gave it. Got: label 0, id "x-0"'),
        ({"labels": [{"id": "ab", "label": "no"}]}, 422, 'id "ab"'),
        ({"labels": [{"id": "ab-01", "label": "no"}]}, 422, 'id "ab-01"'),
        ({"labels": [{"id": "ab-0\n", "label": "no"}]}, 422, "id "),
        ({"labels": [{"id": "a" * 65 + "-0", "label": "no"}]}, 422, r"a\.\.\."),
        ({"labels": [{"id": 5, "label": "no"}]}, 422, "id 5"),
        ({"labels": [{"id": "\ud800", "label": "no"}]}, 400, "standard JSON in UTF-8"),
        ({"labels": [{"id": None, "label": "no"}]}, 422, "id null"),
        ({"labels": [{"id": ID, "label": "yess"}]}, 422, "one of the model's classes.*did you mean 'yes'.*are no, yes"),
        ({"labels": [{"id": ID, "label": None}]}, 422, "label 0, label null. Remedy: The classes are no, yes"),
        ({"labels": [{"id": ID, "label": True}]}, 422, "label true"),
        ({"labels": [{"id": ID, "label": 1}]}, 422, "label 1"),
        ({"labels": [{"id": ID, "label": ["yes"]}]}, 422, r'label \["yes"\]'),
        ({"labels": [{"id": ID, "label": "no", "at": "soon"}]}, 422, 'when it came true.*at "soon"'),
        ({"labels": [{"id": ID, "label": "no", "at": 5}]}, 422, "at 5"),
        (
            {"labels": [{"id": ID, "label": "no", "at": "0001-01-01T00:00:00Z"}]},
            422,
            "after 1900 and no more than a day from now",
        ),
        ({"labels": [{"id": ID, "label": "no"}] * 4}, 413, "at most 3 rows and 1000000 bytes.*4 labels"),
        (b" " * 1_000_001, 413, "1000001 bytes"),
    ],
)
def test_what_is_no_label_is_refused(content: Any, status: int, text: str) -> None:
    with pytest.raises(RequestError, match=f"(?s){text}") as caught:
        decode(content, limits=Limits(rows=3, bytes=1_000_000))
    assert caught.value.status == status


@pytest.mark.parametrize("label", ["three", "", True, None, [], 10**400])
def test_what_is_no_number_is_refused(label: Any) -> None:
    with pytest.raises(RequestError, match=r"of a regression is a finite number\. Got: label 1, label ") as caught:
        decode({"labels": [{"id": ID, "label": 1}, {"id": ID, "label": label}]}, ())
    assert caught.value.status == 422


def test_many_classes_are_not_all_listed() -> None:
    with pytest.raises(RequestError, match=r"The classes are c00, c01, .*, c19 and 10 more\.$"):
        one({"id": ID, "label": "z"}, tuple(f"c{i:02}" for i in range(30)))


def test_both_ways_read_the_same() -> None:
    """One wrong type anywhere makes the whole body go the exact way; the others must come out alike."""
    entries = [{"id": f"ab-{i}", "label": label} for i, label in enumerate(("1", 1, 1.0, "0"))]
    entries.append({"id": "ab-9", "label": "1", "at": "2020-02-02T02:02:02.5+02:00"})
    quick = decode({"labels": entries}, ("0", "1"))
    exact = decode({"labels": [*entries, {"id": "ab-10", "label": True}]}, ("0", "1", "true"))
    assert exact[:-1] == quick and exact[-1].label == "true"


@pytest.mark.parametrize(
    ("classes", "label", "said"),
    [
        (("false", "true"), "True", "true"),
        (("false", "true"), " no", "false"),
        (("false", "true"), 1, "true"),
        (("0", "1"), "1.0", "1"),
        (("0", "1"), 0.0, "0"),
        (("0", "1"), True, "1"),
        (("1.5", "2"), "1.50", "1.5"),
        (("caf\u00e9", "tea"), "cafe\u0301 ", "caf\u00e9"),
        (("1", "1.0"), "1.0", "1.0"),
        (("1152921504606846977", "1152921504606846978"), 1152921504606846978, "1152921504606846978"),
    ],
)
def test_a_label_is_read_as_training_read_its_class(classes: tuple[str, ...], label: Any, said: str) -> None:
    assert one({"id": ID, "label": label}, classes).label == said


def test_the_moment_of_a_label_is_iso_8601_in_any_of_its_forms() -> None:
    at = [
        one({"id": ID, "label": 1.0, "at": text}, ()).event_at for text in ("2013-06-30T14:05:00Z", "20130630T1405Z ")
    ]
    assert at == [1_372_601_100_000_000_000] * 2


def test_numbers_and_moments_may_be_written_as_training_read_them() -> None:
    schema = Schema(
        columns=(
            Column(name="price", kind=Kind.NUMERIC, role=Role.TARGET, decimal_comma=True, thousands="."),
            Column(name="sold", kind=Kind.TIMESTAMP, role=Role.TIME, format="%d.%m.%Y %H:%M"),
        )
    )
    identity = Identity(model="m", version="1", created="", objective=Objective.REGRESSION, classes=[])
    rules = LabelRules.of(identity, schema)
    labels = [{"id": ID, "label": "1.234,5", "at": "30.06.2013 14:05"}, {"id": ID, "label": 2.5, "at": "2013-06-30"}]
    found = feedback.decode(json.dumps({"labels": labels}).encode(), rules, Limits(), NOW)
    assert [(label.label, label.event_at) for label in found] == [
        (1234.5, 1_372_601_100_000_000_000),
        (2.5, 1_372_550_400_000_000_000),
    ]


def by_key(entry: dict[str, Any], key: str | None = "order") -> Label:
    rules = LabelRules(classes=frozenset({"no", "yes"}), key=key)
    (label,) = feedback.decode(json.dumps({"labels": [entry]}).encode(), rules, Limits(), NOW)
    return label


@pytest.mark.parametrize(("given", "key"), [(7, "7"), ("7", "7"), (7.0, "7"), ("007", "007"), ("ä 1", "ä 1")])
@pytest.mark.parametrize("more", [{}, {"at": "1970-01-01T00:00:01Z"}, {"label": "no", "at": None}])
def test_labels_by_the_records_key(given: float | str, key: str, more: dict[str, Any]) -> None:
    event_at = 1_000_000_000 if more.get("at") else None
    assert by_key({"label": "no", "key": given, **more}) == Label(None, "no", NOW, event_at, key)


@pytest.mark.parametrize(
    ("entry", "column", "text"),
    [
        (
            {"key": 7, "label": "no"},
            None,
            "column of keys.*train with data.key=COLUMN and send that column",
        ),
        (
            {"key": None, "label": "no"},
            "order",
            "had as 'order'. Got: label 0, key null. Remedy: send what",
        ),
        ({"key": "", "label": "no"}, "order", 'key ""'),
        ({"key": True, "label": "no"}, "order", "key true"),
        ({"key": [7], "label": "no"}, "order", r"key \[7\]"),
        ({"key": 7, "id": ID, "label": "no"}, "order", "either 'id' or 'key'"),
        ({"key": 7, "label": "nope"}, "order", "one of the model's classes"),
    ],
)
def test_what_is_no_label_by_key_is_refused(entry: dict[str, Any], column: str | None, text: str) -> None:
    with pytest.raises(RequestError, match=f"(?s){text}") as caught:
        by_key(entry, column)
    assert caught.value.status == 422
