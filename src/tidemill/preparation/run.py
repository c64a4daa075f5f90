"""A fitted preparation and how it is run over arrays and tables, with ONNX Runtime."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import onnx
import polars as pl

from tidemill.data.raw import Raw, from_table
from tidemill.data.schema import Column
from tidemill.errors import PreparationError, listed
from tidemill.preparation.cut import Cut, cut, session_of
from tidemill.settings import Kind

if TYPE_CHECKING:
    import onnxruntime

ROWS_AT_ONCE = 8_192
"""Keeps what one run computes in the processor's cache, and memory bounded."""
ROWS_READ_AT_ONCE = 524_288


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """float32 [rows, N] and int64 [rows, C]; finite, and below the cardinalities."""

    numeric: np.ndarray
    categorical: np.ndarray

    def __getitem__(self, rows: slice) -> "Prepared":
        """A view of some rows."""
        return Prepared(numeric=self.numeric[rows], categorical=self.categorical[rows])


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """The fitted graph from raw columns to tensors.

    inputs: the columns that the graph reads, in the schema's order: those of `schema.inputs` without the ones
        that did not vary in the training split.
    vocabularies: by categorical feature, the categories with codes of their own, 2…; 0 is missing, 1 rare or unseen.
        Those of a cross are joined by "\\0".
    """

    model: onnx.ModelProto
    inputs: tuple[Column, ...]
    numeric_names: tuple[str, ...]
    categorical_names: tuple[str, ...]
    vocabularies: tuple[tuple[str, ...], ...]

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """By categorical feature, the number of codes."""
        return tuple(len(vocabulary) + 2 for vocabulary in self.vocabularies)

    def run(self, raw: Raw) -> Prepared:
        """Arrays by the raw input contract; columns that are no input of the graph are passed over.

        Raises:
            PreparationError: an input is not there, or is longer than another.
        """
        prepared = self._empty(self._rows(raw))
        self._fill(prepared, self._session, raw)
        return prepared

    def run_table(self, table: pl.DataFrame) -> Prepared:
        """A typed table, much faster than `run`: each distinct text is looked up once, not once a row.

        It runs the same nodes, cut in two where text has become numbers.
        """
        prepared = self._empty(table.height)
        others = [column for column in self.inputs if column.kind is not Kind.CATEGORICAL]
        with ThreadPoolExecutor(1) as reader:  # numbers are read while texts are numbered
            for start in range(0, table.height, ROWS_READ_AT_ONCE):
                part = table.slice(start, ROWS_READ_AT_ONCE)
                numbers = reader.submit(from_table, part, others)
                feed = self._cut.encode(part) | numbers.result()
                self._fill(prepared[start : start + part.height], self._cut.rest, feed)
        return prepared

    def _empty(self, rows: int) -> Prepared:
        return Prepared(
            numeric=np.empty((rows, len(self.numeric_names)), dtype=np.float32),
            categorical=np.empty((rows, len(self.categorical_names)), dtype=np.int64),
        )

    def _fill(self, prepared: Prepared, session: "onnxruntime.InferenceSession", feed: Raw) -> None:
        """Runs over parts of the rows, on all cores: ONNX Runtime's own threads gain nothing on parts this small."""
        names = [argument.name for argument in session.get_inputs()]

        def run(start: int) -> None:
            part = slice(start, start + ROWS_AT_ONCE)
            found = session.run(["numeric", "categorical"], {name: feed[name][part] for name in names})
            prepared.numeric[part], prepared.categorical[part] = found

        starts = range(0, len(prepared.numeric), ROWS_AT_ONCE)
        if len(starts) < 2:
            for start in starts:
                run(start)
            return
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, starts))

    def _rows(self, raw: Raw) -> int:
        lengths = {column.name: len(raw[column.name]) for column in self.inputs if column.name in raw}
        absent = [column.name for column in self.inputs if column.name not in lengths]
        if absent:
            raise PreparationError(
                "Each input of the preparation must be there",
                observed=f"no {listed(absent, quoted=True)} among {listed(raw, quoted=True) or 'no columns'}",
                remedy="give a column of that name, with missing values if need be",
            )
        if len(set(lengths.values())) > 1:
            raise PreparationError(
                "All inputs must have the same number of rows",
                observed=listed(f"{name}: {length}" for name, length in lengths.items()),
                remedy="give as many values for each column",
            )
        return next(iter(lengths.values()))

    @cached_property
    def _session(self) -> "onnxruntime.InferenceSession":
        return session_of(self.model)

    @cached_property
    def _cut(self) -> Cut:
        return cut(self.model)
