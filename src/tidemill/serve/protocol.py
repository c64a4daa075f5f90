"""What a request for predictions and its answer look like in JSON. It knows no HTTP server and no model.

POST {"rows": [{column: value, …}, …]}
→    {"model", "version", "predictions": [{"id", "probabilities": {class: p, …}, "label"}, …]}
     or, for regression, [{"id", "value", "interval": [lower, upper]}, …]
or   {"error": {"rule", "observed", "remedy"}} with an HTTP status of 4xx
"""

import difflib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from tidemill.bundle.answers import Answers
from tidemill.bundle.manifest import Identity
from tidemill.data.raw import EPOCH, MISSING_TIMESTAMP, Raw, from_rows
from tidemill.data.schema import Column
from tidemill.errors import RequestError, TidemillError
from tidemill.settings import Kind, Objective


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one request may hold."""

    rows: int = 10_000
    bytes: int = 16 * 2**20


def decode(body: bytes, columns: Sequence[Column], limits: Limits) -> Raw:
    """Raw arrays from a request's body.

    Raises:
        RequestError: 400 no JSON, 413 too large, 422 rows that do not fit the columns; its `status` says which.
    """
    if len(body) > limits.bytes:
        raise too_large(limits, f"{len(body)} bytes")
    content = _parsed(body)
    if not isinstance(content, dict) or content.keys() != {"rows"}:
        raise refused(400, "A request is an object with the one key 'rows'", _keys(content), 'send {"rows": [{…}, …]}')
    rows = content["rows"]
    if not isinstance(rows, list):
        raise refused(422, "'rows' is a list of objects", type(rows).__name__, 'send {"rows": [{…}, …]}')
    if len(rows) > limits.rows:
        raise too_large(limits, f"{len(rows)} rows")
    return from_rows(rows, columns)


def encode(answers: Answers, identity: Identity) -> bytes:
    """The response's body. Each prediction's id is unique among all that were ever given.

    Floats are written so that they read back as the same float32.
    """
    request = uuid.uuid4().hex
    if identity.objective is Objective.REGRESSION:
        columns = (answers[name].tolist() for name in ("value", "lower", "upper"))
        given = [{"value": value, "interval": [lower, upper]} for value, lower, upper in zip(*columns, strict=True)]
    else:
        both = zip(answers["probabilities"].tolist(), answers["label"].tolist(), strict=True)
        given = [
            {"probabilities": dict(zip(identity.classes, probabilities, strict=True)), "label": label}
            for probabilities, label in both
        ]
    predictions = [{"id": f"{request}-{row}", **prediction} for row, prediction in enumerate(given)]
    return dumps({"model": identity.model, "version": identity.version, "predictions": predictions})


def encode_error(error: TidemillError) -> bytes:
    return dumps({"error": {"rule": error.rule, "observed": error.observed, "remedy": error.remedy}})


def rows_of(raw: Raw, columns: Sequence[Column], count: int) -> list[dict[str, Any]]:
    """The first rows as they would stand in a request: the inverse of `from_rows` for finite values."""
    return [{column.name: _value(raw[column.name][row], column.kind) for column in columns} for row in range(count)]


def dumps(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def too_large(limits: Limits, observed: str) -> RequestError:
    rule = f"A request holds at most {limits.rows} rows and {limits.bytes} bytes"
    return refused(413, rule, observed, "send the rows in several requests")


def refused(status: int, rule: str, observed: str, remedy: str) -> RequestError:
    error = RequestError(rule, observed=observed, remedy=remedy)
    error.status = status
    return error


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # the JSON and the Unicode errors are ValueErrors
        observed = str(error)[:200]
        raise refused(
            400, "A request's body is standard JSON in UTF-8", observed, "send JSON; null is missing"
        ) from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _keys(content: object) -> str:
    if not isinstance(content, dict):
        return f"JSON of the type {type(content).__name__}"
    unknown = [str(key) for key in content if key != "rows"]
    near = difflib.get_close_matches("rows", unknown, n=1)
    return f"unknown key {(near or unknown)[0][:100]!r}" if unknown else "no key 'rows'"


def _value(value: Any, kind: Kind) -> Any:
    if kind is Kind.CATEGORICAL:
        return value or None
    if kind is Kind.TIMESTAMP:
        moment = int(value)
        return None if moment == MISSING_TIMESTAMP else (EPOCH + timedelta(microseconds=moment)).isoformat()
    if np.isnan(value):
        return None
    return bool(value) if kind is Kind.BOOLEAN else float(value)
