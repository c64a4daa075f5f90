"""The raw inputs of recorded requests as typed columns: by the raw input contract, many requests at a time."""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import polars as pl

from tidemill.data.cells.parsing import TIMESTAMP
from tidemill.data.raw import MISSING, MISSING_TIMESTAMP, from_rows, from_values
from tidemill.data.schema import Column, Role, Schema, stands_in_json
from tidemill.errors import RequestError
from tidemill.ledger import keys
from tidemill.ledger.masking import digests, masking_of
from tidemill.ledger.record import Answered, Form
from tidemill.ledger.settings import LedgerSettings, Masking
from tidemill.settings import Kind

APART = "\0"
"""Between a field's name and what its values are, until the table decides what the field is called."""
KEY = "\0key"
"""Marks the column of records' keys."""
_JSON: dict[Kind, Any] = {
    Kind.NUMERIC: float | None,
    Kind.BOOLEAN: bool | None,
    Kind.CATEGORICAL: str | None,
    Kind.TIMESTAMP: str | int | None,
}
_UNFIT = (RequestError, msgspec.DecodeError, pl.exceptions.PolarsError, ValueError, TypeError, LookupError)
LOG = logging.getLogger(__name__)


class Inputs:
    """Reads the inputs of requests to one version.

    Args:
        schema: of all columns. A row may hold each of them but the target.
        key: for digests of columns that the settings hash.
    """

    def __init__(self, schema: dict[str, Any], settings: LedgerSettings, key: bytes) -> None:
        read = Schema.from_dict(schema)
        self._inputs = {column.name for column in read.inputs}
        self._columns = tuple(
            dataclasses.replace(column, missing_allowed=True)  # whether it may be was checked before the answer
            for column in read.columns
            if column.role is not Role.TARGET and column.kind in _JSON
        )
        self._masking = {column.name: masking_of(column, settings) for column in self._columns}
        self._settings, self._key = settings, key
        self._key_column = keys.column(read)
        fields = [
            (f"f{index}", _JSON[column.kind] if column.name in self._inputs else Any, None)
            for index, column in enumerate(self._columns)
        ]
        names = [column.name for column in self._columns]
        quick = all(map(stands_in_json, names))
        row: Any = msgspec.defstruct(
            "Row",
            fields,
            rename={f"f{index}": name for index, name in enumerate(names)} if quick else None,
            forbid_unknown_fields=True,
            gc=False,
        )
        body: Any = msgspec.defstruct("Body", [("rows", list[row])])
        self._decode = msgspec.json.Decoder(body).decode if quick else None

    def read(self, requests: Sequence[Answered]) -> pl.DataFrame | None:
        """One column for each model input and each other column that was given, and `KEY`; a row for each answer.

        Args:
            requests: of one form.

        Returns:
            None where some request does not fit the schema.
        """
        try:
            return self._frame(requests)
        except _UNFIT as error:
            if len(requests) == 1:
                LOG.error("the inputs of the answers to request %s cannot be read: %s", requests[0].id, error)
            return None

    def _frame(self, requests: Sequence[Answered]) -> pl.DataFrame:
        form = requests[0].form
        if form is Form.NONE:
            count = sum(_rows(request) for request in requests)
            columns: Iterable[Any] = ([None] * count for _ in self._columns)
        else:
            columns = self._from_json(requests) if form is Form.ROWS else self._from_columns(requests)
        found = []
        for column, values in zip(self._columns, columns, strict=True):
            if self._key_column is not None and column.name == self._key_column.name:
                found.append(self._keys(requests, _listed(values)))  # before its kind makes a float of a number
            plain = column.name in self._inputs or form is Form.NONE
            series = self._series(column, values if plain else _as_far_as_it_fits(values, column))
            if column.name in self._inputs or series.null_count() < series.len():
                found.append(series)
        frame = pl.DataFrame(found)
        if frame.width and frame.height != (answers := sum(_rows(request) for request in requests)):
            raise ValueError(f"{frame.height} rows for {answers} answers")
        return frame

    def key(self, value: Any) -> str | None:
        """A record's key as the tables have it; None: it is missing, masked, or the version has no column of keys."""
        return None if self._key_column is None else keys.masked(self._key_column, self._settings, self._key, value)

    def _keys(self, requests: Sequence[Answered], values: Sequence[Any]) -> pl.Series:
        """Of each row: what its column of keys says, else what the request has for it in `keys`."""
        if requests[0].form is Form.ROWS and None in values:
            sent = chain.from_iterable(map(_sent_keys, requests))
            values = [other if value is None else value for value, other in zip(values, sent, strict=True)]
        return pl.Series(KEY, [self.key(value) for value in values], dtype=pl.String)

    def _from_json(self, requests: Sequence[Answered]) -> Iterator[Any]:
        decode = self._decode
        if decode is None:
            yield from self._from_any_json(requests)
            return
        try:
            rows = list(chain.from_iterable(_picked(decode(one.inputs).rows, one.rows) for one in requests))
        except msgspec.DecodeError:  # what Python's own reader takes and this one does not, like 1e999
            yield from self._from_any_json(requests)
            return
        for index, column in enumerate(self._columns):
            values = list(map(attrgetter(f"f{index}"), rows))
            moments = column.kind is Kind.TIMESTAMP and column.name in self._inputs
            yield from_values(values, column) if moments else values

    def _from_any_json(self, requests: Sequence[Answered]) -> Iterator[Any]:
        rows = [row for one in requests for row in _picked(json.loads(one.inputs)["rows"], one.rows)]
        inputs = [column for column in self._columns if column.name in self._inputs]
        raw = from_rows(rows, inputs, {column.name for column in self._columns})
        for column in self._columns:
            yield raw[column.name] if column.name in raw else [row.get(column.name) for row in rows]

    def _from_columns(self, requests: Sequence[Answered]) -> Iterator[Any]:
        given = [(msgspec.msgpack.decode(one.inputs), one) for one in requests]
        for column in self._columns:
            parts: list[Any] = [
                _picked(_held(columns[column.name], column.kind), one.rows)
                if column.name in columns
                else [MISSING[column.kind] if column.name in self._inputs else None] * _rows(one)
                for columns, one in given
            ]
            if all(isinstance(part, np.ndarray) for part in parts):
                yield np.concatenate(parts)
            else:
                yield list(chain.from_iterable(_listed(part) for part in parts))

    def _series(self, column: Column, values: Any) -> pl.Series:
        series = _typed(column, values)
        masked = self._masking[column.name]
        name = f"{column.name}{APART}{column.kind}"
        if masked is Masking.MASK:
            series = pl.Series([None], dtype=series.dtype).new_from_index(0, series.len())
        elif masked is Masking.HASH:
            series = series.cast(pl.String)
            digest = digests(series.drop_nulls().unique().to_list(), self._key)
            series = series.replace_strict(list(digest), list(digest.values()), return_dtype=pl.String)
            name = f"{column.name}{APART}{Masking.HASH}"
        return series.alias(name)


def _typed(column: Column, values: Any) -> pl.Series:
    if column.kind is Kind.CATEGORICAL:
        return _texts(pl.Series(_listed(values), dtype=pl.String), column)
    if column.kind is Kind.TIMESTAMP:
        series = pl.Series(values, dtype=pl.Int64)
        return series.set(series == MISSING_TIMESTAMP, None).cast(TIMESTAMP)
    if column.kind is Kind.BOOLEAN:
        return pl.Series(values, dtype=pl.Float64, strict=False).fill_nan(None).cast(pl.Boolean)
    return pl.Series(values, dtype=pl.Float64).fill_nan(None)


def _texts(given: pl.Series, column: Column) -> pl.Series:
    """Texts as the model read them, null where one is missing; each distinct text is read once, as most come again."""
    distinct = given.unique().to_list()
    read = [text or None for text in from_values(distinct, column)]
    return given if read == distinct else given.replace_strict(distinct, read, return_dtype=pl.String)


def _as_far_as_it_fits(values: Any, column: Column) -> Any:
    """Values of a column that is no input, of which a client may send anything; what cannot be read is missing."""
    values = _listed(values)
    if all(value is None for value in values):
        return [MISSING[column.kind]] * len(values)
    try:
        return from_values(values, column)
    except RequestError:
        return [_fitted(value, column) for value in values]


def _fitted(value: Any, column: Column) -> Any:
    if value is None or value != value:
        return MISSING[column.kind]
    if column.kind is Kind.CATEGORICAL:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return text.encode(errors="replace").decode()
    with contextlib.suppress(RequestError):
        return from_values([value], column).item()
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        if column.kind is Kind.NUMERIC:
            return float(value)
    return MISSING[column.kind]


def _held(values: Any, kind: Kind) -> Any:
    """Values of one column: a list, or an array, as whose little-endian bytes numbers may stand."""
    if isinstance(values, bytes):
        return np.frombuffer(values, "<i8" if kind is Kind.TIMESTAMP else "<f8")
    return values


def _listed(values: Any) -> Any:
    return values.tolist() if isinstance(values, np.ndarray) else values


def _picked(rows: Any, which: tuple[int, ...] | None) -> Any:
    if which is None:
        return rows
    return rows[list(which)] if isinstance(rows, np.ndarray) else [rows[index] for index in which]


def _sent_keys(request: Answered) -> Sequence[Any]:
    """What a request has in `keys`, for each of its answers."""
    sent = json.loads(request.inputs).get("keys") if b'"keys"' in request.inputs else None
    return [None] * _rows(request) if sent is None else _picked(sent, request.rows)


def _rows(request: Answered) -> int:
    return len(next(iter(request.answers.values()), ()))
