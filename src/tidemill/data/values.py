"""How stored values are read as a column's kind: the one place that inference, typing and every door share.

`read` gives a column's values in the dtype of a typed table, null where missing or unreadable;
`missing` tells the two apart. Text loses the white space around it and is composed (NFC) before anything else.
"""

import contextlib
import math
from collections.abc import Callable, Sequence

import polars as pl

from tidemill.data import epochs, parsing, plain
from tidemill.data.epochs import EPOCHS as EPOCHS
from tidemill.data.parsing import TIMESTAMP as TIMESTAMP
from tidemill.data.refusals import EXACT
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


def clean(text: pl.Expr) -> pl.Expr:
    """Text without the white space around it (Unicode's White_Space), composed (NFC); null where nothing is left."""
    return text.map_batches(_clean, return_dtype=pl.String, is_elementwise=True)


def cleaned(frame: pl.LazyFrame) -> pl.LazyFrame:
    """A table whose texts are clean."""
    return frame.with_columns(clean(pl.col(pl.String)))


def present(column: Column, dtype: pl.DataType) -> pl.Expr:
    """The column's values as they are stored, null where that means "no value"; texts are clean."""
    value = pl.col(column.name)
    if dtype in _TEXTS:
        return value.map_batches(
            lambda series: _present_of(series, column), return_dtype=pl.String, is_elementwise=True
        )
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
        # within one function, as Polars would clean a text anew for every place where an expression has it
        expression: pl.Expr | None = value.map_batches(
            lambda series: _OF_TEXT[column.kind](series, column), return_dtype=DTYPES[column.kind], is_elementwise=True
        )
    else:
        readers = {
            Kind.NUMERIC: _number,
            Kind.BOOLEAN: _boolean,
            Kind.CATEGORICAL: _category,
            Kind.TIMESTAMP: _timestamp,
        }
        expression = readers[column.kind](value, column, dtype)
    if expression is None:
        raise SchemaError(
            f"A column of kind {column.kind} must hold values that can be read so",
            observed=f"column {column.name!r} of type {dtype}",
            remedy=f"correct data.kinds.{column.name}, the kind and format in the schema, or ignore the column",
        )
    return expression.alias(column.name)


def missing(column: Column, dtype: pl.DataType, *, of: str | None = None) -> pl.Expr:
    """True where the stored value means "no value". of: as for `read`."""
    return (present(column, dtype) if of is None else pl.col(of)).is_null()


def read_series(series: pl.Series, column: Column) -> tuple[pl.Series, pl.Series]:
    """What `present` and `read` give of a column's values, without a plan for Polars to carry out where they are text.

    Raises:
        SchemaError: as `read`.
    """
    if series.dtype in _TEXTS:
        found = _present_of(series, column)
        return found, _OF_TEXT[column.kind](found, column)
    frame = series.alias(column.name).to_frame()
    table = frame.select(present(column, series.dtype).alias("found"), read(column, series.dtype).alias("read"))
    return table["found"], table["read"]


def _present_of(text: pl.Series, column: Column) -> pl.Series:
    marks = [*column.missing_marks, *(NAN if column.kind is Kind.NUMERIC else ())]
    if text.len() <= _FEW and text.dtype == pl.String:  # what a request has: Polars takes as long for one as for many
        found = [one and plain.clean(one) for one in text]
        return pl.Series(text.name, [one if one and one not in marks else None for one in found], pl.String)
    return _without(_clean(text.cast(pl.String)), marks)


def _clean(text: pl.Series) -> pl.Series:
    text = text.str.strip_chars()
    # looking for a letter that is not ASCII takes a twentieth of the time of composing
    if text.str.len_bytes().sum() != text.str.len_chars().sum():
        text = text.str.normalize("NFC")
    return _without(text, [""])


def _without(text: pl.Series, marks: Sequence[str]) -> pl.Series:
    mask = text.is_in(marks) if len(marks) > 1 else text == marks[0] if marks else None
    return text if mask is None or not mask.any() else text.set(mask, None)


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
        return value.dt.total_microseconds() / 1e6
    if dtype == pl.Time:
        return value.cast(pl.Int64) / 1e9
    if dtype.is_numeric() or dtype in (pl.Boolean, pl.Null):
        return value.cast(pl.Float64).fill_nan(None)
    return None


def _number_of(text: pl.Series, column: Column) -> pl.Series:
    reading = parsing.number(
        pl.first(),
        decimal_comma=column.decimal_comma,
        thousands=column.thousands,
        unit=column.unit,
        accounting=column.accounting,
    )
    found = text.to_frame().select(reading).to_series()
    beyond = (found.abs() >= EXACT).fill_null(False)
    if beyond.any():  # a whole number is refused there, as one that is stored as such
        whole = text.set(~beyond, None).cast(pl.Int128, strict=False)
        found = found.set((whole.abs() > EXACT).fill_null(False), None)
    return found


def _boolean(value: pl.Expr, column: Column, dtype: pl.DataType) -> pl.Expr | None:
    if dtype in (pl.Boolean, pl.Null):
        return value.cast(pl.Boolean)
    if dtype.is_numeric():
        return pl.when(value == 1).then(True).when(value == 0).then(False)
    return None


def _boolean_of(text: pl.Series, column: Column) -> pl.Series:
    word = pl.first().str.to_lowercase()
    return text.to_frame().select(pl.when(word.is_in(TRUE)).then(True).when(word.is_in(FALSE)).then(False)).to_series()


def category(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column's values as labels: whole numbers without a fraction, "true" and "false"."""
    return read(Column(name=name, kind=Kind.CATEGORICAL), dtype)


def _category(value: pl.Expr, column: Column, dtype: pl.DataType) -> pl.Expr | None:
    if dtype.is_float():  # 3.0 is the category "3": an integer column with gaps often arrives as floats
        whole = (value == value.round()) & (value.abs() <= EXACT)
        return pl.when(whole).then(value.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(value.cast(pl.String))
    if dtype.is_decimal():
        return value.cast(pl.String).map_batches(_one_spelling, return_dtype=pl.String, is_elementwise=True)
    return None if unreadable(dtype) else value.cast(pl.String)


def _category_of(text: pl.Series, column: Column) -> pl.Series:
    return _one_spelling(text) if column.numeric_categories else text


def _one_spelling(text: pl.Series) -> pl.Series:
    """Numbers in the spelling of their category: +3, 3. and 3.0 as 3, 2.50 as 2.5. No digit that counts is lost."""
    if not text.str.contains(r"[.+]|^-0$").any():
        return text
    return text.str.replace(r"^\+?(-?\d+)(?:\.0*|(\.\d*[1-9])0*)?$", "${1}${2}").str.replace("^-0$", "0")


def _timestamp(value: pl.Expr, column: Column, dtype: pl.DataType) -> pl.Expr | None:
    if isinstance(dtype, pl.Datetime):
        zoned = value.dt.convert_time_zone("UTC") if dtype.time_zone else value.dt.replace_time_zone("UTC")
        return zoned.dt.cast_time_unit("us")
    if dtype in (pl.Date, pl.Null):
        return value.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if dtype.is_numeric():
        return epochs.instant(value if dtype.is_integer() else value.cast(pl.Float64), column)
    return None


def _timestamp_of(text: pl.Series, column: Column) -> pl.Series:
    """By the notation of the column; what that does not read, as ISO 8601."""
    if column.format is None:
        return parsing.iso(text)
    if column.format in EPOCHS:
        reading = epochs.instant(pl.first().cast(pl.Float64, strict=False).fill_nan(None), column)
    else:
        reading = parsing.timestamp(pl.first(), column.format)
    found = text.to_frame().select(reading).to_series()
    if found.null_count() == text.null_count():
        return found
    rest = found.is_null()
    return found.zip_with(~rest, parsing.iso(text.set(~rest, None)))


_OF_TEXT: dict[Kind, Callable[[pl.Series, Column], pl.Series]] = {
    Kind.NUMERIC: _number_of,
    Kind.BOOLEAN: _boolean_of,
    Kind.CATEGORICAL: _category_of,
    Kind.TIMESTAMP: _timestamp_of,
}
