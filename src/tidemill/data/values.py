"""How stored values are read as a column's kind: the one place that inference and typing share.

`read` gives a column's values in the dtype of a typed table, null where missing or unreadable;
`missing` tells the two apart.
"""

import contextlib
import math
import re

import polars as pl

from tidemill.data.raw import EXACT
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

OR = " | "
"""Stands between the patterns of a format that has several."""

TRUE = ("true", "yes", "t", "y", "1")
FALSE = ("false", "no", "f", "n", "0")

EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Microseconds in one unit."""

_EXTENSION = getattr(pl, "BaseExtension", ())  # Polars has extension types since 1.36
TIMESTAMP = pl.Datetime("us", "UTC")


def unreadable(dtype: pl.DataType) -> bool:
    """Whether no kind reads a type: nested values, bytes, types that only their maker knows."""
    return dtype.is_nested() or dtype in (pl.Binary, pl.Object) or isinstance(dtype, _EXTENSION)


def read(column: Column, dtype: pl.DataType) -> pl.Expr:
    """The column's values in its kind's dtype: Float64, Boolean, String or Datetime("us", "UTC").

    Values that are missing or cannot be read are null; so is NaN.

    Raises:
        SchemaError: no value of `dtype` can be read as this kind.
    """
    value = pl.col(column.name)
    if column.missing_marks and dtype == pl.String:
        value = pl.when(value.is_in(column.missing_marks)).then(None).otherwise(value)
    if dtype.is_numeric() and (marks := _numeric_marks(column)):
        value = pl.when(~value.cast(pl.Float64).is_in(marks)).then(value)
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
            observed=f"column {column.name!r} of type {dtype}"
            + (f" with format {column.format!r}" if column.kind is Kind.TIMESTAMP else ""),
            remedy=f"correct data.kinds.{column.name}, the kind and format in the schema, or ignore the column",
        )
    return expression.alias(column.name)


def missing(column: Column, dtype: pl.DataType) -> pl.Expr:
    """True where the stored value means "no value"."""
    value = pl.col(column.name)
    mask = value.is_null()
    if dtype == pl.String:
        mask |= value.is_in(["", *column.missing_marks])
    elif dtype.is_float():
        mask |= value.is_nan()
    if dtype.is_numeric() and (marks := _numeric_marks(column)):
        mask |= value.cast(pl.Float64).is_in(marks)
    return mask.fill_null(True)


def _numeric_marks(column: Column) -> list[float]:
    """Those marks that are numbers, like -999: where numbers are stored as such, they are compared as numbers."""
    marks = []
    for mark in column.missing_marks:
        with contextlib.suppress(ValueError):
            marks.append(float(mark))
    return [mark for mark in marks if math.isfinite(mark)]


def _number(value: pl.Expr, column: Column, dtype: pl.DataType) -> pl.Expr | None:
    if dtype == pl.String:
        return number(
            value,
            decimal_comma=column.decimal_comma,
            thousands=column.thousands,
            unit=column.unit,
            accounting=column.accounting,
        )
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


def number(
    text: pl.Expr, *, decimal_comma: bool, thousands: str | None, unit: str | None = None, accounting: bool = False
) -> pl.Expr:
    """Text as Float64; null where it is not wholly one number in this notation. See `Column` for the arguments."""
    text = undressed(text, unit=unit, accounting=accounting)
    if thousands is not None:
        separator = f"[{thousands}]" if thousands != " " else "[ \u00a0\u202f]"
        point = "," if decimal_comma else r"\."
        whole = rf"(?:\d+|\d{{1,3}}(?:{separator}\d{{3}})+)"
        text = pl.when(text.str.contains(rf"^[+-]?{whole}(?:{point}\d*)?$")).then(text.str.replace_all(separator, ""))
    if decimal_comma:
        pointed = text.str.replace(",", ".", literal=True)
        text = pl.when(~text.str.contains(".", literal=True)).then(pointed)
    return text.cast(pl.Float64, strict=False).fill_nan(None)


_MINUSES = "[\u2212\u2012\u2013\ufe63\uff0d]"


def undressed(text: pl.Expr, *, unit: str | None, accounting: bool) -> pl.Expr:
    """A number's text without its unit, and with "-" before it where it is negative."""
    text = text.str.strip_chars().str.replace(f"^([^\\d]*){_MINUSES}", "${1}-")
    if unit is not None:
        part = re.escape(unit)
        text = text.str.replace(rf"^([(+-]?)\s*{part}\s*", "${1}").str.replace(rf"\s*{part}(\)?-?)$", "${1}")
        text = text.str.replace(r"^([(+-])\s+", "${1}")
    if accounting:
        text = text.str.replace(r"^\(\s*([^()+-]+?)\s*\)$", "-${1}").str.replace(r"^([^()+-]+?)-$", "-${1}")
    return text


def _boolean(value: pl.Expr, column: Column, dtype: pl.DataType) -> pl.Expr | None:
    if dtype in (pl.Boolean, pl.Null):
        return value.cast(pl.Boolean)
    if dtype == pl.String:
        word = value.str.strip_chars().str.to_lowercase()
        return pl.when(word.is_in(TRUE)).then(True).when(word.is_in(FALSE)).then(False)
    if dtype.is_numeric():
        return pl.when(value == 1).then(True).when(value == 0).then(False)
    return None


def category(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column's values as labels: whole numbers without a fraction, "true" and "false"."""
    expression = _category(pl.col(name), Column(name=name, kind=Kind.CATEGORICAL), dtype)
    assert expression is not None
    return expression


def _category(value: pl.Expr, column: Column, dtype: pl.DataType) -> pl.Expr | None:
    if dtype == pl.String:
        return pl.when(value != "").then(value)
    if dtype.is_float():  # 3.0 is the category "3": an integer column with gaps often arrives as floats
        whole = (value == value.round()) & (value.abs() <= EXACT)
        texts = pl.when(whole).then(value.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(value.cast(pl.String))
        return pl.when(value.is_not_nan()).then(texts)
    return None if unreadable(dtype) else value.cast(pl.String)


def _timestamp(value: pl.Expr, column: Column, dtype: pl.DataType) -> pl.Expr | None:
    if dtype == pl.String and column.format in EPOCHS:
        value, dtype = value.str.strip_chars().cast(pl.Float64, strict=False).fill_nan(None), pl.Float64()
    if dtype == pl.String and column.format is not None:
        return timestamp(value, column.format)
    if isinstance(dtype, pl.Datetime):
        zoned = value.dt.convert_time_zone("UTC") if dtype.time_zone else value.dt.replace_time_zone("UTC")
        return zoned.dt.cast_time_unit("us")
    if dtype in (pl.Date, pl.Null):
        return value.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if dtype.is_numeric() and column.format in EPOCHS:
        ticks = (value.cast(pl.Float64) * EPOCHS[column.format]) if dtype.is_float() else value * EPOCHS[column.format]
        return ticks.cast(pl.Int64, strict=False).cast(TIMESTAMP)
    return None


def timestamp(text: pl.Expr, pattern: str) -> pl.Expr:
    """Text by a strptime pattern (chrono's; `%#z` reads any offset) as UTC; without an offset it is UTC already.

    Of several patterns the first that reads it counts.
    """
    if OR in pattern:
        return pl.coalesce(timestamp(text, part) for part in pattern.split(OR))
    moment = text.str.strip_chars().str.to_datetime(pattern, time_unit="us", strict=False)
    if "z" not in pattern.rsplit("%", 1)[-1]:
        moment = moment.dt.replace_time_zone("UTC")
    return moment
