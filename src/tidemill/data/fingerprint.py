"""A table's content in 64 hexadecimal digits.

Two typed tables have the same fingerprint exactly if they have the same columns (names, order, kinds) and the same
values in the same order of rows; the format, chunks or compression of the files they came from do not matter.
What is hashed is fixed here and not by Polars, so it outlives versions: SHA-256 over, for each column, its name and
kind and the SHA-256 of its values as little-endian bytes: float64 (missing: one NaN; -0.0 equals 0.0), booleans as
float64, timestamps as int64 microseconds UTC (missing: the smallest int64), texts as their UTF-8 bytes and, apart
from these, the int64 lengths in bytes (missing: -1).
"""

import hashlib

import numpy as np
import polars as pl

ROWS = 1 << 18
"""Rows hashed at a time; does not change the result."""


def fingerprint(table: pl.DataFrame) -> str:
    """SHA-256 over the content of a typed table."""
    whole = hashlib.sha256(f"tidemill 1, {table.height} rows".encode())
    for column in table:
        kind, digests = _column(column)
        whole.update(f"\n{len(column.name.encode())} {column.name} {kind} {' '.join(digests)}".encode())
    return whole.hexdigest()


def _column(column: pl.Series) -> tuple[str, list[str]]:
    """The column's kind and the digests of its values."""
    hashes = [hashlib.sha256(), hashlib.sha256()]
    kind = ""
    for start in range(0, max(column.len(), 1), ROWS):
        part = column.slice(start, ROWS)
        if column.dtype == pl.String:
            kind = "text"
            hashes[0].update(_bytes(part.str.len_bytes().cast(pl.Int64).fill_null(-1).to_numpy(), "<i8"))
            hashes[1].update(part.str.join("").item().encode())
        elif isinstance(column.dtype, pl.Datetime):
            kind = "timestamp"
            ticks = part.dt.cast_time_unit("us").cast(pl.Int64).fill_null(-(2**63))
            hashes[0].update(_bytes(ticks.to_numpy(), "<i8"))
        else:
            kind = "boolean" if column.dtype == pl.Boolean else "numeric"
            numbers = part.cast(pl.Float64).fill_null(float("nan")).to_numpy() + 0.0  # -0.0 + 0.0 is 0.0
            numbers[np.isnan(numbers)] = np.nan
            hashes[0].update(_bytes(numbers, "<f8"))
    return kind, [digest.hexdigest() for digest in hashes]


def _bytes(values: np.ndarray, dtype: str) -> memoryview:
    return np.ascontiguousarray(values.astype(dtype, copy=False)).data
