"""POST /predict as an Arrow IPC stream: columns in, columns out, for many rows at once.

In: one column for each of the model's, under its name, in any flat type that fits its kind: integers and floats of any
width, decimals, booleans, text (dictionary-encoded too), timestamps of any unit and zone, dates, and times of day and
durations (numbers of seconds); null is missing.
Out: `id`, then `probability_<class>` for each class and `label`, or `value`, `lower` and `upper`; and `version` where
rows went to several.

The rules are those of every door, in their words: what is not plainly right here is read by `values.read`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PanicException

from tidemill.data import schema
from tidemill.data.cells.refusals import unreadable
from tidemill.data.cells.values import category
from tidemill.data.plain import EXACT, texts_of
from tidemill.data.raw import MISSING_TIMESTAMP, Raw, from_rows, from_series, from_values, missing
from tidemill.serve.wire.arrow_stream import Malformed, Outline, Refused, outline
from tidemill.serve.wire.arrow_write import Column, Ids, write
from tidemill.serve.wire.reader import Reader
from tidemill.serve.wire.refusals import Limits, refused, too_large
from tidemill.serve.wire.request import Answer, Reply
from tidemill.settings import Kind, Objective

TYPE = b"application/vnd.apache.arrow.stream"

_BEYOND_EXACT = {pl.Int64, pl.UInt64}
_SMALL = {pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32}
_NUMBERS = {pl.Float64, pl.Float32, getattr(pl, "Float16", pl.Float32), *_SMALL, *_BEYOND_EXACT}
_DAY = 86_400_000_000  # microseconds
_PER = {"ms": 1000, "us": 1}


@dataclass(frozen=True, slots=True)
class Table:
    """A request's rows. others: columns that are recorded and not fed to the model, as plain values."""

    count: int
    raw: Raw
    others: dict[str, list[Any]]


def decode(body: bytes, reader: Reader, limits: Limits) -> Table:
    """The rows of a request's body.

    Raises:
        RequestError: 400 no such stream, 413 too large, 422 columns or values that do not fit; its `status` says which.
    """
    if len(body) > limits.bytes:
        raise too_large(limits, f"{len(body)} bytes")
    try:
        held = outline(body)
        if held.rows > limits.rows:
            raise too_large(limits, f"{held.rows} rows")
        if held.size > limits.bytes:
            raise too_large(limits, f"{held.size} bytes, decompressed")
        given = _read(body, held, limits)
    except Malformed as error:
        raise refused(
            400, "A request's body is an Arrow IPC stream", str(error)[:200], "send record batches"
        ) from error
    except Refused as error:
        rule = "A column of a request is of numbers, booleans, text, dates, times or timestamps"
        raise refused(422, rule, str(error), "send one value a row; numbers as int64, float64 or decimal128") from error
    others = given.keys() - reader.inputs
    for name in others.difference(reader.others):
        reader.checked([{name: None}])
    with np.errstate(over="ignore"):  # of `_present`; once, as it costs what a column does
        raw = {column.name: _array(given.get(column.name), column, held.rows) for column in reader.columns}
    return Table(held.rows, raw, {name: _plain(given[name]) for name in given if name in others})


def encode(id: str, answer: Answer) -> Reply:
    """The response: row i is the answer to the request's row i."""
    answers, identity = answer.answers, answer.identity
    columns: dict[str, Column] = {"id": Ids(id, answer.rows)}
    if identity.objective is Objective.REGRESSION:
        columns |= {name: answers[name] for name in ("value", "lower", "upper")}
    else:
        shares = zip(identity.classes, answers["probabilities"].T, strict=True)
        columns |= {f"probability_{name}": values for name, values in shares}
        columns["label"] = answers["label"].tolist()
    if answer.by is not None:
        columns["version"] = [version for version, _ in answer.by]
    return Reply(write(columns), type=TYPE)


def _read(body: bytes, held: Outline, limits: Limits) -> dict[str, pl.Series]:
    """The columns by name, all of `held.rows` values."""
    if held.zones:
        body = _in_utc(body, held.zones)
    try:
        frame = pl.read_ipc_stream(body)
        columns = dict(zip(frame.columns, frame.get_columns(), strict=True))
    except (Exception, PanicException) as error:  # of whatever kind: the stream is at fault
        raise Malformed(f"{type(error).__name__}: {error}") from error
    if frame.height != held.rows:
        raise Malformed(f"{frame.height} rows instead of {held.rows}")
    if held.shared:
        if held.rows * held.size > limits.bytes:  # only then can texts that share their bytes be too long together
            size = sum(map(text_bytes, columns.values()))
            if size > limits.bytes:
                raise too_large(limits, f"{size} bytes of text")
        columns = {name: _text(column) for name, column in columns.items()}
    return columns


def _in_utc(body: bytes, zones: Sequence[int]) -> bytes:
    """The stream with its time zones called UTC. What they are called changes no value: those are in UTC anyway.

    Polars panics on names that it does not know, +05:30 among them.
    """
    changed = bytearray(body)
    for place in zones:
        length = int.from_bytes(changed[place : place + 4], "little")
        if 3 <= length <= len(body) - place - 4:
            changed[place : place + 7] = b"\x03\0\0\0UTC"
    return bytes(changed)


def text_bytes(column: pl.Series) -> int:
    """Bytes of a column's texts, each as often as it stands there, before any of them is written out; 64 bits wide."""
    if column.dtype == pl.String:
        return int(column.str.len_bytes().cast(pl.Int64).sum())
    if column.dtype != pl.Categorical:
        return 0
    rows = pl.DataFrame({"text": column}).group_by("text").len(name="rows")  # the dictionary's entries, each once
    lengths = rows["text"].cast(pl.String).str.len_bytes().fill_null(0).cast(pl.Int64)
    return int((lengths * rows["rows"].cast(pl.Int64)).sum())


def _text(column: pl.Series) -> pl.Series:
    return column.cast(pl.String) if column.dtype == pl.Categorical else column


def _array(values: pl.Series | None, column: schema.Column, count: int) -> np.ndarray:
    if not count:
        return from_rows([], [column])[column.name]
    if values is None:
        return missing(column.kind, count) if column.missing_allowed else from_values([None], column)
    kind, type_ = column.kind, type(values.dtype)  # comparing Polars' types takes a microsecond, their classes none
    if kind is Kind.NUMERIC and type_ in _NUMBERS:
        return _numbers(values, column, type_)
    if kind is Kind.CATEGORICAL and type_ is pl.String and (texts := _texts(values, column)) is not None:
        return texts
    if kind is Kind.BOOLEAN and type_ is pl.Boolean:
        return _present(values.cast(pl.Float64).to_numpy(), values, column)
    if kind is Kind.TIMESTAMP and type_ in (pl.Datetime, pl.Date):
        return _moments(values, column)
    return from_series(values, column)


def _texts(series: pl.Series, column: schema.Column) -> np.ndarray | None:
    """Texts that are read as they stand, gaps among them; None where some are not."""
    values: list[str | None] = series.to_list()
    texts = texts_of(column.missing_marks, column.numeric_categories, column.missing_allowed)
    if texts.are_plain(values):
        return np.array(values, np.object_)
    if column.missing_allowed and series.null_count() and texts.are_plain([value for value in values if value]):
        return np.array([value or "" for value in values], np.object_)
    return None


def _numbers(values: pl.Series, column: schema.Column, type_: type) -> np.ndarray:
    if type_ in _BEYOND_EXACT:
        low, high = values.min(), values.max()
        if low is not None and not -EXACT <= low <= high <= EXACT:  # type: ignore[operator]
            return from_series(values, column)
    array = values.to_numpy()
    return _present(array if type_ is pl.Float64 else array.astype(np.float64), values, column)


def _present(array: np.ndarray, values: pl.Series, column: schema.Column) -> np.ndarray:
    if not column.missing_allowed:
        squares = array.dot(array)  # NaN where there is one, and only there; quicker than looking at each value
        if squares != squares:
            return from_series(values, column)
    return array


def _moments(values: pl.Series, column: schema.Column) -> np.ndarray:
    if (values.null_count() and not column.missing_allowed) or getattr(values.dtype, "time_unit", None) == "ns":
        return from_series(values, column)
    given = values.to_physical().cast(pl.Int64)
    unit = getattr(values.dtype, "time_unit", None)
    factor = _DAY if unit is None else _PER[unit]
    low, high = given.min(), given.max()
    if low is not None and not -(2**63) < low * factor <= high * factor < 2**63:  # type: ignore[operator]
        beyond = ((given.cast(pl.Float64) * factor).abs() >= 2.0**63).arg_true()[0]
        raise unreadable(beyond, column, given[beyond] * factor)
    return (given * factor).fill_null(MISSING_TIMESTAMP).to_numpy()


def _plain(values: pl.Series) -> list[Any]:
    if values.dtype.is_decimal():
        return values.to_frame().select(category(values.name, values.dtype)).to_series().to_list()
    if values.dtype == pl.Duration:
        return (values.dt.total_microseconds() / 1e6).to_list()
    return (values.cast(pl.String) if values.dtype.is_temporal() else values).to_list()
