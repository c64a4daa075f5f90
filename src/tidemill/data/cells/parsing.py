"""Numbers and moments as they are written in text, read by a notation; null where it does not fit."""

import re

import polars as pl

from tidemill.data import scalars
from tidemill.data.schema import Column

TIMESTAMP = pl.Datetime("us", "UTC")
OR = " | "
"""Stands between the patterns of a format that has several."""


def number(text: pl.Expr, column: Column) -> pl.Expr:
    """Text as Float64; null where it is not wholly one number in the column's notation."""
    text = without_unit(text, column)
    if column.thousands is not None:
        separator = f"[{column.thousands}]" if column.thousands != " " else "[ \u00a0\u202f]"
        point = "," if column.decimal_comma else r"\."
        whole = rf"(?:\d+|\d{{1,3}}(?:{separator}\d{{3}})+)"
        text = pl.when(text.str.contains(rf"^[+-]?{whole}(?:{point}\d*)?$")).then(text.str.replace_all(separator, ""))
    if column.decimal_comma:
        pointed = text.str.replace(",", ".", literal=True)
        text = pl.when(~text.str.contains(".", literal=True)).then(pointed)
    return text.cast(pl.Float64, strict=False).fill_nan(None)


_MINUSES = "[\u2212\u2012\u2013\ufe63\uff0d]"


def without_unit(text: pl.Expr, column: Column) -> pl.Expr:
    """A number's text without the column's unit, and with "-" before it where it is negative."""
    text = text.str.strip_chars().str.replace(f"^([^\\d]*){_MINUSES}", "${1}-")
    if column.unit is not None:
        part = re.escape(column.unit)
        text = text.str.replace(rf"^([(+-]?)\s*{part}\s*", "${1}").str.replace(rf"\s*{part}(\)?-?)$", "${1}")
        text = text.str.replace(r"^([(+-])\s+", "${1}")
    if column.accounting:
        text = text.str.replace(r"^\(\s*([^()+-]+?)\s*\)$", "-${1}").str.replace(r"^([^()+-]+?)-$", "-${1}")
    return text


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


def iso(text: pl.Expr) -> pl.Expr:
    """ISO 8601 in any of its forms."""
    return text.map_batches(_iso_of, return_dtype=pl.Int64, is_elementwise=True).cast(TIMESTAMP)


def _iso_of(text: pl.Series) -> pl.Series:
    """Microseconds. In plain Python: Polars' engine within Polars' engine may lock up for ever."""
    texts = text.to_list()
    moments = {one: None if one is None else scalars.moment(one) for one in set(texts)}
    return pl.Series(text.name, [moments[one] for one in texts], pl.Int64)
