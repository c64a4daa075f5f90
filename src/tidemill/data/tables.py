"""What the data checks look at: the three splits, with their schema and settings."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import polars.selectors as cs

from tidemill.data.schema import Schema
from tidemill.data.target import Target
from tidemill.settings import DataSettings, Kind

SEED = 0
"""Samples that checks draw are the same in every run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantined:
    """Rows kept out of one part of the data.

    part: the setting that named their table, or a split where rows can be assigned to one by their time.
    of: all rows of the part, these among them.
    reasons: "1,240 rows: price: cannot be read as numeric, e.g. 'abc'", the most frequent first.
    """

    part: str
    rows: int
    of: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tables:
    """Typed tables in which every missing value is null. `quarantined`: what broke a rule of the schema, by part."""

    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame
    quarantined: tuple[Quarantined, ...]
    schema: Schema
    settings: DataSettings
    target: Target | None

    @property
    def splits(self) -> dict[str, pl.DataFrame]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def inputs(self, kind: Kind | None = None) -> list[str]:
        """Names of the model's inputs: all, or those of one kind."""
        return [column.name for column in self.schema.inputs if kind in (None, column.kind)]

    @property
    def records(self) -> list[str]:
        """The columns that make a record what it is to the model: its inputs and the target."""
        return [*self.inputs(), *([] if self.target is None else [self.target.name])]


def with_null(table: pl.DataFrame) -> pl.DataFrame:
    """NaN and "" mean missing at the model's door; here they become null as well."""
    empty = pl.when(cs.string() != "").then(cs.string())
    return table.with_columns(cs.float().fill_nan(None), empty)


def hashes(table: pl.DataFrame, columns: list[str]) -> pl.Series:
    """Of each row a number, the same for rows that are equal in all these columns (missing equals missing)."""
    return with_null(table[columns]).hash_rows()


def sample(table: pl.DataFrame, rows: int) -> pl.DataFrame:
    """At most `rows` random rows, in the table's order."""
    if table.height <= rows:
        return table
    chosen = np.random.default_rng(SEED).choice(table.height, rows, replace=False)
    return table[np.sort(chosen)]


def counted(values: pl.Series) -> pl.DataFrame:
    """Columns `value` and `rows`: each value present, the most frequent first, ties in order of value."""
    counts = values.alias("value").drop_nulls().value_counts(name="rows")
    return counts.sort("rows", "value", descending=[True, False])
