"""Whole numbers that stand for moments: in which unit, and how a number in another unit is seen."""

from typing import TYPE_CHECKING, TypeVar

from tidemill.data import scalars
from tidemill.data.schema import Column

if TYPE_CHECKING:
    import polars as pl

Number = TypeVar("Number", float, "pl.Expr")

EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Microseconds in one unit of a timestamp column's whole numbers, by its format."""
UNITS = {"seconds": 1e6, "milliseconds": 1e3, "microseconds": 1.0, "nanoseconds": 1e-3}
"""Microseconds in each unit that a client may count time in."""
FAR, NEAR = 10, 30
"""Years outside of the training split's timestamps: so far off is a number suspect, so near is its other reading."""
YEAR = 365.2425 * 86_400e6  # microseconds


def own_unit(column: Column) -> str:
    """The unit of a column's whole numbers: microseconds where training had none."""
    return {1_000_000: "seconds", 1_000: "milliseconds", 1: "microseconds"}[EPOCHS.get(column.format or "", 1)]


def other_unit(value: float, column: Column) -> str | None:
    """The unit that a number seems to be in, where that is not the column's: in its own it lies years outside of
    training's timestamps, in this one within their reach.
    """
    training = scalars.bounds(column.earliest, column.latest)
    if training is None:
        return None
    own = EPOCHS.get(column.format or "", 1)
    far = _years_outside(value * own, *training)
    others = {name: _years_outside(value * unit, *training) for name, unit in UNITS.items() if unit != own}
    nearest = min(others, key=others.__getitem__)
    return nearest if far > FAR and others[nearest] < min(NEAR, far) else None


def _years_outside(microseconds: Number, first: float, last: float) -> Number:
    """How far outside of training's timestamps; less than 0 among them."""
    return (abs(microseconds - (first + last) / 2) - (last - first) / 2) / YEAR


def instant(ticks: "pl.Expr", column: Column) -> "pl.Expr":
    """Numbers in the column's unit since 1970; in microseconds where it has none. Null where another unit is meant."""
    import polars as pl

    from tidemill.data.cells.parsing import TIMESTAMP

    unit = EPOCHS.get(column.format or "", 1)
    taken = (ticks.cast(pl.Float64).abs() < 2.0**63 / unit) & ~_in_other_unit(ticks, column)
    if column.format not in EPOCHS:
        taken &= ticks == ticks.floor()
    return (pl.when(taken).then(ticks) * unit).cast(pl.Int64, strict=False).cast(TIMESTAMP)


def _in_other_unit(ticks: "pl.Expr", column: Column) -> "pl.Expr":
    """As `other_unit`, of many."""
    import polars as pl

    training = scalars.bounds(column.earliest, column.latest)
    if training is None:
        return pl.lit(False)
    own = EPOCHS.get(column.format or "", 1)
    number = ticks.cast(pl.Float64)
    far = _years_outside(number * own, *training)
    others = [_years_outside(number * unit, *training) for unit in UNITS.values() if unit != own]
    return ((far > FAR) & pl.any_horizontal([(other < NEAR) & (other < far) for other in others])).fill_null(False)
