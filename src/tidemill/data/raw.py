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

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill.data.schema import Column

if TYPE_CHECKING:
    import polars as pl

Raw = dict[str, np.ndarray]
"""Column name → 1-D array of N values: float64, int64 or object (str)."""

MISSING_TIMESTAMP = -(2**63)


def from_table(table: "pl.DataFrame", columns: Sequence[Column]) -> Raw:
    """Arrays for `columns` (N = the table's height), copying as little as the types allow.

    The table's dtypes are the schema's: Float64, Boolean, String, Datetime("us").

    Raises:
        SchemaError: a column is missing from the table or has another dtype.
    """
    raise NotImplementedError


def from_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Raw:
    """Arrays for `columns` from decoded JSON objects (N = len(rows)).

    JSON null, and a column that allows missing values but is left out, count as missing. Timestamps are ISO 8601 text
    (without an offset: UTC) or whole microseconds.

    Raises:
        RequestError: names the row and column: unknown column, missing column, wrong type, bad timestamp.
    """
    raise NotImplementedError
