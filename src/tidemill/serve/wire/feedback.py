"""POST /feedback in JSON: labels of answers given before, whenever they become known.

POST {"labels": [{"id": "5f0c…-0", "label": "yes" or 3.2, and if wanted "at": when it came true}, …]}
→    {"received": n}

In place of "id" a label may have "key": what the record had in the model's column of keys (data.key) when it was sent
to /predict, as text or number. It then holds for every answer that was given to this key before the label came.

Times and numbers are written in ISO 8601 and JSON, or as training's table had them.

The same id or key may come again: the last label holds. One that nothing is known of is kept too, as its answer may
still be on its way. All labels of a request are taken, or none. Where requests come with keys, a label holds for the
answers that were given to a key of the same name, unless its own key is also good for feedback-all.
"""

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from tidemill.bundle.manifest import Identity
from tidemill.data.raw import from_values
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import RequestError, listed
from tidemill.ledger import keys
from tidemill.ledger.record import Label
from tidemill.serve.wire import depth
from tidemill.serve.wire.refusals import Limits, refused, too_large
from tidemill.settings import Kind, Objective

_ID = re.compile(r"[0-9a-f]{1,64}-(0|[1-9][0-9]{0,8})", re.ASCII)
_EARLIEST, _AHEAD = -2_208_988_800 * 10**9, 86_400 * 10**9
"""The year 1900, and by how much clocks may differ; nanoseconds."""
_FORM = '{"labels": [{"id": "…", "label": …}, …]}'
_NAMES = ({"id", "label"}, {"key", "label"})


class _Entry(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    label: str | int | float
    id: str | UnsetType = UNSET
    at: datetime | None = None
    key: str | int | float | UnsetType = UNSET


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    labels: list[_Entry]


_DECODER = msgspec.json.Decoder(_Request)


_NUMBER = Column(name="label", kind=Kind.NUMERIC)
_TIME = Column(name="at", kind=Kind.TIMESTAMP)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelRules:
    """What labels of a model may be.

    Args:
        classes: of the model; None for regression, whose labels are numbers.
        key: the model's column of keys; None: labels come by id alone.
        number, time: how training read numbers of the target and moments of the time column; labels may be so written.
    """

    classes: frozenset[str] | None
    key: str | None = None
    number: Column = _NUMBER
    time: Column = _TIME

    @classmethod
    def of(cls, identity: Identity, schema: Schema) -> "LabelRules":
        key, target, time = (schema.only(role) for role in (Role.KEY, Role.TARGET, Role.TIME))
        rules = cls(
            classes=None if identity.objective is Objective.REGRESSION else frozenset(identity.classes),
            key=key.name if key is not None else None,
        )
        if target is not None and target.kind is Kind.NUMERIC:
            rules = replace(rules, number=replace(target, missing_marks=()))
        if time is not None and time.kind is Kind.TIMESTAMP:
            rules = replace(rules, time=replace(time, missing_marks=()))
        return rules


def decode(body: bytes, rules: LabelRules, limits: Limits, at: int) -> list[Label]:
    """The labels in a request's body.

    Args:
        at: when they were received, nanoseconds since 1970 UTC.

    Raises:
        RequestError: 400 no JSON or other keys, 413 too many or too large, 422 the first wrong label, by its index.
    """
    if len(body) > limits.bytes:
        raise too_large(limits, f"{len(body)} bytes")
    most = 5 * limits.rows + 1000  # an object with three values, and a comma
    if depth.too_many(body, most):
        raise too_large(limits, f"more than {most} values")
    try:
        entries: Sequence[Any] = _DECODER.decode(body).labels
        read = _plain
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        entries = _entries(body)
        read = _checked
    if len(entries) > limits.rows:
        raise too_large(limits, f"{len(entries)} labels")
    return [read(entry, index, rules, at) for index, entry in enumerate(entries)]


def encode(labels: Sequence[Label]) -> bytes:
    return msgspec.json.encode({"received": len(labels)})


def _plain(entry: _Entry, index: int, rules: LabelRules, at: int) -> Label:
    """The quick way; what it does not take, `_checked` accepts or refuses."""
    if (
        entry.key is UNSET
        and entry.id is not UNSET
        and _ID.fullmatch(entry.id)
        and entry.at is None
        and (type(entry.label) is float if rules.classes is None else entry.label in rules.classes)
    ):
        return Label(entry.id, entry.label, at)
    named = {"id": entry.id, "key": entry.key, "label": entry.label}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not UNSET}
    if entry.at is not None:
        given["at"] = entry.at.isoformat()
    return _checked(given, index, rules, at)


def _checked(entry: Any, index: int, rules: LabelRules, at: int) -> Label:
    return checked(entry, f"label {index}", rules, at)


def checked(entry: Any, place: str, rules: LabelRules, at: int) -> Label:
    """One label as JSON holds it, wherever it comes from.

    Args:
        place: where it stands, for errors, like "label 3".

    Raises:
        RequestError: 422, it is none.
    """
    if not isinstance(entry, dict) or entry.keys() - {"at"} not in _NAMES:
        rule = "A label is an object with the keys 'label' and either 'id' or 'key', and perhaps 'at'"
        raise _wrong(place, rule, _keys(entry), f"send {_FORM}")
    if "key" in entry:
        id_, named = None, _key(entry["key"], place, rules.key)
    else:
        id_, named = _id(entry["id"], place), None
    label, classes = entry["label"], rules.classes
    value = _number(label, place, rules.number) if classes is None else _class(label, place, classes)
    event_at = None if entry.get("at") is None else _moment(entry["at"], place, rules.time, at)
    return Label(id_, value, at, event_at, named)


def is_id(given: object) -> bool:
    """Whether something is written as the ids of answers are."""
    return type(given) is str and _ID.fullmatch(given) is not None


def _id(given: Any, place: str) -> str:
    if not is_id(given):
        rule = "The id of a label is that of an answer, as /predict gave it"
        raise _wrong(place, rule, f"id {_shown(given)}", 'send the "id" of a prediction')
    return str(given)


def _key(given: Any, place: str, column: str | None) -> str:
    if column is None:
        rule = "Labels come by key for a model that has a column of keys, which requests have sent"
        remedy = 'send the "id" of a prediction; or train with data.key=COLUMN and send that column to /predict'
        raise _wrong(place, rule, f"key {_shown(given)}", remedy)
    key = keys.text(given) if type(given) in (str, int, float) else None
    if key is None:
        rule = f"The key of a label is the text or number that a record had as {column[:60]!r}"
        raise _wrong(place, rule, f"key {_shown(given)}", f"send what /predict got as {column[:60]!r}")
    return key


def _number(label: Any, place: str, column: Column) -> float:
    given = _read(label, column) if isinstance(label, str) else label
    if isinstance(given, int | float) and not isinstance(given, bool):
        try:
            value = float(given)
        except OverflowError:
            value = math.inf
        if math.isfinite(value):
            return value
    raise _wrong(place, "A label of a regression is a finite number", f"label {_shown(label)}", "send a number")


def _class(label: Any, place: str, classes: frozenset[str]) -> str:
    """The class that training would read the label as; a number or truth value may be written like it, too."""
    for text in _texts(label):
        if text in classes:
            return text
    column, readings = _readings(classes)
    found = readings.get(_read(label, column))
    if found is not None:
        return found
    known = sorted(classes)
    near = difflib.get_close_matches(label[:100], known, n=1) if isinstance(label, str) else []
    hint = f"did you mean {near[0]!r}? " if near else ""
    rule = "A label is one of the model's classes"
    raise _wrong(place, rule, f"label {_shown(label)}", f"{hint}The classes are {listed(known)}")


@lru_cache(maxsize=64)
def _readings(classes: frozenset[str]) -> tuple[Column, dict[Any, str]]:
    """How labels are read, by what the classes are: truth values, numbers, or texts; and each class by its reading."""
    if {name.lower() for name in classes} == {"true", "false"}:
        column = replace(_NUMBER, kind=Kind.BOOLEAN)
    elif None not in {_read(name, _NUMBER) for name in classes}:
        column = _NUMBER
    else:
        column = replace(_NUMBER, kind=Kind.CATEGORICAL)
    readings = {_read(name, column): name for name in classes}
    if len(readings) < len(classes):  # "1" and "1.0" are two classes
        column = replace(_NUMBER, kind=Kind.CATEGORICAL)
        readings = {_read(name, column): name for name in classes}
    return column, readings


def _read(label: Any, column: Column) -> Any:
    """None: it is missing or cannot be read."""
    try:
        found = from_values([label], column)[0]
    except RequestError:
        return None
    return None if found == "" or found != found else found


def _texts(label: Any) -> tuple[str, ...]:
    if isinstance(label, str):
        return (label,)
    if isinstance(label, bool):
        return str(label).lower(), str(label)
    if isinstance(label, int):
        return str(label), f"{label}.0"
    if isinstance(label, float):
        return (repr(label), str(int(label))) if label.is_integer() else (repr(label),)
    return ()


def _moment(text: Any, place: str, column: Column, received: int) -> int:
    """Nanoseconds since 1970; without an offset the time is UTC's."""
    microseconds = _read(text, column) if isinstance(text, str) else None
    if microseconds is not None and _EARLIEST <= int(microseconds) * 1000 <= received + _AHEAD:
        return int(microseconds) * 1000
    rule = (
        "The time of a label is when it came true, after 1900 and no more than a day from now, in ISO 8601 or as the "
        "model's time column was written in training"
    )
    raise _wrong(place, rule, f"at {_shown(text)}", "send a time like 2013-06-30T14:05:00+02:00, or leave it out")


def _entries(body: bytes) -> list[Any]:
    try:
        content = depth.parsed(body, msgspec.json.decode)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        observed = str(error)[:200]
        raise refused(400, "A request's body is standard JSON in UTF-8", observed, f"send {_FORM}") from error
    if not isinstance(content, dict) or content.keys() != {"labels"}:
        raise refused(400, "Feedback is an object with the one key 'labels'", _keys(content), f"send {_FORM}")
    labels = content["labels"]
    if not isinstance(labels, list):
        raise refused(422, "'labels' is a list of objects", _shown(labels), f"send {_FORM}")
    return labels


def _keys(content: Any) -> str:
    return f"the keys {_shown(list(content))}" if isinstance(content, dict) else _shown(content)


def _wrong(place: str, rule: str, observed: str, remedy: str) -> RequestError:
    return refused(422, rule, f"{place}, {observed}", remedy)


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."
