"""How numbers and moments are written in text: the notations that fit a sample of a column's values."""

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from tidemill.data.cells import parsing, values
from tidemill.data.cells.epochs import EPOCHS
from tidemill.data.schema import Column
from tidemill.errors import SettingsError
from tidemill.settings import Kind

DATES = (
    "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y",
    "%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y",
    "%a, %d %b %Y", "%Y%m%d",
)  # fmt: skip
"""Where two read a column equally well the earlier is taken: 01/02/2013 is January 2nd unless a day says otherwise."""

TIMES = ("{gap}%H:%M:%S%.f", "{gap}%H:%M", "{gap}%I:%M:%S %p", "{gap}%I:%M %p")
ZONES = ("", "%#z", " UTC", " GMT")
MOST_FORMS = 4
"""Notations that one column may mix: dates, and dates with times of several precisions."""

CODES = frozenset(
    {
        "USD", "EUR", "GBP", "JPY", "CNY", "RMB", "INR", "CHF", "CAD", "AUD", "NZD", "SEK", "NOK", "DKK", "PLN", "CZK",
        "HUF", "RON", "BGN", "TRY", "RUB", "UAH", "BRL", "MXN", "ARS", "CLP", "COP", "PEN", "ZAR", "KRW", "TWD", "HKD",
        "SGD", "THB", "IDR", "MYR", "PHP", "VND", "ILS", "AED", "SAR", "EGP", "NGN", "KES", "PKR",
        "KR", "KR.", "FR", "FR.", "RS", "RS.", "ZŁ", "KČ", "FT", "LEI", "US$", "A$", "C$", "R$", "NT$", "HK$", "S$",
    }
)  # fmt: skip
"""What stands for money before or after a number, beside the symbols that Unicode has for it."""

_PREFIX = re.compile(r"^[(+\-−–]?\s*([^\d\s.,'()+\-−–]{1,4}\.?|[^\d\s'()+\-−–]{1,4}\.?)\s*[(+\-−–]?\s*\d")
_SUFFIX = re.compile(r"\d[.)]?\s*([^\d\s.,'()+\-−–]{1,4}\.?)\)?-?$")
_ACCOUNTING = re.compile(r"^[^()]*\([^()]*\d[^()]*\)[^()]*$|\d-$")
_GROUPED_BY_COMMA = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")


def numbers(name: str, sample: Sequence[str], *, plain: int, any_unit: bool = False) -> list[Column]:
    """Notations that read nearly all of the sample's texts, none of which is a plain number; the likeliest first.

    Args:
        plain: how many plain numbers the column has as well.
        any_unit: take whatever stands beside the numbers for a unit, not money and percent alone.
    """
    simple = Column(name=name, kind=Kind.NUMERIC)
    comma = replace(simple, decimal_comma=True)
    grouped = [replace(simple, thousands=separator) for separator in (",", " ", "'")]
    bases = [simple, comma, *grouped, replace(comma, thousands="."), replace(comma, thousands=" ")]
    # "1,234" alone could be either; beside plain numbers the comma groups thousands
    if plain and all(_GROUPED_BY_COMMA.fullmatch(text) for text in sample):
        bases = [simple, *grouped, comma]
    extras = _unit_and_minus(sample, any_unit=any_unit)
    if extras.get("unit") == "%" and plain and not any_unit:  # 0.5 beside 12%: which of them is a share?
        extras = {}
    with_unit = [replace(base, **extras) for base in bases] if extras else []
    return matching([*bases, *with_unit], sample)


def _unit_and_minus(sample: Sequence[str], *, any_unit: bool) -> dict[str, Any]:
    """The unit and the way to write minus that the sample shows, as fields of a column."""
    found = {
        match[1]
        for text in sample
        if (match := _PREFIX.search(text) or _SUFFIX.search(text)) and (any_unit or _is_unit(match[1]))
    }
    extras: dict[str, Any] = {"unit": found.pop()} if len(found) == 1 else {}
    if any(_ACCOUNTING.search(text) for text in sample):
        extras["accounting"] = True
    return extras


def _is_unit(text: str) -> bool:
    return text in ("%", "‰") or text.upper() in CODES or all(unicodedata.category(letter) == "Sc" for letter in text)


def timestamps(name: str, sample: Sequence[str]) -> list[Column]:
    """Notations that read nearly all of the sample; behind them those that mix times of several precisions."""
    sample = [text for text in sample if any(character.isdigit() for character in text)]
    if not sample:
        return []
    clocks = sum(":" in text for text in sample)
    gap = "T" if sum(re.search(r"\dT\d", text) is not None for text in sample) * 2 > clocks else " "
    single: list[Column] = []
    mixed: list[Column] = []
    for date in DATES:
        times = [date + time.format(gap=gap) + zone for time, zone in itertools.product(TIMES, ZONES)]
        patterns = [*([date] if clocks * 2 <= len(sample) else []), *(times if clocks * 2 > len(sample) else [])]
        found = matching([Column(name=name, kind=Kind.TIMESTAMP, format=pattern) for pattern in patterns], sample)
        single += found
        if clocks:
            mixed += _mixed(name, [*times, date], sample)
    return [*single, *(column for column in mixed if column.format not in {one.format for one in single})]


def _mixed(name: str, patterns: Sequence[str], sample: Sequence[str]) -> list[Column]:
    """A notation of several patterns that together read nearly all, where no single one reads all."""
    masks = _masks([Column(name=name, kind=Kind.TIMESTAMP, format=pattern) for pattern in patterns], sample)
    chosen: list[str] = []
    rest = pl.Series([True] * len(sample))
    while rest.any() and len(chosen) < MOST_FORMS:
        gains = [int((mask & rest).sum()) for mask in masks]
        best = max(range(len(gains)), key=gains.__getitem__)
        if not gains[best]:
            break
        chosen.append(patterns[best])
        rest = rest & ~masks[best]
    if len(chosen) < 2 or rest.sum() > 0.1 * len(sample):
        return []
    return [Column(name=name, kind=Kind.TIMESTAMP, format=parsing.OR.join(chosen))]


def matching(columns: list[Column], sample: Sequence[str]) -> list[Column]:
    """Those that read nearly all of the sample; a year before 1000, or of one digit, is no year."""
    masks = _masks(columns, sample)
    return [column for column, mask in zip(columns, masks, strict=True) if mask.sum() >= 0.9 * len(sample)]


def _masks(columns: Sequence[Column], sample: Sequence[str]) -> list[pl.Series]:
    if not columns:
        return []
    texts = pl.DataFrame({columns[0].name: sample}, schema={columns[0].name: pl.String})
    reads = []
    for column in columns:
        value = reading(column, pl.String())
        read = value.is_not_null()
        if column.kind is Kind.TIMESTAMP:
            read &= value.dt.year() >= 1000
            if "%y" in str(column.format):
                read &= pl.col(column.name).str.contains(r"[./-]\d{2}(?:\D|$)")
        reads.append(read.fill_null(False))
    return texts.select(read.alias(str(index)) for index, read in enumerate(reads)).get_columns()


def reading(column: Column, dtype: pl.DataType) -> pl.Expr:
    """As `values.read`, by the column's notation of timestamps alone."""
    if column.kind is Kind.TIMESTAMP and dtype == pl.String and column.format not in (None, *EPOCHS):
        return parsing.timestamp(pl.col(column.name), str(column.format)).alias(column.name)
    return values.read(column, dtype)


def stated(name: str, text: str) -> Column:
    """The column that `data.formats` describes: a strptime pattern, a unit of epochs, or an example of a number.

    Raises:
        SettingsError: it is none of them.
    """
    if text in EPOCHS or re.search(r"%[-_#]?[A-Za-z]", text):
        return Column(name=name, kind=Kind.TIMESTAMP, format=text)
    extras = _unit_and_minus([text], any_unit=True)
    digits = text.replace(str(extras.get("unit", "")), "") if extras else text
    digits = digits.strip(" ()-+−")
    if found := re.fullmatch(r"\d{1,3}(?:([.,' ])\d{3})+(?:([.,])\d*)?|\d+(?:([.,])\d*)?", digits):
        thousands, point = found[1], found[2] or found[3]
        if thousands is None or thousands != point:
            comma = point == "," or (thousands == "." and point is None)
            return Column(name=name, kind=Kind.NUMERIC, decimal_comma=comma, thousands=thousands, **extras)
    raise SettingsError(
        "A format is a strptime pattern like %d.%m.%Y, one of epoch_s, epoch_ms, epoch_us, or an example of a number "
        "like 1.234,5 or $1,234.5",
        observed=f"data.formats.{name} = {text!r}",
        remedy="correct it, or leave it out to have the notation found",
    )
