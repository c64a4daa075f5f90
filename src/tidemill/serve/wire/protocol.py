"""POST /predict in JSON: what a request and its answer look like. It knows no HTTP server and no model.

POST {"rows": [{column: value, …}, …]}, and if wanted "version": "3" and "keys": [a record's key, …]
→    {"model", "version", "predictions": [{"id", "probabilities": {class: p, …}, "label"}, …]}
     or, for regression, [{"id", "value", "interval": [lower, upper]}, …];
     each prediction has a "version" of its own where rows went to several
or   {"error": {"rule", "observed", "remedy"}} with an HTTP status of 4xx or 503
"""

import difflib
import itertools
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from tidemill.data.raw import MISSING_TIMESTAMP, Raw
from tidemill.data.schema import Column
from tidemill.ledger.record import Form
from tidemill.moments import from_microseconds
from tidemill.serve.wire import depth
from tidemill.serve.wire.reader import Reader
from tidemill.serve.wire.refusals import Limits, refused, too_large
from tidemill.serve.wire.request import Answer, Reply, Rows
from tidemill.settings import Kind, Objective

_MORE = 1000
"""Values of a request's JSON besides those of its rows."""
_KEYS = ("rows", "version", "keys")


def decode(body: bytes, reader: Reader, limits: Limits) -> tuple[Rows, str | None]:
    """The rows of a request's body, and the version that it asks for.

    Raises:
        RequestError: 400 no JSON, 413 too large, 422 rows that do not fit the columns; its `status` says which.
    """
    if len(body) > limits.bytes:
        raise too_large(limits, f"{len(body)} bytes")
    most = limits.rows * (len(reader.columns) + len(reader.others) + 3) + _MORE
    if depth.too_many(body, most):
        raise too_large(limits, f"more than {most} values")
    plain = reader.request(body)
    if plain is None or not plain.rows:
        return reread(body, reader, limits)
    count = len(plain.rows)
    if count > limits.rows:
        raise too_large(limits, f"{count} rows")
    version = None if plain.version is None else str(plain.version)
    return Rows(count, plain.rows, None, Form.ROWS, body, _keys_of(plain.keys, count)), version


def reread(body: bytes, reader: Reader, limits: Limits) -> tuple[Rows, str | None]:
    """As `decode`, by the plain JSON decoder: for what the typed one does not take, and for its errors."""
    content = _parsed(body)
    if not isinstance(content, dict) or "rows" not in content or not content.keys() <= set(_KEYS):
        rule = "A request is an object with the key 'rows', and perhaps 'version' and 'keys'"
        raise refused(400, rule, _wrong_keys(content), 'send {"rows": [{…}, …]}')
    rows, version, keys = (content.get(key) for key in _KEYS)
    if not isinstance(rows, list):
        raise refused(422, "'rows' is a list of objects", type(rows).__name__, 'send {"rows": [{…}, …]}')
    if len(rows) > limits.rows:
        raise too_large(limits, f"{len(rows)} rows")
    if type(version) not in (str, int, type(None)):
        raise refused(422, "'version' is a version's number", repr(version)[:60], 'send "version": "3"')
    if keys is not None and not (isinstance(keys, list) and all(type(key) in (str, int) for key in keys)):
        raise refused(422, "'keys' is a list of texts", repr(keys)[:60], 'send "keys": ["…", …]')
    raw = reader.checked(rows)
    given = _keys_of(keys, len(rows)) or reader.keys_in({name: [row.get(name) for row in rows] for name in reader.keys})
    return Rows(len(rows), None, raw, Form.ROWS, body, given), None if version is None else str(version)


def encode(id: str, answer: Answer) -> Reply:
    """The response. Floats are written so that they read back as the same float32."""
    identity = answer.identity
    predictions = _predictions(answer, [f"{id}-{row}" for row in range(answer.rows)])
    for prediction, (version, _) in zip(predictions, answer.by or (), strict=False):
        prediction["version"] = version
    return Reply(_ENCODER.encode({"model": identity.model, "version": identity.version, "predictions": predictions}))


def _predictions(answer: Answer, ids: Sequence[str]) -> list[dict[str, Any]]:
    answers, classes = answer.answers, answer.identity.classes
    if answer.identity.objective is Objective.REGRESSION:
        columns = zip(ids, *(answers[name].tolist() for name in ("value", "lower", "upper")), strict=True)
        return [{"id": id_, "value": value, "interval": [lower, upper]} for id_, value, lower, upper in columns]
    columns = zip(ids, answers["probabilities"].tolist(), answers["label"].tolist(), strict=True)
    return [
        {"id": id_, "probabilities": dict(zip(classes, probabilities, strict=True)), "label": label}
        for id_, probabilities, label in columns
    ]


def rows_of(raw: Raw, columns: Sequence[Column], count: int) -> list[dict[str, Any]]:
    """The first rows as they would stand in a request: the inverse of `from_rows` for finite values."""
    return [{column.name: _value(raw[column.name][row], column.kind) for column in columns} for row in range(count)]


_ENCODER = msgspec.json.Encoder()


def _keys_of(keys: Sequence[str | int] | None, count: int) -> Sequence[str] | None:
    if keys is None:
        return None
    if len(keys) != count:
        raise refused(
            422, "'keys' has one key for each row", f"{len(keys)} keys, {count} rows", "send one for each row"
        )
    return [str(key) for key in keys]


def _parsed(body: bytes) -> Any:
    try:
        return depth.parsed(body, _loads)
    except (ValueError, RecursionError) as error:  # the JSON and the Unicode errors are ValueErrors
        observed = str(error)[:200]
        raise refused(
            400, "A request's body is standard JSON in UTF-8", observed, "send JSON; null is missing"
        ) from error


def _loads(body: bytes) -> Any:
    return json.loads(body.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is beyond the range of float64")
    return value


def _wrong_keys(content: object) -> str:
    if not isinstance(content, dict):
        return f"JSON of the type {type(content).__name__}"
    unknown = [str(key) for key in itertools.islice(content, 100) if key not in _KEYS]
    near = difflib.get_close_matches("rows", unknown, n=1)
    return f"unknown key {(near or unknown)[0][:100]!r}" if unknown else "no key 'rows'"


def _value(value: Any, kind: Kind) -> Any:
    if kind is Kind.CATEGORICAL:
        return value or None
    if kind is Kind.TIMESTAMP:
        moment = int(value)
        return None if moment == MISSING_TIMESTAMP else from_microseconds(moment).isoformat()
    if np.isnan(value):
        return None
    return bool(value) if kind is Kind.BOOLEAN else float(value)
