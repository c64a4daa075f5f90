"""One chunk of rows through the predictor: answers for every row that the schema reads, reasons for every other."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from tidemill.bulk import lines, unseen
from tidemill.bulk.inputs import Chunk, in_folders
from tidemill.bulk.lines import ROW
from tidemill.bulk.recording import Batch
from tidemill.bulk.unseen import Unseen
from tidemill.bundle.answers import as_table
from tidemill.bundle.manifest import Manifest
from tidemill.bundle.predictor import Predictor
from tidemill.data import made_moments, typed
from tidemill.data.raw import from_table
from tidemill.data.reading import FAILURES, collect, unreadable, without_panic_text
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import SourceError, TidemillError
from tidemill.serve.wire.arrow import text_bytes
from tidemill.settings import Kind

TEXTS = 2**30
"""Bytes of a chunk's texts, each written out as often as it stands there: as one is when the graph reads it."""

Others = Callable[[pl.DataFrame], dict[str, list[Any]]]
_NUMBER = Column(name=ROW, kind=Kind.NUMERIC, role=Role.KEY)


def _check_texts(table: pl.DataFrame) -> None:
    """
    Raises:
        SourceError: the texts are too long together. A file that names one text a million times is small.
    """
    size = sum(map(text_bytes, table.get_columns()))
    if size > TEXTS:
        raise SourceError(
            f"The texts of a part's rows have at most {TEXTS} bytes, written out",
            observed=f"{size} bytes in {table.height} rows",
            remedy="ask for fewer rows a part, like --rows-per-part 1000, or leave the file out",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """answers: a part's columns. quarantined: `file`, `row`, kept columns, inputs (all as text) and the reason.

    unseen: by categorical column, what training never had.
    batch: what a record is made of, of the rows that are answered.
    """

    answers: pl.DataFrame
    quarantined: pl.DataFrame
    unseen: Mapping[str, Unseen] = field(default_factory=dict)
    batch: Batch | None = None


def references_of(described: Manifest, profile: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of a bundle's profile, by categorical column that the graph reads."""
    entries = profile["inputs"]["columns"]
    names = [one.name for one in described.interface.inputs if one.kind is Kind.CATEGORICAL]
    return {name: entries[name] for name in names if name in entries}


class Scorer:
    """
    Args:
        kept: columns to copy, with the type that they get.
        others: what takes further columns from a table for the record; None: nothing is recorded.

    Raises (when called):
        SourceError: the chunk cannot be read.
        SchemaError: a column's values are of a type that cannot be its kind.
    """

    def __init__(self, predictor: Predictor, kept: Mapping[str, pl.DataType], others: Others | None = None) -> None:
        self.predictor = predictor
        self.kept = kept
        self.others = others
        self.classes = predictor.manifest.identity.classes
        self.references = references_of(predictor.manifest, predictor.profile)

    def __call__(self, chunk: Chunk) -> Scored:
        try:
            with without_panic_text():
                table, broken = self._table(chunk)
                _check_texts(table)
                schema = Schema(columns=(_NUMBER, *chunk.schema.columns), time_is_input=chunk.schema.time_is_input)
                read = typed.apply(table.lazy(), schema)
        except (TidemillError, *FAILURES) as caught:
            error = caught if isinstance(caught, TidemillError) else unreadable(caught)
            where = f"{chunk.path}, rows {chunk.first} and after: "
            raise type(error)(error.rule, observed=where + error.observed, remedy=error.remedy) from caught
        if read.quarantined.height:
            table_of_read = table.filter(pl.col(ROW).is_in(read.table[ROW].cast(pl.Int64).implode()))
        else:
            table_of_read = table
        copied = table_of_read.select(pl.lit(chunk.path).alias("file"), pl.col(ROW).alias("row"), *self._copied())
        began, raw = time.monotonic(), from_table(read.table, self.predictor.columns)
        found = self.predictor.predict_in_parts(raw)
        batch = None
        if self.others is not None:
            others, seconds = self.others(table_of_read), time.monotonic() - began
            batch = Batch(raw=raw, others=others, answers=found, seconds=seconds)
        return Scored(
            answers=copied.hstack(as_table(found, self.classes)),
            quarantined=self._quarantined(chunk, table, read, broken),
            unseen=unseen.count(read.table, self.references),
            batch=batch,
        )

    def _table(self, chunk: Chunk) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows with their numbers, and lines that are no JSON."""
        content = chunk.content
        broken = lines.NONE_BROKEN
        if isinstance(content, list):
            table, numbers, broken = lines.parse(content, chunk.first)
            if table.width:
                table = made_moments.of_schema(in_folders(table.lazy(), chunk.path), chunk.schema.columns).collect()
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

    def _quarantined(
        self, chunk: Chunk, table: pl.DataFrame, read: typed.TypedTable, broken: pl.DataFrame
    ) -> pl.DataFrame:
        bad = read.quarantined.select(ROW, typed.REASON)
        names = dict.fromkeys([*self.kept, *(column.name for column in chunk.schema.columns)])
        texts = [pl.col(name).cast(pl.String, strict=False).alias(name) for name in names]
        shown = table.filter(pl.col(ROW).is_in(bad[ROW].implode())).select(ROW, *texts).join(bad, on=ROW)
        rows = pl.concat([shown, broken], how="diagonal").sort(ROW)
        return rows.select(pl.lit(chunk.path).alias("file"), pl.col(ROW).alias("row"), pl.exclude(ROW))
