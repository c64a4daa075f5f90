"""What is counted of every column, over the whole table, before its kind is decided."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from tidemill.data.cells import values
from tidemill.data.reading import collect
from tidemill.data.scalars import EXACT

READABLE = 0.99
"""Share of the values that a kind must read; rows with the others are quarantined, and counted there."""

SAMPLE = 300

_NUMBER = "number\0"
_ROWS = "rows\0"
_NO_WORDS = pl.DataFrame(schema={"text": pl.String, "count": pl.UInt32})


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Counts over the whole column.

    present: values that are not missing; smallest, largest: of the numbers, stored as such or as plain text.
    constant: every row has the same value.
    numbers: texts that are plain numbers; codes: those that a float would not keep ("007", 17 digits).
    words: every different text that is not a plain number nor means "missing", with its count.
    length: mean number of characters of `words`. marks: texts found that mean "missing", with their counts.
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
    marks: Mapping[str, int] = field(default_factory=dict)
    number_marks: Mapping[str, int] = field(default_factory=dict)
    first: tuple[str, ...] = ()

    @property
    def sample(self) -> list[str]:
        """Different texts that are not plain numbers and do not mean "missing" among such, from all over the order."""
        others = self.words.filter(~pl.col("text").is_in(list(self.number_marks)))["text"]
        return others.gather_every(max(1, others.len() // SAMPLE)).head(SAMPLE).to_list()

    @property
    def values(self) -> int:
        """How many values a number or timestamp should be read from."""
        marked = self.words.filter(pl.col("text").is_in(list(self.number_marks)))
        return self.present - int(marked["count"].sum())

    def joined(self, other: "Facts") -> "Facts":
        """These facts, with the marks that another part of the same table has as well, and its gaps."""
        gaps = self.present < self.rows or other.present < other.rows
        marks = {**self.marks, **Counter(self.marks) + Counter(other.marks)}
        number_marks = {**self.number_marks, **Counter(self.number_marks) + Counter(other.number_marks)}
        present = min(self.present, self.rows - 1) if gaps else self.present
        return replace(self, marks=marks, number_marks=number_marks, present=present)


def count(frame: pl.LazyFrame, names: list[str], marks: Mapping[str, Sequence[str]] | None = None) -> dict[str, Facts]:
    """Facts of every named column, in one pass.

    Args:
        marks: by column, the texts that mean "missing" in it and no others; where that is settled.
    """
    marks = marks or {}
    frame = values.cleaned(frame)
    dtypes = frame.collect_schema()
    texts = [name for name in names if dtypes[name] == pl.String]
    # a stage of its own: Polars would parse the numbers once for every fact
    numbers = pl.col(texts).cast(pl.Float64, strict=False).fill_nan(None).name.prefix(_NUMBER)
    frame = frame.select(pl.col(names), numbers)
    counts = {name: _text_counts(name) if name in texts else _counts(name, dtypes[name]) for name in names}
    structs = [pl.struct(one.alias(fact) for fact, one in own.items()).alias(name) for name, own in counts.items()]
    counted = collect(frame.select(pl.len().alias(_ROWS), *structs))
    rows, found = counted[_ROWS][0], {}
    for name in names:
        own = {fact.name: fact for fact in counted[name].struct.unnest()}
        if name in texts:
            found[name] = _text_facts(rows, own, marks.get(name))
        else:
            found[name] = _facts(dtypes[name], rows, own, marks.get(name, ()))
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
            "constant": value.min() == value.max(),  # before it is a float: ids of 64 bits are alike as such
        }
    return {"present": value.count(), "constant": value.n_unique() == 1}


def _text_counts(name: str) -> dict[str, pl.Expr]:
    text, number = pl.col(name), pl.col(_NUMBER + name)
    written = text.filter(number.is_not_null())
    padded = text.filter(text.str.starts_with("0") & (text.str.len_bytes() > 1))
    long = text.filter(number.abs() > EXACT)
    return {
        "numbers": number.count(),
        "codes": padded.str.contains(r"^0\d+$").sum() + long.str.contains(r"^[+-]?\d+$").sum(),
        "words": text.filter(number.is_null() & (text != "")).alias("text").value_counts().implode(),
        "first": text.drop_nulls().head(SAMPLE).implode(),
        "smallest": number.min(),
        "largest": number.max(),
        "same": written.min() == written.max(),
    }


def _facts(dtype: pl.DataType, rows: int, counted: Mapping[str, pl.Series], settled: Sequence[str]) -> Facts:
    known = {key: series[0] for key, series in counted.items()}
    known["constant"] = bool(known.get("constant")) and known["present"] == rows
    return Facts(dtype=dtype, rows=rows, marks=dict.fromkeys(settled, 0), **known)


def _text_facts(rows: int, counted: Mapping[str, pl.Series], settled: Sequence[str] | None) -> Facts:
    single = {key: counted[key][0] for key in ("numbers", "codes", "smallest", "largest")}
    words = counted["words"].explode().struct.unnest()
    words = words.drop_nulls().sort("text")
    length = (pl.col("text").str.len_chars() * pl.col("count")).sum() / pl.col("count").sum()
    text = pl.col("text")
    if settled is None:
        number_marks = words.filter(text.str.to_lowercase().is_in(values.NUMBER_MARKS))
        marks = words.filter(text.is_in(values.MARKS))
    else:
        marks = number_marks = words.filter(text.is_in(list(settled)))
    others = int(words["count"].sum()) - int(number_marks["count"].sum())
    among_numbers = single["numbers"] > 0 and single["numbers"] >= READABLE * (single["numbers"] + others)
    dropped = number_marks if among_numbers else marks
    words = words.filter(~pl.col("text").is_in(dropped["text"].implode()))
    present = single["numbers"] + words["count"].sum()
    one = words.height == 1
    if single["numbers"]:  # beyond 2^53, different numbers are alike as floats
        alike = single["smallest"] == single["largest"] and (abs(single["largest"]) <= EXACT or counted["same"][0])
        one = alike and not words.height
    return Facts(
        dtype=pl.String(),
        rows=rows,
        present=present,
        constant=one and present == rows,
        words=words,
        length=words.select(length).item() or 0.0,
        marks=dict.fromkeys(settled or (), 0) | dict(marks.iter_rows()),
        number_marks=dict.fromkeys(settled or (), 0) | dict(number_marks.iter_rows()),
        first=tuple(text for text in counted["first"][0] if text not in set(number_marks["text"])),
        **single,
    )
