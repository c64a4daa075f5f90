"""Rows of the test split once more, as the source stores them, read by another schema: the champion's, at the gate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from tidemill.data import dataset, typed
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.target import Target
from tidemill.errors import SchemaError, listed
from tidemill.settings import DataSettings, Kind

_ROW = "row\0"
_NUMBER = Column(name=_ROW, kind=Kind.NUMERIC, role=Role.KEY)


@dataclass(frozen=True, kw_only=True, slots=True)
class SecondReading:
    """table: the rows that the other schema can read. kept: their positions in the test split, ascending."""

    table: pl.DataFrame
    kept: np.ndarray


def read_alike(ours: Schema, theirs: Sequence[Column]) -> bool:
    """Whether two schemas read the values of `theirs` in the same way."""
    known = {column.name: _reading(column) for column in ours.columns if column.role is not Role.IGNORED}
    return all(known.get(column.name) == _reading(column) for column in theirs)


def _reading(column: Column) -> Column:
    """A column without what only says which rows are kept, or what for."""
    free = {"minimum": None, "maximum": None, "domain": None, "earliest": None, "latest": None, "reason": None}
    return replace(column, role=Role.FEATURE, missing_allowed=True, **free)  # type: ignore[arg-type]


def read_again(
    test: pl.DataFrame, settings: DataSettings, schema: Schema, target: Target, columns: Sequence[Column]
) -> SecondReading:
    """Read the source again: by `schema`, to find the rows of `test` in it, and those rows by `columns`.

    Raises:
        SourceError: the source cannot be read a second time.
        SchemaError: it holds other rows by now, or lacks one of `columns`.
    """
    numbered = {name: frame.with_row_index(_ROW) for name, frame in dataset.open(settings).items()}
    stored = numbered.get("data.test_path", numbered["data.path"])
    there = stored.collect_schema().names()
    if absent := [column.name for column in columns if column.name not in there]:
        raise SchemaError(
            "A champion is compared on a table that has the columns which it was trained on",
            observed=f"no column {listed(absent, quoted=True)}",
            remedy="add it to the table, and to data.ignored if the new version is not to use it.",
        )
    ours = _numbered(schema.columns, schema)
    tables = {name: typed.apply(frame, ours).table for name, frame in numbered.items()}
    kept = dataset.without_repeats(tables, schema, settings)
    found = dataset.divide(kept, schema, settings, target).test.open("to be read by the champion's schema")
    if not found.drop(_ROW).equals(test):
        raise SchemaError(
            "A source gives the same rows when it is read a second time",
            observed=f"{found.height:,} test rows that differ from the {test.height:,} before",
            remedy="train on a copy of the table that nobody changes meanwhile",
        )
    numbers = found[_ROW].cast(pl.UInt32)
    theirs = typed.apply(stored.filter(pl.col(_ROW).is_in(numbers.implode())), _numbered(columns, schema)).table
    positions = pl.DataFrame({_ROW: numbers.cast(pl.Float64)}).with_row_index("position")
    ordered = theirs.join(positions, on=_ROW).sort("position")
    return SecondReading(table=ordered.drop(_ROW, "position"), kept=ordered["position"].to_numpy())


def _numbered(columns: Sequence[Column], schema: Schema) -> Schema:
    return Schema(columns=(*columns, _NUMBER), time_is_input=schema.time_is_input)
