"""Moments made of other columns: a year, a month and a day in columns of their own, less a number of days before.

`data.moments` declares them. `sources.open` adds them, so that everything behind it sees ordinary columns of instants;
the schema keeps how each was made (`Column.made_of`), so that bulk scoring makes them again where a file has the parts.
"""

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import yaml

from tidemill.data.cells import values
from tidemill.data.reading import collect
from tidemill.data.schema import Column
from tidemill.errors import SchemaError, SettingsError, listed
from tidemill.settings import DataSettings, Kind

PARTS = ("year", "month", "day", "hour", "minute", "second", "time", "date")
UNITS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
OFFSETS = {
    f"{sign}_{unit}": factor * size for sign, factor in (("plus", 1), ("minus", -1)) for unit, size in UNITS.items()
}
"""Seconds in one unit of each offset."""

_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_MONTH = {name: number for number, name in enumerate(_MONTHS, 1)}
_MONTH |= {name[:3]: number for name, number in _MONTH.items()} | {"sept": 9}

_FARTHEST = 1e11
"""Seconds, about 3,000 years: a larger offset is a mistake, and would overflow."""

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One made column. made_of: part or offset → column, or a number that is the same for all rows; and `format`, the
    notation of the column `date` where that is text."""

    name: str
    made_of: tuple[tuple[str, str | float], ...]

    @property
    def columns(self) -> list[str]:
        return [value for part, value in self.made_of if part != "format" and isinstance(value, str)]


def declared(settings: DataSettings) -> list[Moment]:
    """What `data.moments` declares, and what a pinned schema says was made so.

    Raises:
        SettingsError: a declaration that makes no moment.
    """
    found = dict(settings.moments)
    if settings.schema is not None:
        found = _pinned(settings.schema) | found
    return [_checked(name, made_of) for name, made_of in found.items()]


def _pinned(path: str) -> dict[str, dict[str, Any]]:
    """Only what is well formed: `schema_file.read` refuses the rest by name."""
    try:
        with open(path, encoding="utf-8") as stream:  # noqa: PTH123
            columns = yaml.safe_load(stream)["columns"]
        return {str(name): dict(entry["made_of"]) for name, entry in columns.items() if entry.get("made_of")}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return {}


def _checked(name: str, made_of: Mapping[str, Any]) -> Moment:
    known = (*PARTS, *OFFSETS, "format")
    key = f"data.moments.{name}"
    for part, value in made_of.items():
        if part not in known:
            near = difflib.get_close_matches(part, known, n=1)
            raise SettingsError(
                f"The parts of a moment are {', '.join(PARTS)}; its offsets plus_ or minus_ with {', '.join(UNITS)}",
                observed=f"{key}.{part}",
                remedy=f"did you mean {near[0]}?" if near else "remove it",
            )
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise SettingsError(
                "A part of a moment is a column's name, or a number for all rows",
                observed=f"{key}.{part} = {value!r}",
                remedy=f"for example {key}.{part}=COLUMN",
            )
    whole, parts = "date" in made_of, {"year", "month"} <= made_of.keys()
    if whole == parts or (whole and {"year", "month", "day"} & made_of.keys()):
        raise SettingsError(
            "A moment is made of year and month (and day), or of date, a column that has all three",
            observed=f"{key} has {', '.join(made_of) or 'nothing'}",
            remedy=f"for example '{key}={{year: COLUMN, month: COLUMN, day: COLUMN, minus_days: COLUMN}}'",
        )
    if "time" in made_of and {"hour", "minute", "second"} & made_of.keys():
        raise SettingsError(
            "A moment's time of day is one column (time, like 14:05), or hour, minute and second",
            observed=f"{key} has {', '.join(made_of)}",
            remedy="remove one of them",
        )
    return Moment(name=name, made_of=tuple(made_of.items()))


def add(frame: pl.LazyFrame, moments: Sequence[Moment]) -> pl.LazyFrame:
    """The table with its moments as new last columns; one that the table has already is left as it stands.

    Raises:
        SettingsError: a part names no column, or no row's parts make a moment.
    """
    for moment in settle(frame, moments):
        made = expression(moment, dict(frame.collect_schema()))
        _report(frame, moment, made)
        frame = frame.with_columns(made.alias(moment.name))
    return frame


def settle(frame: pl.LazyFrame, moments: Sequence[Moment]) -> list[Moment]:
    """The moments that `frame` lacks, with the notation in which it has their dates.

    Raises:
        SettingsError: a part names no column of the table, or `date` one without dates.
    """
    names = frame.collect_schema().names()
    settled = []
    for moment in moments:
        if moment.name in names:
            LOG.info("The table has a column %s of its own, which is taken as it stands", moment.name)
            continue
        for part, value in moment.made_of:
            if part != "format" and isinstance(value, str) and value not in names:
                near = difflib.get_close_matches(value, names, n=1, cutoff=0.4)
                raise SettingsError(
                    "A moment is made of columns of the table",
                    observed=f"data.moments.{moment.name}.{part} = {value!r}; the table has {listed(names)}",
                    remedy=f"did you mean {near[0]!r}?" if near else "correct the name",
                )
        settled.append(noted(frame, moment))
    return settled


def noted(frame: pl.LazyFrame, moment: Moment) -> Moment:
    """The moment with the notation that the column `date` has in `frame`.

    Raises:
        SettingsError: the column holds no dates.
    """
    from tidemill.data.inference import facts, kinds

    made_of = dict(moment.made_of)
    name = made_of.get("date")
    if not isinstance(name, str) or "format" in made_of:
        return moment
    try:
        fact = facts.count(frame, [name])
        column = kinds.decide(frame, fact, {name: Kind.TIMESTAMP}, [name])[name]
    except SchemaError:
        column = None
    if column is None:
        shown = listed(fact[name].first, quoted=True) or "none"
        raise SettingsError(
            "The part `date` of a moment is a column of dates or timestamps",
            observed=f"data.moments.{moment.name}.date = {name!r}, with values like {shown}",
            remedy=f"name another column, or say how they are written: data.moments.{moment.name}.format='%d.%m.%Y'",
        )
    return moment if column.format is None else replace(moment, made_of=(*moment.made_of, ("format", column.format)))


def fill(frame: pl.LazyFrame, moments: Sequence[Moment]) -> pl.LazyFrame:
    """The table with its moments made, wherever every part is there, for rows that have none yet."""
    for moment in moments:
        dtypes = dict(frame.collect_schema())
        if all(name in dtypes for name in moment.columns):
            made = expression(noted(frame, moment), dtypes)
            made = pl.coalesce(moment.name, made) if moment.name in dtypes else made
            frame = frame.with_columns(made.alias(moment.name))
    return frame


def of_schema(frame: pl.LazyFrame, columns: Sequence[Column]) -> pl.LazyFrame:
    """The table with those moments among `columns` that it lacks and has every part of."""
    dtypes = dict(frame.collect_schema())
    for column in columns:
        moment = Moment(name=column.name, made_of=column.made_of)
        if column.made_of and column.name not in dtypes and all(name in dtypes for name in moment.columns):
            frame = frame.with_columns(expression(moment, dtypes).alias(column.name))
    return frame


def expression(moment: Moment, dtypes: Mapping[str, pl.DataType]) -> pl.Expr:
    """The instant in UTC; null where a part is missing, is none, or parts do not fit (February 30th)."""
    made_of = dict(moment.made_of)
    if "date" in made_of:
        name = str(made_of["date"])
        notation = made_of.get("format")
        column = Column(name=name, kind=Kind.TIMESTAMP, format=None if notation is None else str(notation))
        day = values.read(column, dtypes[name])
    else:
        year, month = _part(made_of["year"], dtypes), _month(made_of["month"], dtypes)
        digits = [_digits(year, 4), _digits(month, 2), _digits(_part(made_of.get("day", 1), dtypes), 2)]
        text = pl.concat_str(digits, separator="-")
        day = text.str.to_datetime("%Y-%m-%d", time_unit="us", strict=False).dt.replace_time_zone("UTC")
        day = pl.when(year >= 1000).then(day)
    seconds = pl.lit(0.0)
    for part, limit in (("hour", 24), ("minute", 60), ("second", 60)):
        if part in made_of:
            value = _part(made_of[part], dtypes)
            seconds += pl.when((value >= 0) & (value < limit)).then(value) * UNITS[f"{part}s"]
    if "time" in made_of:
        seconds += _time_of_day(str(made_of["time"]), dtypes)
    for offset, size in OFFSETS.items():
        if offset in made_of:
            seconds += _part(made_of[offset], dtypes) * size
    microseconds = pl.when(seconds.abs() < _FARTHEST).then(seconds * 1e6).round().cast(pl.Int64)
    return day + pl.duration(microseconds=microseconds)


def _part(value: str | float, dtypes: Mapping[str, pl.DataType]) -> pl.Expr:
    if not isinstance(value, str):
        return pl.lit(float(value))
    column = pl.col(value)
    if dtypes[value] == pl.String:
        column = column.str.strip_chars()
    elif not dtypes[value].is_numeric():
        column = (
            column.cast(pl.String, strict=False) if not values.unreadable(dtypes[value]) else pl.lit(None, pl.String)
        )
    return column.cast(pl.Float64, strict=False).fill_nan(None)


def _month(value: str | float, dtypes: Mapping[str, pl.DataType]) -> pl.Expr:
    number = _part(value, dtypes)
    if not isinstance(value, str) or dtypes[value].is_numeric() or values.unreadable(dtypes[value]):
        return number
    word = pl.col(value).cast(pl.String).str.strip_chars(" .").str.to_lowercase()
    named = word.replace_strict(list(_MONTH), list(_MONTH.values()), default=None, return_dtype=pl.Float64)
    return pl.coalesce(named, number)


def _digits(value: pl.Expr, width: int) -> pl.Expr:
    whole = pl.when((value == value.floor()) & (value >= 0) & (value < 10**width)).then(value)
    return whole.cast(pl.Int64).cast(pl.String).str.zfill(width)


def _time_of_day(name: str, dtypes: Mapping[str, pl.DataType]) -> pl.Expr:
    """Seconds since midnight of 14:05, 14:05:30 or a type of times."""
    if dtypes[name] == pl.Time:
        return pl.col(name).cast(pl.Int64) / 1e9
    text = pl.col(name).cast(pl.String, strict=False).str.strip_chars()
    parts = text.str.extract_groups(r"^(\d{1,2}):(\d{2})(?::(\d{2}))?$")
    hour, minute = (parts.struct.field(field).cast(pl.Float64) for field in ("1", "2"))
    second = parts.struct.field("3").cast(pl.Float64).fill_null(0)
    fits = (hour < 24) & (minute < 60) & (second < 60)
    return pl.when(fits).then(hour * 3_600 + minute * 60 + second)


def _report(frame: pl.LazyFrame, moment: Moment, made: pl.Expr) -> None:
    """Say how many rows have every part and yet no moment, with examples; refuse where none has one."""
    there = list(dict.fromkeys(moment.columns))
    full = pl.all_horizontal([pl.lit(True), *(pl.col(name).is_not_null() for name in there)])
    shown = pl.concat_str(
        [pl.col(name).cast(pl.String, strict=False) for name in there] or [pl.lit("")], separator=", "
    )
    lost = full & made.is_null()
    counts = frame.select(
        pl.len().alias("rows"),
        made.count().alias("made"),
        lost.sum().alias("lost"),
        shown.filter(lost).head(3).implode().alias("few"),
    )
    rows, count, missed, few = collect(counts).row(0)
    made_of = ", ".join(f"{part}: {value}" for part, value in moment.made_of)
    examples = listed(few, quoted=True) or "none"
    if rows and not count:
        raise SettingsError(
            "Some row's parts must make a moment",
            observed=f"data.moments.{moment.name} = {{{made_of}}}; none of {rows:,} rows do, like {examples}",
            remedy="correct the columns: a month is a number or an English name, times are like 14:05",
        )
    LOG.info("%s is made of {%s}: %s of %s rows have it", moment.name, made_of, f"{count:,}", f"{rows:,}")
    if missed:
        LOG.warning(
            "%s rows have parts that make no moment %s (%s), like %s; it is missing there. "
            "Correct data.moments.%s or the table.",
            f"{missed:,}", moment.name, ", ".join(there), examples, moment.name,
        )  # fmt: skip
