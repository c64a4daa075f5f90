"""What kind of values a column holds, decided over the whole column.

One pass over the table counts facts for every column. Then every notation that fits a sample of a text column's
values is tried on all of them, and the one that reads the most is kept.
"""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from tidemill.data import values
from tidemill.data.raw import EXACT
from tidemill.data.schema import Column
from tidemill.data.sources import collect
from tidemill.settings import Kind

READABLE = 0.99
"""Share of the values that a kind must read; rows with the others are quarantined, and counted there."""

SAMPLE = 300

_NO_WORDS = pl.DataFrame(schema={"text": pl.String, "count": pl.UInt32})

DATES = (
    "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y",
    "%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y",
    "%a, %d %b %Y", "%Y%m%d",
)  # fmt: skip
"""Where two read a column equally well the earlier is taken: 01/02/2013 is January 2nd unless a day says otherwise."""

TIMES = ("{gap}%H:%M:%S%.f", "{gap}%H:%M", "{gap}%I:%M:%S %p", "{gap}%I:%M %p")
ZONES = ("", "%#z")
WORDS = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Counts over the whole column.

    present: values that are not missing; smallest, largest: of the numbers, stored as such or as plain text.
    constant: every row has the same value.
    numbers: texts that are plain numbers; codes: those that a float would not keep ("007", 17 digits).
    words: every different text that is not a plain number nor means "missing", with its count.
    length: mean number of characters of `words`. marks: texts found that mean "missing".
    number_marks: those that do so among numbers and times. first: some values as they stand.
    """

    dtype: pl.DataType
    rows: int
    present: int
    smallest: float | None = None
    largest: float | None = None
    constant: bool = False
    numbers: int = 0
    codes: int = 0
    words: pl.DataFrame = field(default_factory=lambda: _NO_WORDS)
    length: float = 0.0
    marks: tuple[str, ...] = ()
    number_marks: tuple[str, ...] = ()
    first: tuple[str, ...] = ()

    @property
    def sample(self) -> list[str]:
        """Different texts that are not plain numbers and do not mean "missing" among such."""
        return self.words.filter(~pl.col("text").is_in(values.NUMBER_MARKS))["text"].head(SAMPLE).to_list()

    @property
    def values(self) -> int:
        """How many values a number or timestamp should be read from."""
        marked = self.words.filter(pl.col("text").is_in(values.NUMBER_MARKS))
        return self.present - int(marked["count"].sum())


def facts(frame: pl.LazyFrame, names: list[str]) -> dict[str, Facts]:
    """Facts of every named column, in one pass."""
    dtypes = frame.collect_schema()
    texts = [name for name in names if dtypes[name] == pl.String]
    # a stage of its own: Polars would parse the numbers once for every fact
    frame = frame.select(pl.col(names), *(_plain_number(name).alias(f"number of {name}") for name in texts))
    expressions = [pl.len().alias("rows")]
    for index, name in enumerate(names):
        counts = _text_counts(name) if name in texts else _counts(name, dtypes[name])
        expressions += [expression.alias(f"{index}:{fact}") for fact, expression in counts.items()]
    counted = collect(frame.select(expressions))
    rows = counted["rows"][0]
    found = {}
    for index, name in enumerate(names):
        own = {key.split(":", 1)[1]: counted[key] for key in counted.columns if key.startswith(f"{index}:")}
        found[name] = _text_facts(rows, own) if name in texts else _facts(dtypes[name], rows, own)
    return found


def _counts(name: str, dtype: pl.DataType) -> dict[str, pl.Expr]:
    value = pl.col(name)
    if values.unreadable(dtype) or dtype == pl.Null:
        return {"present": value.count()}
    if dtype.is_float():
        value = value.fill_nan(None)
    if dtype.is_numeric():
        return {
            "present": value.count(),
            "smallest": value.min().cast(pl.Float64),
            "largest": value.max().cast(pl.Float64),
        }
    return {"present": value.count(), "constant": value.n_unique() == 1}


def _plain_number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64, strict=False).fill_nan(None)


def _text_counts(name: str) -> dict[str, pl.Expr]:
    text, number = pl.col(name), pl.col(f"number of {name}")
    padded = text.filter(text.str.starts_with("0") & (text.str.len_bytes() > 1))
    long = text.filter(number.abs() > EXACT)
    return {
        "numbers": number.count(),
        "codes": padded.str.contains(r"^0\d+$").sum() + long.str.contains(r"^[+-]?\d+$").sum(),
        "words": text.filter(number.is_null() & (text != "")).value_counts().implode(),
        "first": text.drop_nulls().head(SAMPLE).implode(),
        "smallest": number.min(),
        "largest": number.max(),
    }


def _facts(dtype: pl.DataType, rows: int, counted: Mapping[str, pl.Series]) -> Facts:
    known = {key: series[0] for key, series in counted.items()}
    if "smallest" in known:
        known["constant"] = known["smallest"] == known["largest"] and known["present"] == rows
    return Facts(dtype=dtype, rows=rows, **known)


def _text_facts(rows: int, counted: Mapping[str, pl.Series]) -> Facts:
    single = {key: counted[key][0] for key in ("numbers", "codes", "smallest", "largest")}
    words = counted["words"].explode().struct.unnest()
    words = words.select(pl.col(words.columns[0]).alias("text"), pl.col("count")).drop_nulls().sort("text")
    length = (pl.col("text").str.len_chars() * pl.col("count")).sum() / pl.col("count").sum()
    number_marks = words.filter(pl.col("text").is_in(values.NUMBER_MARKS))
    marks = number_marks.filter(pl.col("text").is_in(values.MARKS))
    others = int(words["count"].sum()) - int(number_marks["count"].sum())
    among_numbers = single["numbers"] > 0 and single["numbers"] >= READABLE * (single["numbers"] + others)
    dropped = number_marks if among_numbers else marks
    words = words.filter(~pl.col("text").is_in(dropped["text"].implode()))
    present = single["numbers"] + words["count"].sum()
    one = words.height == 1 if not single["numbers"] else single["smallest"] == single["largest"] and not words.height
    return Facts(
        dtype=pl.String(),
        rows=rows,
        present=present,
        constant=one and present == rows,
        words=words,
        length=words.select(length).item() or 0.0,
        marks=tuple(marks["text"]),
        number_marks=tuple(number_marks["text"]),
        first=tuple(text for text in counted["first"][0] if text not in values.NUMBER_MARKS),
        **single,
    )


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
            decided[name] = columns[0]
            continue
        counts = reads[name]
        best = max(range(len(counts)), key=counts.__getitem__)
        enough = counts[best] > 0 if name in wanted else counts[best] >= READABLE * found[name].values > 0
        decided[name] = columns[best] if enough else None if name in wanted else columns[-1]
    return decided


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
        if column.kind is Kind.TIMESTAMP:
            plausible = value.dt.year() >= 1000
            if "%y" in str(column.format):
                plausible &= pl.col(column.name).str.contains(r"[./-]\d{2}(?:\D|$)")
            value = value.filter(plausible)
        fits.append(value.count() >= 0.9 * len(sample))
    kept = texts.select(fit.alias(str(index)) for index, fit in enumerate(fits)).row(0)
    return [column for column, keep in zip(columns, kept, strict=True) if keep]
