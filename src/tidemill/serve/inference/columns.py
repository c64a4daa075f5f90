"""From tensors to raw columns: which datatypes a column takes, and its values by the raw input contract.

Plain values are taken array by array; whatever is not plain is read by `tidemill.data.raw.from_rows`, which accepts it
or says what is wrong, so that the rules stand in one place.

| kind | datatypes | missing |
|---|---|---|
| numeric | FP64; any other number, exactly | NaN, JSON null |
| boolean | BOOL; any number, 0 or 1 | NaN, JSON null |
| categorical | BYTES, UTF-8 | "", JSON null |
| timestamp | INT64, microseconds since 1970 UTC; BYTES, ISO 8601 | -2^63, "", JSON null |
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tidemill.data.raw import EXACT, MISSING_TIMESTAMP, Raw, from_rows, missing
from tidemill.data.schema import Column
from tidemill.serve.inference.tensors import DTYPES, texts_array
from tidemill.serve.protocol import refused
from tidemill.settings import Kind

Binary = bytes | memoryview

OFFERED = {Kind.NUMERIC: "FP64", Kind.BOOLEAN: "BOOL", Kind.CATEGORICAL: "BYTES", Kind.TIMESTAMP: "INT64"}
"""The datatype that metadata name, by kind; the first of those that are taken."""
_NUMBERS = tuple(name for name, dtype in DTYPES.items() if dtype.kind in "iuf")
TAKEN = {
    Kind.NUMERIC: ("FP64", *(name for name in _NUMBERS if name != "FP64")),
    Kind.BOOLEAN: ("BOOL", *_NUMBERS),
    Kind.CATEGORICAL: ("BYTES",),
    Kind.TIMESTAMP: ("INT64", "BYTES"),
}


def check(column: Column, datatype: str) -> None:
    """Raises:
    RequestError: 422, the column does not take the datatype.
    """
    if datatype not in TAKEN[column.kind]:
        raise refused(
            422,
            f"A {column.kind} column takes {', '.join(TAKEN[column.kind])}",
            f"input {column.name!r}: datatype {datatype[:40]!r}",
            f"send {OFFERED[column.kind]}",
        )


def to_raw(column: Column, values: np.ndarray | list[Any]) -> np.ndarray:
    """N values of a datatype that the column takes → float64, int64 or object [N].

    Args:
        values: as `tensors.from_binary` and `tensors.from_json` give them.

    Raises:
        RequestError: 422, names the row and the value: a missing one where none may be, a number that float64 cannot
            hold exactly, no truth value, no time.
    """
    if isinstance(values, np.ndarray):
        plain = _plain(column, values)
        if plain is not None:
            return plain
        values = values.tolist()
    if column.kind is Kind.BOOLEAN:
        values = [_truth(value) for value in values]
    elif column.kind is Kind.TIMESTAMP:
        values = [None if value == MISSING_TIMESTAMP else value for value in values]
    return from_rows([{column.name: value} for value in values], [column])[column.name]


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
        from_rows([{}], [column])
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
    if column.kind is Kind.CATEGORICAL:
        return _plain_texts(column, values)
    kind = values.dtype.kind
    if column.kind is Kind.TIMESTAMP:
        if kind == "O" or (not column.missing_allowed and (values == MISSING_TIMESTAMP).any()):
            return None
        return values
    if kind in "iu" and ((values > EXACT).any() or (values.dtype.itemsize == 8 and _below(values))):
        return None
    floats = values.astype(np.float64, copy=False)
    if kind == "f" and not column.missing_allowed and np.isnan(floats).any():
        return None
    if column.kind is Kind.BOOLEAN and kind != "b" and not ((floats == 0) | (floats == 1) | np.isnan(floats)).all():
        return None
    return floats


def _below(values: np.ndarray) -> bool:
    return values.dtype.kind == "i" and bool((values < -EXACT).any())


def _plain_texts(column: Column, values: np.ndarray) -> np.ndarray | None:
    texts = values.tolist()
    missing = {"", *column.missing_marks}
    if missing.isdisjoint(texts):
        return values
    if not column.missing_allowed:
        return None
    return texts_array(["" if text in missing else text for text in texts]) if len(missing) > 1 else values


def _truth(value: Any) -> Any:
    if type(value) in (int, float):
        if value != value:
            return None
        return bool(value) if value in (0, 1) else value
    return value
