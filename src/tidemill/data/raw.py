"""The raw input contract: how one record's values look at the door of `model.onnx`.

One 1-D input per column, under the column's own name, all of one length N:

| kind | ONNX type | missing |
|---|---|---|
| numeric | float64 (integers exact to 2^53) | NaN |
| boolean | float64, 0 or 1 | NaN |
| categorical | string | "" |
| timestamp | int64, microseconds since 1970-01-01 UTC | -2^63 |

`from_table` fills it from a Polars frame whose columns have been read by the schema (training,
evaluation, bulk scoring), `from_rows` from decoded JSON (serving). Both stand here so that they
cannot drift apart; `from_rows` needs NumPy only.
"""

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tidemill.data.schema import Column
from tidemill.errors import RequestError, SchemaError
from tidemill.settings import Kind

if TYPE_CHECKING:
    import polars as pl

Raw = dict[str, np.ndarray]
"""Column name → 1-D array of N values: float64, int64 or object (str)."""

Rows = Sequence[Mapping[str, Any]]

MISSING_TIMESTAMP = -(2**63)
EXACT = 2**53
"""The largest whole number up to which float64 holds every whole number."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAN = float("nan")

_NUMERIC, _CATEGORICAL, _BOOLEAN, _TIMESTAMP = Kind.NUMERIC, Kind.CATEGORICAL, Kind.BOOLEAN, Kind.TIMESTAMP
"""Looking a member up in its Enum takes a tenth of a microsecond, twenty times a row."""
MISSING = {_NUMERIC: NAN, _CATEGORICAL: "", _BOOLEAN: NAN, _TIMESTAMP: MISSING_TIMESTAMP}
"""What stands for a missing value, by kind."""
_DTYPES = {_NUMERIC: np.float64, _CATEGORICAL: np.object_, _BOOLEAN: np.float64, _TIMESTAMP: np.int64}


def missing(kind: Kind, count: int) -> np.ndarray:
    """An array of `count` missing values of a kind."""
    return np.full(count, MISSING[kind], _DTYPES[kind])


def from_table(table: "pl.DataFrame", columns: Sequence[Column]) -> Raw:
    """Arrays for `columns` (N = the table's height), copying as little as the types allow.

    The table's dtypes are the schema's: Float64, Boolean, String, Datetime("us").

    Raises:
        SchemaError: a column is missing from the table or has another dtype.
    """
    import polars as pl

    from tidemill.data.values import TIMESTAMP

    raw: Raw = {}
    dtypes = {Kind.NUMERIC: pl.Float64, Kind.BOOLEAN: pl.Boolean, Kind.CATEGORICAL: pl.String}
    there = set(table.columns)
    for column in columns:
        if column.name not in there:
            raise _not_typed(column, "no such column")
        values = table[column.name]
        allowed = (TIMESTAMP, pl.Datetime("us")) if column.kind is Kind.TIMESTAMP else (dtypes[column.kind],)
        if values.dtype not in allowed:
            raise _not_typed(column, str(values.dtype))
        if column.kind is Kind.CATEGORICAL:
            raw[column.name] = values.fill_null("").to_numpy() if values.len() else np.empty(0, dtype=object)
        elif column.kind is Kind.TIMESTAMP:
            raw[column.name] = values.to_physical().fill_null(MISSING_TIMESTAMP).to_numpy()
        else:
            raw[column.name] = values.cast(pl.Float64).fill_null(NAN).to_numpy()
    return raw


def _not_typed(column: Column, observed: str) -> SchemaError:
    return SchemaError(
        f"The table must hold {column.name!r}, read as {column.kind}",
        observed=observed,
        remedy="read the table by its schema first (tidemill.data.typed.apply)",
    )


def from_rows(rows: Rows, columns: Sequence[Column], others: Collection[str] = ()) -> Raw:
    """Arrays for `columns` from decoded JSON objects (N = len(rows)).

    JSON null, and a column that allows missing values but is left out, count as missing. Timestamps are ISO 8601 text
    (without an offset: UTC) or whole microseconds. Columns named in `others` may be there and are passed over.

    Raises:
        RequestError: names the row and column: unknown column, missing column, wrong type, bad timestamp.
    """
    if not rows:
        return {column.name: np.empty(0, _DTYPES[column.kind]) for column in columns}
    names = {column.name for column in columns}
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise _wrong(
                index, "A row must be an object of column: value", f"{_shown(row)}", 'send {"column": value, …}'
            )
        if not row.keys() <= names and (unknown := row.keys() - names - set(others)):
            raise _unknown(index, next(name for name in row if name in unknown), names)
    numbers: list[float] = []
    texts: list[str] = []
    moments: list[int] = []
    for column in columns:  # what is plainly right is taken here; functions look at the rest, and refuse
        name, kind = column.name, column.kind
        if kind is _NUMERIC:
            numbers += [v if type(v := row.get(name)) is float and v == v else _number(v, column, rows) for row in rows]
        elif kind is _CATEGORICAL:
            marks = column.missing_marks
            texts += [
                v
                if type(v := row.get(name)) is str and v and v.isascii() and v not in marks
                else _text(v, column, rows)
                for row in rows
            ]
        elif kind is _BOOLEAN:
            numbers += [_truth(row.get(name), column, rows) for row in rows]
        else:
            moments += [_moment(row.get(name), column, rows) for row in rows]
    # one block for all columns of a type: for a single row, making arrays is what the time goes into
    shape = (-1, len(rows))
    floats = iter(np.array(numbers, np.float64).reshape(shape))
    objects = iter(np.array(texts, np.object_).reshape(shape))
    integers = iter(np.array(moments, np.int64).reshape(shape))
    raw: Raw = {}
    for column in columns:
        kind = column.kind
        block = objects if kind is _CATEGORICAL else integers if kind is _TIMESTAMP else floats
        raw[column.name] = next(block)
    return raw


def _number(value: Any, column: Column, rows: Rows) -> float:
    if type(value) is float:
        if value != value and not column.missing_allowed:
            raise _missing(value, column, rows)
        return value
    if value is None:
        return _no_value(value, column, rows, NAN)
    if type(value) is not int:
        raise _type(value, column, rows, "a number")
    if not -EXACT <= value <= EXACT:
        raise _wrong(
            _where(value, column, rows),
            "Whole numbers must lie within ±2^53, where float64 holds each of them exactly",
            f"column {column.name!r}: {_shown(value)}",
            f"send it as a float, like {value:.6e}" if abs(value) < 1e300 else "send a smaller number",
        )
    return value


def _truth(value: Any, column: Column, rows: Rows) -> float:
    if value is True:
        return 1.0
    if value is False:
        return 0.0
    if value is None:
        return _no_value(value, column, rows, NAN)
    raise _type(value, column, rows, "true or false")


def _text(value: Any, column: Column, rows: Rows) -> str:
    if type(value) is not str:
        if value is None:
            return _no_value(value, column, rows, "")
        raise _type(value, column, rows, "text")
    if value == "" or value in column.missing_marks:
        return _no_value(value, column, rows, "")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            rule = "Text must be valid Unicode"
            raise _wrong(
                _where(value, column, rows), rule, f"column {column.name!r}: half a surrogate pair", "send UTF-8"
            ) from error
    return value


def _moment(value: Any, column: Column, rows: Rows) -> int:
    if type(value) is str and value:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as error:
            raise _type(value, column, rows, "an ISO 8601 time like 2013-06-30T14:05:00+02:00") from error
        since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if value is None or value == "":
        return _no_value(value, column, rows, MISSING_TIMESTAMP)
    if type(value) is not int or not MISSING_TIMESTAMP < value < 2**63:
        raise _type(value, column, rows, "an ISO 8601 time or whole microseconds since 1970 within 64 bits")
    return value


T = TypeVar("T")


def _no_value(value: Any, column: Column, rows: Rows, stand_in: T) -> T:
    if not column.missing_allowed:
        raise _missing(value, column, rows)
    return stand_in


def _missing(value: Any, column: Column, rows: Rows) -> RequestError:
    return _wrong(
        _where(value, column, rows),
        "Columns that allow no missing value must have one",
        f"column {column.name!r} ({column.kind}) is missing, null or empty",
        f"send {column.name!r}",
    )


def _unknown(index: int, name: object, names: set[str]) -> RequestError:
    near = difflib.get_close_matches(str(name)[:100], names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return _wrong(
        index,
        "A row may only have columns that the model was trained on",
        f"unknown column {_shown(name)}",
        f"{hint}The columns are {', '.join(sorted(names))}",
    )


def _type(value: Any, column: Column, rows: Rows, needed: str) -> RequestError:
    observed = f"column {column.name!r}: {_shown(value)}"
    return _wrong(
        _where(value, column, rows), f"A {column.kind} column takes {needed}, or null", observed, f"send {needed}"
    )


def _where(value: Any, column: Column, rows: Rows) -> int:
    """The first row that holds this very object, looked for only once something is wrong."""
    return next(index for index, row in enumerate(rows) if row.get(column.name) is value)


def _wrong(index: int, rule: str, observed: str, remedy: str) -> RequestError:
    return RequestError(rule, observed=f"row {index}, {observed}", remedy=remedy)


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError):
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
