"""The raw input contract: how one record's values look at the door of `model.onnx`.

One 1-D input per column, under the column's own name, all of one length N:

| kind | ONNX type | missing |
|---|---|---|
| numeric | float64 (integers exact to 2^53) | NaN |
| boolean | float64, 0 or 1 | NaN |
| categorical | string | "" |
| timestamp | int64, microseconds since 1970-01-01 UTC | -2^63 |

`from_table` fills it from a Polars frame whose columns have been read by the schema (training,
evaluation, bulk scoring), `from_rows` from decoded JSON (serving), `from_series` from a column in any type.
What a value means is decided by `values.read` alone: values that it would leave as they are need NumPy only.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill.data import scalars
from tidemill.data.cells import refusals
from tidemill.data.cells.epochs import EPOCHS
from tidemill.data.scalars import EXACT
from tidemill.data.schema import Column
from tidemill.errors import SchemaError
from tidemill.settings import Kind

if TYPE_CHECKING:
    import polars as pl

Raw = dict[str, np.ndarray]
"""Column name → 1-D array of N values: float64, int64 or object (str)."""

Rows = Sequence[Mapping[str, Any]]

MISSING_TIMESTAMP = -(2**63)
NAN = float("nan")

_NUMERIC, _CATEGORICAL, _BOOLEAN, _TIMESTAMP = Kind.NUMERIC, Kind.CATEGORICAL, Kind.BOOLEAN, Kind.TIMESTAMP
"""Looking a member up in its Enum takes a tenth of a microsecond, twenty times a row."""
MISSING = {_NUMERIC: NAN, _CATEGORICAL: "", _BOOLEAN: NAN, _TIMESTAMP: MISSING_TIMESTAMP}
"""What stands for a missing value, by kind."""
_UNREAD = object()
"""Stands where only `values.read` can say what a value is."""
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

    from tidemill.data.cells.values import DTYPES

    raw: Raw = {}
    there = set(table.columns)
    for column in columns:
        if column.name not in there:
            raise _not_typed(column, "no such column")
        values = table[column.name]
        if values.dtype != DTYPES[column.kind] and (column.kind, values.dtype) != (Kind.TIMESTAMP, pl.Datetime("us")):
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
        remedy="give the column the kind that the model was trained with (data.kinds), or train again",
    )


def from_rows(rows: Rows, columns: Sequence[Column], others: Collection[str] = ()) -> Raw:
    """Arrays for `columns` from decoded JSON objects (N = len(rows)).

    JSON null, and a column that allows missing values but is left out, count as missing; every other value is what
    `values.read` reads it as. Columns named in `others` may be there and are passed over.

    Raises:
        RequestError: names the row and column: unknown column, missing column, a value that cannot be read.
    """
    if not rows:
        return {column.name: np.empty(0, _DTYPES[column.kind]) for column in columns}
    names = {column.name for column in columns}
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise refusals.wrong(
                index, "A row must be an object of column: value", refusals.shown(row), 'send {"column": value, …}'
            )
        if not row.keys() <= names and (unknown := row.keys() - names - set(others)):
            raise refusals.unknown(index, next(name for name in row if name in unknown), names)
    blocks: dict[Any, list[Any]] = {np.float64: [], np.object_: [], np.int64: []}
    for column in columns:
        name = column.name
        blocks[_DTYPES[column.kind]] += _read([row.get(name) for row in rows], column)
    # one block for all columns of a type: for a single row, making arrays is what the time goes into
    shape = (-1, len(rows))
    arrays = {dtype: iter(np.array(values, dtype).reshape(shape)) for dtype, values in blocks.items()}
    return {column.name: next(arrays[_DTYPES[column.kind]]) for column in columns}


def from_values(values: Sequence[Any], column: Column) -> np.ndarray:
    """One column's array, of values as JSON has them.

    Raises:
        RequestError: as `from_rows`.
    """
    return np.array(_read(values, column), _DTYPES[column.kind])


def from_series(series: "pl.Series", column: Column, rows: Sequence[int] | None = None) -> np.ndarray:
    """One column's array, of values in any type, by `values.read`.

    Args:
        rows: the numbers of the values' rows, for errors.

    Raises:
        RequestError: names the row: a missing value where none may be, one that cannot be read.
    """
    import polars as pl

    from tidemill.data.cells import values

    try:
        found, read = values.read_series(series, column)
    except SchemaError as error:
        raise refusals.unreadable(rows[0] if rows else 0, column, series[0] if len(series) else None) from error
    lost = read.null_count()
    if lost and (not column.missing_allowed or lost > found.null_count()):
        for index, (value, is_missing, is_null) in enumerate(zip(series, found.is_null(), read.is_null(), strict=True)):
            row = rows[index] if rows else index
            if is_missing and not column.missing_allowed:
                raise refusals.missing(row, column)
            if is_null and not is_missing:
                raise refusals.unreadable(row, column, value)
    return from_table(pl.DataFrame({column.name: read}), [column])[column.name]


def _read(values: Sequence[Any], column: Column) -> list[Any]:
    """Values that can be taken as they are; `_read_by_type` reads the others."""
    kind, unread = column.kind, _UNREAD
    gap = MISSING[kind] if column.missing_allowed else unread
    if kind is _NUMERIC:
        found = [
            v
            if type(v) is float and v == v
            else gap
            if v is None
            else v
            if type(v) is int and -EXACT <= v <= EXACT
            else unread
            for v in values
        ]
    elif kind is _CATEGORICAL:
        texts = scalars.texts_of(column.missing_marks, column.numeric_categories, column.missing_allowed)
        known, read = texts.plain, texts.read
        found = [
            (v if v in known or texts.is_plain(v) else read.get(v, unread))
            if type(v) is str
            else gap if v is None else unread
            for v in values
        ]  # fmt: skip
    elif kind is _BOOLEAN:
        found = [1.0 if v is True else 0.0 if v is False else gap if v is None else unread for v in values]
    else:
        found = [gap if v is None else _moment(v, column) for v in values]
    indices = [index for index, value in enumerate(found) if value is unread]
    if indices:
        _read_by_type(found, indices, values, column)
    return found


def _moment(value: Any, column: Column) -> Any:
    """ISO 8601 text, unless the column's notation may read it otherwise, and microseconds within training's range."""
    if type(value) is str:
        swapped = column.format is not None and ("%Y-%d" in column.format or "%Y%d" in column.format)
        moment = None if swapped else scalars.moment(value)
        return _UNREAD if moment is None else moment
    if type(value) is not int or column.format in EPOCHS:
        return _UNREAD
    low, high = scalars.bounds(column.earliest, column.latest) or (MISSING_TIMESTAMP + 1, 2**63 - 1)
    return value if low <= value <= high else _UNREAD


def _read_by_type(found: list[Any], indices: Sequence[int], values: Sequence[Any], column: Column) -> None:
    """Read the values at `indices` by `values.read`, type by type."""
    by_type: dict[type, list[int]] = {}
    for index in indices:
        value = values[index]
        if value is None or value != value:  # NaN
            if not column.missing_allowed:
                raise refusals.missing(index, column)
            found[index] = MISSING[column.kind]
        elif type(value) not in (str, bool, int, float):
            raise refusals.unreadable(index, column, value)
        else:
            by_type.setdefault(type(value), []).append(index)
    for type_, rows in by_type.items():
        given = [values[row] for row in rows]
        read = from_series(_series(given, type_, rows, column), column, rows).tolist()
        for row, value in zip(rows, read, strict=True):
            found[row] = value
        if type_ is str and column.kind is _CATEGORICAL:
            texts = scalars.texts_of(column.missing_marks, column.numeric_categories, column.missing_allowed)
            for text, value in zip(given, read, strict=True):
                texts.remember(text, value)


def _series(given: list[Any], type_: type, rows: Sequence[int], column: Column) -> "pl.Series":
    import polars as pl

    if type_ is str:
        for row, text in zip(rows, given, strict=True):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                observed = f"column {column.name!r}: half a surrogate pair"
                raise refusals.wrong(row, "Text must be valid Unicode", observed, "send UTF-8") from error
        return pl.Series(given, dtype=pl.String)
    if type_ is not int:
        return pl.Series(given, dtype=pl.Boolean if type_ is bool else pl.Float64)
    for row, value in zip(rows, given, strict=True):
        if column.kind is not _CATEGORICAL and not -(2**63) < value < 2**63:
            raise refusals.unreadable(row, column, value)
    if column.kind is _CATEGORICAL:
        return pl.Series(list(map(str, given)), dtype=pl.String)  # of any length
    return pl.Series(given, dtype=pl.Int64)
