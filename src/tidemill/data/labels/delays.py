"""How long labels took to come: counts of records by delay, by age and by label, which can be added up part by part."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import polars as pl

STEPS = 2_000
"""Of the time that is looked at: delays are counted in steps, so that any number of records takes little memory."""
FEW = 20
"""Labels below which a class is not looked at by itself, but with other such classes."""
RARE = "(rare classes)"
CLASSES = 50
"""Different numbers from which on a target is looked at in quarters."""
_PARTS = 4
"""Of a number as target: quarters of its labels, each like a class."""
_COUNTS = {"step": pl.Int64(), "label": pl.String(), "records": pl.Int64(), "longest": pl.Duration("us")}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Delays:
    """Counts of records as of one moment; `+` joins those of two parts of a table.

    unit: one step. came: by the step in which the label came (`label`) or, without one (null), of the record's age;
    longest: the longest delay among these. ages: by the step of the record's age, and its label, if it has one.
    """

    unit: timedelta
    came: pl.DataFrame
    ages: pl.DataFrame

    def __add__(self, other: "Delays") -> "Delays":
        came, ages = pl.concat([self.came, other.came]), pl.concat([self.ages, other.ages])
        return Delays(unit=self.unit, came=_joined(came), ages=_joined(ages))

    @property
    def records(self) -> int:
        return int(self.ages["records"].sum())


def count(table: pl.DataFrame | pl.LazyFrame, unit: timedelta) -> Delays:
    """Count records.

    Args:
        table: `age` and `delay` (durations; a null delay: no label has come yet) and `label` (text).
    """
    known = pl.col("delay").is_not_null() & (pl.col("delay") <= pl.col("age"))
    none = pl.lit(timedelta(), pl.Duration("us"))
    delay = pl.max_horizontal(pl.col("delay"), none)
    read = pl.DataFrame(table.lazy().collect()).select(
        age=_step(pl.col("age"), unit),
        step=_step(pl.when(known).then(delay).otherwise("age"), unit),
        label=pl.when(known).then(pl.col("label").cast(pl.String)),
        longest=pl.when(known).then(delay).otherwise(none).cast(pl.Duration("us")),
    )
    one = pl.lit(1, pl.Int64).alias("records")
    came = read.select("step", "label", one, "longest")
    ages = read.select(pl.col("age").alias("step"), "label", one, "longest")
    return Delays(unit=unit, came=_joined(came), ages=_joined(ages))


def none(unit: timedelta) -> Delays:
    """Counts of no records, to add to."""
    empty = pl.DataFrame(schema=_COUNTS)
    return Delays(unit=unit, came=empty, ages=empty)


def step(span: timedelta) -> timedelta:
    """The step for records of this span of time."""
    return max(span / STEPS, timedelta(seconds=1))


def parts(values: pl.Series) -> list[float]:
    """The ends between the quarters of a number's values, by which it is looked at like classes."""
    found = [values.quantile(part / _PARTS) for part in range(1, _PARTS)]
    return sorted({float(end) for end in found if end is not None})


def part_of(column: str, ends: Sequence[float]) -> pl.Expr:
    """The quarter that each value of a number lies in, as text; null stays null."""
    if not ends:
        return pl.when(pl.col(column).is_not_null()).then(pl.lit("any value"))
    names = [f"≤ {ends[0]:.4g}", *(f"{a:.4g} to {b:.4g}" for a, b in pairwise(ends))]
    names.append(f"> {ends[-1]:.4g}")
    part = pl.sum_horizontal((pl.col(column) > end).cast(pl.Int64) for end in ends)
    named = part.replace_strict(list(range(len(names))), names, return_dtype=pl.String)
    return pl.when(pl.col(column).is_not_null()).then(named)


def lumped(counts: pl.DataFrame) -> pl.Expr:
    """Labels, with classes of few of them as one."""
    many = counts.drop_nulls("label").group_by("label").agg(pl.col("records").sum()).sort("records")
    rare = many.filter(pl.col("records") < FEW)["label"]
    if len(rare) < 2:
        return pl.col("label")
    return pl.when(pl.col("label").is_in(rare.implode())).then(pl.lit(RARE)).otherwise("label").alias("label")


def _step(duration: pl.Expr, unit: timedelta) -> pl.Expr:
    seconds = duration.dt.total_microseconds() / (unit / timedelta(microseconds=1))
    return seconds.clip(0).floor().cast(pl.Int64)


def _joined(counts: pl.DataFrame) -> pl.DataFrame:
    found = counts.group_by("step", "label").agg(pl.col("records").sum(), pl.col("longest").max())
    return found.cast(_COUNTS).select(*_COUNTS).sort("step", "label")  # type: ignore[arg-type]
