"""How stored values are read as a column's kind: the one place that inference, typing and every door share.

`read` gives a column's values in the dtype of a typed table, null where missing or unreadable;
`present` tells the two apart. Text loses the white space around it and is composed (NFC) before anything else.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import polars as pl

from tidemill.data import scalars
from tidemill.data.cells import epochs, parsing
from tidemill.data.cells.epochs import EPOCHS
from tidemill.data.cells.parsing import TIMESTAMP
from tidemill.data.scalars import EXACT
from tidemill.data.schema import Column
from tidemill.errors import SchemaError
from tidemill.settings import Kind

MARKS = (
    "?", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "-NaN", "-nan", "NaT", "null", "NULL", "Null", "<null>", "(null)",
    "None", "\\N", "#N/A", "#N/A N/A", "#NA", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!",
)  # fmt: skip
"""Texts that mean "missing" in any column."""

NUMBER_MARKS = (
    *(mark.lower() for mark in MARKS), "-", "--", "---", "\u2013", "\u2014", "\u2212", ".", "..", "...", "\u2026", "*",
    "none", "na", "nil", "n.a.", "n.d.", "nd", "missing", "unknown", "undefined", "blank", "(blank)", "empty",
    "(empty)", "not available", "not applicable", "1.#qnan", "-1.#qnan", "1.#ind", "-1.#ind",
)  # fmt: skip
"""Texts, in small letters, that mean "missing" among numbers and times; some of them mean something as categories."""

TRUE = ("true", "yes", "t", "y", "1")
FALSE = ("false", "no", "f", "n", "0")

_FEW = 100
Values = TypeVar("Values", pl.Expr, pl.Series)

NAN = ("NaN", "nan")
"""NaN, which means a missing number, as it is written into text."""

_EXTENSION = getattr(pl, "BaseExtension", ())  # Polars has extension types since 1.36
_TEXTS = (pl.String, pl.Categorical, pl.Enum)
DTYPES: dict[Kind, pl.DataType] = {
    Kind.NUMERIC: pl.Float64(),
    Kind.BOOLEAN: pl.Boolean(),
    Kind.CATEGORICAL: pl.String(),
    Kind.TIMESTAMP: TIMESTAMP,
}
"""Of a typed table, by kind."""


def unreadable(dtype: pl.DataType) -> bool:
    """Whether no kind reads a type: nested values, bytes, types that only their maker knows."""
    return dtype.is_nested() or dtype in (pl.Binary, pl.Object) or isinstance(dtype, _EXTENSION)


def clean(text: pl.Expr, marks: Sequence[str] = (), *, composed: bool = True) -> pl.Expr:
    """Text without the white space around it (Unicode's White_Space), composed (NFC).

    Null where nothing is left, or one of the marks. Numbers, truth values and moments need not be composed.
    """
    text = text.str.strip_chars()
    if composed:  # which is slow, and passes over nulls quickly
        odd = pl.when(text.str.len_bytes() != text.str.len_chars()).then(text)
        text = pl.coalesce(odd.str.normalize("NFC"), text)
    return text.replace(list(dict.fromkeys(["", *marks])), None)


def cleaned(frame: pl.LazyFrame) -> pl.LazyFrame:
    """A table whose texts are clean."""
    texts = [name for name, dtype in frame.collect_schema().items() if dtype == pl.String]
    return frame.with_columns(clean(pl.col(name)) for name in texts)


def present(column: Column, dtype: pl.DataType) -> pl.Expr:
    """The column's values as they are stored, null where that means "no value"; texts are clean."""
    value = pl.col(column.name)
    if dtype in _TEXTS:
        text = clean(value.cast(pl.String), _marks(column), composed=column.kind is Kind.CATEGORICAL)
        return text.alias(column.name)
    value = value.fill_nan(None) if dtype.is_float() else value
    if dtype.is_numeric() and (marks := numeric_marks(column)):
        value = pl.when(~value.cast(pl.Float64).is_in(marks)).then(value)
    return value


def read(column: Column, dtype: pl.DataType, *, of: str | None = None) -> pl.Expr:
    """The column's values in its kind's dtype: Float64, Boolean, String or Datetime("us", "UTC").

    Values that are missing or cannot be read are null; so is NaN.

    Args:
        of: the column that holds the values as `present` gives them, where that was done before.

    Raises:
        SchemaError: no value of `dtype` can be read as this kind.
    """
    value = present(column, dtype) if of is None else pl.col(of)
    if dtype in _TEXTS:
        expression: pl.Expr | None = _OF_TEXT[column.kind](value, column)
    else:
        expression = _STORED[column.kind](value, column, dtype)
    if expression is None:
        raise SchemaError(
            f"A column of kind {column.kind} must hold values that can be read so",
            observed=f"column {column.name!r} of type {dtype}",
            remedy=f"correct data.kinds.{column.name}, the kind and format in the schema, or ignore the column",
        )
    return expression.alias(column.name)


def read_series(series: pl.Series, column: Column) -> tuple[pl.Series, pl.Series]:
    """What `present` and `read` give of a column's values, without a plan for Polars to carry out where they are text.

    Raises:
        SchemaError: as `read`.
    """
    frame = series.alias(column.name).to_frame()
    if series.dtype == pl.String and series.len() <= _FEW:  # what a request has: Polars takes as long as for many
        marks = _marks(column)
        clean_ones = [one and scalars.clean(one) for one in series]
        found = pl.Series(column.name, [one if one and one not in marks else None for one in clean_ones], pl.String)
    else:
        found = frame.select(present(column, series.dtype)).to_series()
    return found, found.to_frame().select(read(column, series.dtype, of=column.name)).to_series()


def _marks(column: Column) -> list[str]:
    return list(dict.fromkeys([*column.missing_marks, *(NAN if column.kind is Kind.NUMERIC else ())]))


def numeric_marks(column: Column) -> list[float]:
    """Those marks that are numbers, like -999: where numbers are stored as such, they are compared as numbers."""
    marks = []
    for mark in column.missing_marks:
        with contextlib.suppress(ValueError):
            marks.append(float(mark))
    return [mark for mark in marks if math.isfinite(mark)]


def _number(value: pl.Expr, column: Column, dtype: pl.DataType) -> pl.Expr | None:
    if dtype in (pl.Int64, pl.UInt64, pl.Int128):
        exact = value.is_between(-EXACT, EXACT)
        return pl.when(exact).then(value).otherwise(None).cast(pl.Float64)
    if dtype == pl.Duration:
        return seconds(value, dtype)
    if dtype == pl.Time:
        return value.cast(pl.Int64) / 1e9
    if dtype.is_numeric() or dtype in (pl.Boolean, pl.Null):
        return value.cast(pl.Float64).fill_nan(None)
    return None


def seconds(duration: Values, dtype: pl.DataType) -> Values:
    """Durations in seconds. Milliseconds are divided as they are: as microseconds, those of 300,000 years overflow."""
    if dtype == pl.Duration("ms"):
        return duration.to_physical() / 1e3
    return duration.dt.total_microseconds() / 1e6


def _number_of(text: pl.Expr, column: Column) -> pl.Expr:
    found = parsing.number(text, column)
    # a whole number beyond what float64 holds is refused, as one that is stored as such
    whole = pl.when(found.abs() >= EXACT).then(text).cast(pl.Int128, strict=False)
    return pl.when(~(whole.abs() > EXACT).fill_null(False)).then(found)


def _boolean(value: pl.Expr, column: Column, dtype: pl.DataType) -> pl.Expr | None:
    if dtype in (pl.Boolean, pl.Null):
        return value.cast(pl.Boolean)
    if dtype.is_numeric():
        return pl.when(value == 1).then(True).when(value == 0).then(False)
    return None


def _boolean_of(text: pl.Expr, column: Column) -> pl.Expr:
    word = text.str.to_lowercase()
    return pl.when(word.is_in(TRUE)).then(True).when(word.is_in(FALSE)).then(False)


def category(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column's values as labels: whole numbers without a fraction, "true" and "false"."""
    return read(Column(name=name, kind=Kind.CATEGORICAL), dtype)


def _category(value: pl.Expr, column: Column, dtype: pl.DataType) -> pl.Expr | None:
    if dtype.is_float():  # 3.0 is the category "3": an integer column with gaps often arrives as floats
        whole = (value == value.round()) & (value.abs() <= EXACT)
        return pl.when(whole).then(value.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(value.cast(pl.String))
    if dtype.is_decimal():
        return _one_spelling(value.cast(pl.String))
    if dtype == pl.Duration:
        return value.dt.to_string("iso")
    return None if unreadable(dtype) else value.cast(pl.String)


def _one_spelling(text: pl.Expr) -> pl.Expr:
    """Numbers in the spelling of their category: +3, 3. and 3.0 as 3, 2.50 as 2.5. No digit that counts is lost."""
    odd = pl.when(text.str.contains(r"[.+]|^-0$")).then(text)
    one = odd.str.replace(r"^\+?(-?\d+)(?:\.0*|(\.\d*[1-9])0*)?$", "${1}${2}").str.replace("^-0$", "0")
    return pl.coalesce(one, text)


def _timestamp(value: pl.Expr, column: Column, dtype: pl.DataType) -> pl.Expr | None:
    if isinstance(dtype, pl.Datetime):
        zoned = value.dt.convert_time_zone("UTC") if dtype.time_zone else value.dt.replace_time_zone("UTC")
        return zoned.dt.cast_time_unit("us")
    if dtype in (pl.Date, pl.Null):
        return value.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if dtype.is_numeric():
        return epochs.instant(value if dtype.is_integer() else value.cast(pl.Float64), column)
    return None


def _timestamp_of(text: pl.Expr, column: Column) -> pl.Expr:
    """By the notation of the column; what that does not read, as ISO 8601."""
    if column.format is None:
        return parsing.iso(text)
    if column.format in EPOCHS:
        read = epochs.instant(text.cast(pl.Float64, strict=False).fill_nan(None), column)
    else:
        read = parsing.timestamp(text, column.format)
    return pl.coalesce(read, parsing.iso(pl.when(read.is_null()).then(text)))


_STORED = {
    Kind.NUMERIC: _number,
    Kind.BOOLEAN: _boolean,
    Kind.CATEGORICAL: _category,
    Kind.TIMESTAMP: _timestamp,
}
_OF_TEXT: dict[Kind, Callable[[pl.Expr, Column], pl.Expr]] = {
    Kind.NUMERIC: _number_of,
    Kind.BOOLEAN: _boolean_of,
    Kind.CATEGORICAL: lambda text, column: _one_spelling(text) if column.numeric_categories else text,
    Kind.TIMESTAMP: _timestamp_of,
}
