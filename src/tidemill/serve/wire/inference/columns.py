"""From tensors to raw columns: a column takes every datatype whose values it can read, by the raw input contract.

Plain values are taken array by array; whatever is not plain is read by `tidemill.data.raw.from_series`, so as in
training and at every other door, or refused in its words.

| kind | datatypes | missing |
|---|---|---|
| numeric | FP64; any other number, exactly; BOOL; BYTES, as training's text | NaN |
| boolean | BOOL; any number, 0 or 1; BYTES, words like true and no | NaN |
| categorical | BYTES, UTF-8; any number and BOOL, as training's text has them | NaN |
| timestamp | whole numbers in the unit of training, else microseconds; BYTES, as training's text or ISO 8601 | -2^63 |

JSON null, the empty text and the column's missing marks are missing in every kind.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from tidemill.data import scalars
from tidemill.data.cells.epochs import EPOCHS
from tidemill.data.raw import MISSING_TIMESTAMP, Raw, from_series, from_values, missing
from tidemill.data.scalars import EXACT
from tidemill.data.schema import Column
from tidemill.settings import Kind

Binary = bytes | memoryview

OFFERED = {Kind.NUMERIC: "FP64", Kind.BOOLEAN: "BOOL", Kind.CATEGORICAL: "BYTES", Kind.TIMESTAMP: "INT64"}
"""The datatype that metadata name, by kind."""


def to_raw(column: Column, values: np.ndarray | list[Any]) -> np.ndarray:
    """N values of a datatype that the column takes → float64, int64 or object [N].

    Args:
        values: as `tensors.from_binary` and `tensors.from_json` give them.

    Raises:
        RequestError: 422, names the row and the value: a missing one where none may be, a number that float64 cannot
            hold exactly, no truth value, no time.
    """
    if isinstance(values, list):
        return from_values(values, column)
    found = _plain(column, values)
    if found is not None:
        return found
    if values.dtype.kind == "O":
        return from_values(values.tolist(), column)
    series = pl.Series(values)
    if column.kind is Kind.TIMESTAMP and values.dtype == np.int64:
        series = series.set(series == MISSING_TIMESTAMP, None)
    return from_series(series, column)


def doubles(given: Sequence[tuple[Column, list[Any] | Binary]], rows: int) -> Raw:
    """Numeric columns sent as FP64, all in one turn, by name: making arrays is what a small request's time goes into.

    Left out is what `to_raw` has to look at: values that are not all floats, and NaN where none may be missing.
    """
    lists = [(column, data) for column, data in given if isinstance(data, list) and len(data) == rows]
    parts = [(column, data) for column, data in given if not isinstance(data, list) and len(data) == 8 * rows]
    found: Raw = {}
    flat = [value for _, data in lists for value in data]
    if lists and set(map(type, flat)) <= {float}:
        found.update(_block([column for column, _ in lists], np.array(flat, np.float64), rows))
    if parts:
        joined = np.frombuffer(b"".join(data for _, data in parts), "<f8").astype(np.float64)
        found.update(_block([column for column, _ in parts], joined, rows))
    return found


def absent(column: Column, count: int) -> np.ndarray:
    """N missing values.

    Raises:
        RequestError: 422, the column allows none.
    """
    if not column.missing_allowed:
        from_values([None], column)
    return missing(column.kind, count)


def _block(columns: Sequence[Column], values: np.ndarray, rows: int) -> Raw:
    block = values.reshape(len(columns), rows)
    missing = np.isnan(block).any(axis=1).tolist()
    return {
        column.name: row
        for column, row, some in zip(columns, block, missing, strict=True)
        if column.missing_allowed or not some
    }


def _plain(column: Column, values: np.ndarray) -> np.ndarray | None:
    """The raw column, or None where a value needs a closer look."""
    kind = values.dtype.kind
    if kind == "O" or column.kind is Kind.CATEGORICAL:
        return _plain_texts(column, values) if kind == "O" and column.kind is Kind.CATEGORICAL else None
    if column.kind is Kind.TIMESTAMP:
        return _plain_moments(column, values)
    if kind in "iu" and ((values > EXACT).any() or (values.dtype == np.int64 and (values < -EXACT).any())):
        return None
    floats = values.astype(np.float64, copy=False)
    if kind == "f" and not column.missing_allowed and np.isnan(floats).any():
        return None
    if column.kind is Kind.BOOLEAN and kind != "b" and not ((floats == 0) | (floats == 1) | np.isnan(floats)).all():
        return None
    return floats


def _plain_texts(column: Column, values: np.ndarray) -> np.ndarray | None:
    texts = scalars.texts_of(column.missing_marks, column.numeric_categories, column.missing_allowed)
    return values if texts.are_plain(values.tolist()) else None


def _plain_moments(column: Column, values: np.ndarray) -> np.ndarray | None:
    """Microseconds within training's range, gaps among them."""
    if values.dtype != np.int64 or column.format in EPOCHS:
        return None
    low, high = scalars.bounds(column.earliest, column.latest) or (MISSING_TIMESTAMP + 1, 2**63 - 1)
    within = (values >= low) & (values <= high)
    if column.missing_allowed:
        within |= values == MISSING_TIMESTAMP
    return values if within.all() else None
