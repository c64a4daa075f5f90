"""What is counted of every column, over the whole table, before its kind is decided."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from tidemill.data import values
from tidemill.data.raw import EXACT
from tidemill.data.sources import collect

READABLE = 0.99
"""Share of the values that a kind must read; rows with the others are quarantined, and counted there."""

SAMPLE = 300

_NUMBER = "number\0"
_NO_WORDS = pl.DataFrame(schema={"text": pl.String, "count": pl.UInt32})


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


def count(frame: pl.LazyFrame, names: list[str]) -> dict[str, Facts]:
    """Facts of every named column, in one pass."""
    dtypes = frame.collect_schema()
    texts = {name for name in names if dtypes[name] == pl.String}
    # a stage of its own: Polars would parse the numbers once for every fact
    frame = frame.select(pl.col(names), *(_plain_number(name).alias(_NUMBER + name) for name in names if name in texts))
    expressions = [pl.len().alias("rows")]
    for index, name in enumerate(names):
        counts = _text_counts(name) if name in texts else _counts(name, dtypes[name])
        expressions += [expression.alias(f"{index}:{fact}") for fact, expression in counts.items()]
    counted = collect(frame.select(expressions))
    rows = counted["rows"][0]
    by_column: list[dict[str, pl.Series]] = [{} for _ in names]
    for series in counted.iter_columns():
        place, _, fact = series.name.partition(":")
        if fact:
            by_column[int(place)][fact] = series
    found = {}
    for name, own in zip(names, by_column, strict=True):
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
    text, number = pl.col(name), pl.col(_NUMBER + name)
    padded = text.filter(text.str.starts_with("0") & (text.str.len_bytes() > 1))
    long = text.filter(number.abs() > EXACT)
    return {
        "numbers": number.count(),
        "codes": padded.str.contains(r"^0\d+$").sum() + long.str.contains(r"^[+-]?\d+$").sum(),
        "words": text.filter(number.is_null() & (text != "")).alias("text").value_counts().implode(),
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
    words = words.drop_nulls().sort("text")
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
