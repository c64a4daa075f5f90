"""Timestamps in the graph: parts of the UTC calendar, from year 1 to 9999, by integer arithmetic.

T is the number of timestamp columns, N of rows. Raw values are int64 microseconds since 1970-01-01 UTC.
The calendar is the proleptic Gregorian one; days are split as in Howard Hinnant's `civil_from_days`
(chrono-compatible low-level date algorithms): years begin in March, so that the leap day ends one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import spox.opset.ai.onnx.v20 as op
from spox import Var

from tidemill.data.raw import MISSING_TIMESTAMP
from tidemill.preparation import constants
from tidemill.preparation.numeric import rows
from tidemill.settings import CalendarPart

MICROSECONDS_PER_DAY = 86_400_000_000
MICROSECONDS_PER_HOUR = 3_600_000_000
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The first and last microsecond of years 1 and 9999; what lies outside counts as the nearer of them."""

PERIODS = {
    CalendarPart.MINUTE_OF_DAY: 1440,
    CalendarPart.HOUR: 24,
    CalendarPart.WEEKDAY: 7,
    CalendarPart.DAY_OF_MONTH: 31,
    CalendarPart.DAY_OF_YEAR: 366,
    CalendarPart.MONTH: 12,
}
"""How many values each part has that comes round again. A year does not."""

_IN_POLARS: dict[CalendarPart, Callable[[pl.Expr], pl.Expr]] = {
    CalendarPart.MINUTE_OF_DAY: lambda moment: moment.dt.hour().cast(pl.Int32) * 60 + moment.dt.minute(),
    CalendarPart.HOUR: lambda moment: moment.dt.hour(),
    CalendarPart.WEEKDAY: lambda moment: moment.dt.weekday() - 1,
    CalendarPart.DAY_OF_MONTH: lambda moment: moment.dt.day() - 1,
    CalendarPart.DAY_OF_YEAR: lambda moment: moment.dt.ordinal_day() - 1,
    CalendarPart.MONTH: lambda moment: moment.dt.month() - 1,
    CalendarPart.YEAR: lambda moment: moment.dt.year(),
}


def ticks(values: pl.Series) -> pl.Series:
    """Int64 microseconds, null where missing."""
    found = values.to_physical()
    return found.set(found == MISSING_TIMESTAMP, None)


def part(values: pl.Series, part: CalendarPart) -> pl.Series:
    """A calendar part of a column of the training split, counted from 0 (the year from 1), null where missing."""
    moment = pl.lit(ticks(values).clip(FIRST, LAST).cast(pl.Datetime("us")))
    return pl.select(_IN_POLARS[part](moment)).to_series()


@dataclass(frozen=True, kw_only=True, slots=True)
class TimestampStatistics:
    """One timestamp column: its periodic parts that vary in the training split, and whether values lack there."""

    name: str
    parts: tuple[CalendarPart, ...]
    indicator: bool

    @property
    def useful(self) -> bool:
        return bool(self.parts) or self.indicator


def measure(name: str, values: pl.Series, parts: Sequence[CalendarPart], indicator: bool) -> TimestampStatistics:
    varying = tuple(one for one in parts if one in PERIODS and part(values, one).drop_nulls().n_unique() > 1)
    some_missing = 0 < ticks(values).null_count() < len(values)
    return TimestampStatistics(name=name, parts=varying, indicator=indicator and some_missing)


class Calendar:
    """Parts of timestamps int64 [T, N], each int32 [T, N] and made when first asked for."""

    def __init__(self, raw_TN: Var) -> None:
        inside = op.clip(raw_TN, constants.int64(FIRST), constants.int64(LAST))
        # Counted from 0000-03-01, all are positive, so that truncating division rounds down.
        self._since = op.add(inside, constants.int64(719_468 * MICROSECONDS_PER_DAY))
        self._whole_days = op.div(self._since, constants.int64(MICROSECONDS_PER_DAY))
        self._days = op.cast(self._whole_days, to=np.int32)

    def __getitem__(self, part: CalendarPart) -> Var:
        """Counted from 0, Monday being 0; the year as it is written."""
        return getattr(self, f"_{part}")

    @cached_property
    def _minute_of_day(self) -> Var:
        passed = op.sub(self._since, op.mul(self._whole_days, constants.int64(MICROSECONDS_PER_DAY)))
        return op.cast(op.div(passed, constants.int64(60_000_000)), to=np.int32)

    @cached_property
    def _hour(self) -> Var:
        return _divide(self._minute_of_day, 60)

    @cached_property
    def _weekday(self) -> Var:
        return op.mod(op.add(self._days, constants.int32(2)), constants.int32(7))  # 0000-03-01 is a Wednesday

    @cached_property
    def _era(self) -> Var:
        """Periods of 400 years, which are all equally long."""
        return _divide(self._days, 146_097)

    @cached_property
    def _day_of_era(self) -> Var:
        return _remainder(self._days, self._era, 146_097)

    @cached_property
    def _year_of_era(self) -> Var:
        day = self._day_of_era
        leap_days = op.add(op.sub(_divide(day, 1_460), _divide(day, 36_524)), _divide(day, 146_096))
        return _divide(op.sub(day, leap_days), 365)

    @cached_property
    def _day_from_march(self) -> Var:
        year = self._year_of_era
        leap_days = op.sub(_divide(year, 4), _divide(year, 100))
        return op.sub(self._day_of_era, op.add(op.mul(year, constants.int32(365)), leap_days))

    @cached_property
    def _month_from_march(self) -> Var:
        return _divide(op.add(op.mul(self._day_from_march, constants.int32(5)), constants.int32(2)), 153)

    @cached_property
    def _next_year(self) -> Var:
        """True in January and February."""
        return op.greater_or_equal(self._day_from_march, constants.int32(306))

    @cached_property
    def _day_of_month(self) -> Var:
        before = op.add(op.mul(self._month_from_march, constants.int32(153)), constants.int32(2))
        return op.sub(self._day_from_march, _divide(before, 5))

    @cached_property
    def _month(self) -> Var:
        ahead = op.where(self._next_year, constants.int32(-10), constants.int32(2))
        return op.add(self._month_from_march, ahead)

    @cached_property
    def _day_of_year(self) -> Var:
        year = self._year_of_era
        in_four = op.equal(_remainder(year, _divide(year, 4), 4), constants.int32(0))
        in_hundred = op.equal(_remainder(year, _divide(year, 100), 100), constants.int32(0))
        leap = op.or_(op.equal(year, constants.int32(0)), op.and_(in_four, op.not_(in_hundred)))
        to_march = op.where(leap, constants.int32(60), constants.int32(59))
        ahead = op.where(self._next_year, constants.int32(-306), to_march)
        return op.add(self._day_from_march, ahead)

    @cached_property
    def _year(self) -> Var:
        year = op.add(self._year_of_era, op.mul(self._era, constants.int32(400)))
        return op.add(year, op.cast(self._next_year, to=np.int32))


def _divide(x: Var, by: int) -> Var:
    return op.div(x, constants.int32(by))


def _remainder(x: Var, quotient: Var, by: int) -> Var:
    """Faster than Mod, and the quotient is at hand."""
    return op.sub(x, op.mul(quotient, constants.int32(by)))


def missing(raw: Var) -> Var:
    return op.equal(raw, constants.int64(MISSING_TIMESTAMP))


def as_number(number: Var, raw: Var) -> Var:
    """float64, NaN where the raw timestamp is missing."""
    return op.where(missing(raw), constants.float64(math.nan), op.cast(number, to=np.float64))


def periodic(columns: Sequence[TimestampStatistics], raw_TN: Var, calendar: Calendar, cyclic: bool) -> list[Var]:
    """float32 matrices [parts of all columns, N]: sine and cosine, or one scaled to [-1, 1]; 0 where missing.

    Looked up in tables, as a part has few values: that is faster than computing, and the same everywhere.
    Rows are ordered as in `periodic_names`.
    """
    chosen = _chosen(columns)
    if not chosen:
        return []
    used = list(dict.fromkeys(part for part, _ in chosen))
    width = max(PERIODS[part] for part in used) + 1
    absent, last = missing(raw_TN), constants.int32(width - 1)
    parts = [op.where(absent, last, calendar[part]) for part in used]
    at = op.concat(parts, axis=0) if len(parts) > 1 else parts[0]
    at = rows(at, [used.index(part) * len(columns) + i for part, i in chosen], len(used) * len(columns))
    return [op.gather_elements(op.const(table), at, axis=1) for table in _tables(chosen, width, cyclic)]


def indicators(columns: Sequence[TimestampStatistics], raw_TN: Var) -> Var:
    """float32 [columns with an indicator, N]: 1 where the timestamp is missing."""
    chosen = [i for i, column in enumerate(columns) if column.indicator]
    return op.cast(missing(rows(raw_TN, chosen, len(columns))), to=np.float32)


def periodic_names(columns: Sequence[TimestampStatistics], cyclic: bool) -> list[str]:
    pairs = [(columns[i].name, str(part).replace("_", " ")) for part, i in _chosen(columns)]
    forms = (", sine", ", cosine") if cyclic else ("",)
    return [f"{name} ({part}{form})" for form in forms for name, part in pairs]


def _chosen(columns: Sequence[TimestampStatistics]) -> list[tuple[CalendarPart, int]]:
    return [(part, i) for part in PERIODS for i, column in enumerate(columns) if part in column.parts]


def _tables(chosen: Sequence[tuple[CalendarPart, int]], width: int, cyclic: bool) -> list[np.ndarray]:
    """[len(chosen), width] each; the last entry of a row, for a missing timestamp, is 0."""
    tables = [np.zeros((len(chosen), width), dtype=np.float32) for _ in range(2 if cyclic else 1)]
    for row, (part, _) in enumerate(chosen):
        period = PERIODS[part]
        count = np.arange(period)
        if cyclic:
            angle = 2 * np.pi * count / period
            tables[0][row, :period], tables[1][row, :period] = np.sin(angle), np.cos(angle)
        else:
            tables[0][row, :period] = 2 * count / (period - 1) - 1
    return tables
