"""What kind of values a column holds, decided over the whole column.

Every notation that fits a sample of a text column's values is tried on all of them, and the one that reads
the most is kept.
"""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import polars as pl

from tidemill.data import values
from tidemill.data.facts import READABLE, Facts
from tidemill.data.raw import EXACT
from tidemill.data.schema import Column
from tidemill.data.sources import collect
from tidemill.settings import Kind

DATES = (
    "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y",
    "%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y",
    "%a, %d %b %Y", "%Y%m%d",
)  # fmt: skip
"""Where two read a column equally well the earlier is taken: 01/02/2013 is January 2nd unless a day says otherwise."""

TIMES = ("{gap}%H:%M:%S%.f", "{gap}%H:%M", "{gap}%I:%M:%S %p", "{gap}%I:%M %p")
ZONES = ("", "%#z")
WORDS = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"})


def decide(
    frame: pl.LazyFrame, found: Mapping[str, Facts], wanted: Mapping[str, Kind], times: Collection[str]
) -> dict[str, Column | None]:
    """Kind and notation of every column in `found`; None where nothing reads a column as its wanted kind.

    Args:
        wanted: the kind that is already settled, by column.
        times: text columns that are tried as timestamps before numbers ("20130131").
    """
    tries: dict[str, list[Column]] = {}
    for name, fact in found.items():
        if fact.dtype == pl.String:
            tries[name] = _notations(name, fact, wanted.get(name), first_time=name in times)
        else:
            tries[name] = [_stored(name, fact, wanted.get(name))]
    open_ = {name: columns for name, columns in tries.items() if len(columns) > 1}
    reads = _reads(frame, {name: columns[:-1] for name, columns in open_.items()}, found)
    decided: dict[str, Column | None] = {}
    for name, columns in tries.items():
        if name not in open_:
            decided[name] = columns[0] if wanted.get(name, columns[0].kind) is columns[0].kind else None
            continue
        counts = reads[name]
        best = max(range(len(counts)), key=counts.__getitem__)
        enough = counts[best] > 0 if name in wanted else counts[best] >= READABLE * found[name].values > 0
        decided[name] = columns[best] if enough else None if name in wanted else columns[-1]
    return decided


def written_as_numbers(fact: Facts) -> bool:
    """Whether texts, none of them a plain number, are numbers in another notation: 1.234,5 or 1 234."""
    return len(_numbers("text", fact)) > 1


def _reads(frame: pl.LazyFrame, tries: Mapping[str, list[Column]], found: Mapping[str, Facts]) -> dict[str, list[int]]:
    """How many values each try reads: told from the different words, or in one pass if there are numbers as well."""
    counts = {}
    expressions = []
    for name, columns in tries.items():
        fact = found[name]
        reading = [values.read(column, fact.dtype) for column in columns]
        if fact.numbers:
            expressions += [read.count().alias(f"{index}:{name}") for index, read in enumerate(reading)]
        else:
            words = fact.words.rename({"text": name, "count": f"{name} count"})
            weights = [pl.col(f"{name} count").filter(read.is_not_null()).sum() for read in reading]
            counts[name] = list(words.select(weight.alias(str(i)) for i, weight in enumerate(weights)).row(0))
    if expressions:
        row = collect(frame.select(expressions)).row(0, named=True)
        counts |= {name: [row[f"{i}:{name}"] for i in range(len(tries[name]))] for name in tries if name not in counts}
    return counts


def _stored(name: str, fact: Facts, wanted: Kind | None) -> Column:
    """A column that is not text says its kind by its type."""
    dtype = fact.dtype
    if wanted is not None:
        pattern = _epoch(fact) if wanted is Kind.TIMESTAMP and dtype.is_numeric() else None
        column = Column(name=name, kind=wanted, format=pattern)
        values.read(column, dtype)  # refuses what cannot be
        return column
    if dtype == pl.Boolean:
        return Column(name=name, kind=Kind.BOOLEAN)
    if dtype in (pl.Date, pl.Datetime):
        return Column(name=name, kind=Kind.TIMESTAMP)
    inexact = max(abs(fact.smallest or 0), abs(fact.largest or 0)) > EXACT
    if (dtype.is_numeric() or dtype in (pl.Duration, pl.Time)) and not (inexact and dtype.is_integer()):
        return Column(name=name, kind=Kind.NUMERIC)
    return Column(name=name, kind=Kind.CATEGORICAL)


def _epoch(fact: Facts) -> str:
    """The unit in which the largest value lies before the year 2286."""
    largest = abs(fact.largest or 0)
    return next((unit for unit, limit in (("epoch_s", 1e10), ("epoch_ms", 1e13)) if largest < limit), "epoch_us")


def _notations(name: str, fact: Facts, wanted: Kind | None, *, first_time: bool) -> list[Column]:
    """What a text column may be, likeliest first; where nothing is settled, a category comes last."""
    category = Column(name=name, kind=Kind.CATEGORICAL, missing_marks=fact.marks)
    if wanted is Kind.CATEGORICAL or (fact.present == 0 and wanted is None):
        return [category]
    if wanted is None and not first_time and not fact.words.height and not fact.codes:
        return [Column(name=name, kind=Kind.NUMERIC, missing_marks=fact.number_marks)]
    tries: list[Column] = []
    if first_time or wanted is Kind.TIMESTAMP:
        tries += _timestamps(name, fact.first)
    if wanted is Kind.TIMESTAMP and fact.numbers:
        tries.append(Column(name=name, kind=Kind.TIMESTAMP, format=_epoch(fact)))
    if wanted in (None, Kind.NUMERIC) and not (wanted is None and fact.codes):
        tries += _numbers(name, fact)
    if wanted in (None, Kind.BOOLEAN):
        words = {text.strip().lower() for text in fact.sample}
        if wanted is Kind.BOOLEAN or any(words and words <= pair for pair in WORDS):
            tries.append(Column(name=name, kind=Kind.BOOLEAN))
    if wanted is None:
        tries += _timestamps(name, fact.sample)
    return [replace(column, missing_marks=fact.number_marks) for column in tries] + [category]


def _numbers(name: str, fact: Facts) -> list[Column]:
    plain = Column(name=name, kind=Kind.NUMERIC)
    if not fact.words.height:
        return [plain]
    comma = replace(plain, decimal_comma=True)
    grouped = [replace(plain, thousands=separator) for separator in (",", " ", "'")]
    others = [comma, *grouped, replace(comma, thousands="."), replace(comma, thousands=" ")]
    # "1,234" alone could be either; beside plain numbers the comma groups thousands
    if fact.numbers and all(re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+", text) for text in fact.sample):
        others = [*grouped, comma]
    return [plain, *_fitting(others, fact.sample)]


def _timestamps(name: str, sample: Sequence[str]) -> list[Column]:
    sample = [text for text in sample if any(character.isdigit() for character in text)]
    if not sample:
        return []
    clock = sum(":" in text for text in sample) * 2 > len(sample)
    gap = "T" if sum("T" in text for text in sample) * 2 > len(sample) else " "
    patterns = [
        date + time.format(gap=gap) + zone
        for date, time, zone in itertools.product(DATES, TIMES if clock else ("",), ZONES if clock else ("",))
    ]
    columns = [Column(name=name, kind=Kind.TIMESTAMP, format=pattern) for pattern in patterns]
    return _fitting(columns, sample)


def _fitting(columns: list[Column], sample: Sequence[str]) -> list[Column]:
    """Those that read nearly all of the sample; a year before 1000, or of one digit, is no year."""
    texts = pl.DataFrame({columns[0].name: sample}, schema={columns[0].name: pl.String})
    fits = []
    for column in columns:
        value = values.read(column, pl.String())
        if column.kind is Kind.TIMESTAMP and column.format is not None:
            value = values.timestamp(
                pl.col(column.name), column.format
            )  # by this notation alone: ISO 8601 is read by all
            plausible = value.dt.year() >= 1000
            if "%y" in str(column.format):
                plausible &= pl.col(column.name).str.contains(r"[./-]\d{2}(?:\D|$)")
            value = value.filter(plausible)
        fits.append(value.count() >= 0.9 * len(sample))
    kept = texts.select(fit.alias(str(index)) for index, fit in enumerate(fits)).row(0)
    return [column for column, keep in zip(columns, kept, strict=True) if keep]
