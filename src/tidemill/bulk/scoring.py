"""One chunk of rows through the predictor: answers for every row that the schema reads, reasons for every other."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from tidemill.bulk import lines
from tidemill.bulk.inputs import Chunk
from tidemill.bulk.lines import ROW
from tidemill.data import typed
from tidemill.data.raw import from_table
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.sources import collect, unreadable
from tidemill.errors import TidemillError
from tidemill.serve.predictor import Predictor
from tidemill.settings import Kind, Objective

ROWS_AT_ONCE = 8_192
"""Keeps what one run of the graph computes in the processor's cache: 65,536 rows at once took three times as long."""

_NUMBER = Column(name=ROW, kind=Kind.NUMERIC, role=Role.KEY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """answers: a part's columns. quarantined: `file`, `row`, kept columns, inputs (all as text) and the reason."""

    answers: pl.DataFrame
    quarantined: pl.DataFrame


class Scorer:
    """
    Args:
        kept: columns to copy, with the type that they get.

    Raises (when called):
        SourceError: the chunk cannot be read.
        SchemaError: a column's values are of a type that cannot be its kind.
    """

    def __init__(self, predictor: Predictor, kept: Mapping[str, pl.DataType]) -> None:
        self.predictor = predictor
        self.kept = kept
        self.objective = predictor.manifest.identity.objective
        self.classes = predictor.manifest.identity.classes

    def __call__(self, chunk: Chunk) -> Scored:
        try:
            table, broken = self._table(chunk)
            schema = Schema(columns=(_NUMBER, *chunk.schema.columns), time_is_input=chunk.schema.time_is_input)
            read = typed.apply(table.lazy(), schema)
        except (TidemillError, pl.exceptions.PolarsError, OSError) as caught:
            error = caught if isinstance(caught, TidemillError) else unreadable(caught)
            where = f"{chunk.path}, rows {chunk.first} and after: "
            raise type(error)(error.rule, observed=where + error.observed, remedy=error.remedy) from caught
        if read.quarantined.height:
            table_of_read = table.filter(pl.col(ROW).is_in(read.table[ROW].cast(pl.Int64).implode()))
        else:
            table_of_read = table
        copied = table_of_read.select(pl.lit(chunk.path).alias("file"), pl.col(ROW).alias("row"), *self._copied())
        return Scored(
            answers=copied.hstack(self._answers(read.table)), quarantined=self._quarantined(chunk, table, read, broken)
        )

    def _table(self, chunk: Chunk) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows with their numbers, and lines that are no JSON."""
        content = chunk.content
        broken = lines.NONE_BROKEN
        if isinstance(content, list):
            table, numbers, broken = lines.parse(content, chunk.first)
            names = [column.name for column in chunk.schema.columns] + list(self.kept)
            there = set(table.columns)
            absent = [pl.lit(None).alias(name) for name in dict.fromkeys(names) if name not in there]
            table = (
                table.with_columns(absent)
                if table.width
                else pl.DataFrame({name: pl.Series([None] * len(numbers), dtype=pl.Null) for name in names})
            )
        else:
            table = content if isinstance(content, pl.DataFrame) else collect(content)
            numbers = np.arange(chunk.first, chunk.first + table.height)
        return table.with_columns(pl.Series(ROW, numbers, pl.Int64)), broken

    def _copied(self) -> list[pl.Expr]:
        return [pl.col(name).cast(kind).alias(name) for name, kind in self.kept.items()]

    def _answers(self, table: pl.DataFrame) -> pl.DataFrame:
        raw = from_table(table, self.predictor.columns)
        count = max(1, -(-table.height // ROWS_AT_ONCE))
        ends = np.linspace(0, table.height, count + 1).astype(int)  # even, since a single row is computed otherwise
        parts = [
            self.predictor.predict({name: values[first:last] for name, values in raw.items()})
            for first, last in pairwise(ends)
        ]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if self.objective is Objective.REGRESSION:
            return pl.DataFrame(found)
        probabilities = found["probabilities"].T
        shares = {f"probability_{name}": probabilities[i].copy() for i, name in enumerate(self.classes)}
        return pl.DataFrame({"label": pl.Series(found["label"], dtype=pl.String), **shares})

    def _quarantined(
        self, chunk: Chunk, table: pl.DataFrame, read: typed.TypedTable, broken: pl.DataFrame
    ) -> pl.DataFrame:
        bad = read.quarantined.select(ROW, typed.REASON)
        names = dict.fromkeys([*self.kept, *(column.name for column in chunk.schema.columns)])
        texts = [pl.col(name).cast(pl.String, strict=False).alias(name) for name in names]
        shown = table.filter(pl.col(ROW).is_in(bad[ROW].implode())).select(ROW, *texts).join(bad, on=ROW)
        rows = pl.concat([shown, broken], how="diagonal").sort(ROW)
        return rows.select(pl.lit(chunk.path).alias("file"), pl.col(ROW).alias("row"), pl.exclude(ROW))
