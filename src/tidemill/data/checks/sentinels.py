"""Numbers that stand for "no value": -999 among ages, whatever their share."""

from collections.abc import Iterator

import polars as pl

from tidemill.data.checks.findings import Finding, Severity, noticed
from tidemill.data.tables import Tables
from tidemill.settings import Kind
from tidemill.settings.overrides import override

LIKELY = 1.0
"""A value of equal digits (-999, 8888) or the end of a machine type is a sentinel this many ranges of the rest away."""
ODD = 10.0
"""Any other value is one, where it repeats, this many ranges away."""
REPEATED = 5
_LIMITS = frozenset(float(sign * 2**bits - shift) for bits in (15, 31) for sign in (1, -1) for shift in (0, 1))


def check(tables: Tables) -> Iterator[Finding]:
    """The smallest and largest value of each numeric input, where it lies far from all others and repeats."""
    for name in tables.inputs(Kind.NUMERIC):
        values = tables.train[name].drop_nulls()
        values = values.filter(values.is_finite())
        ends = [float(value) for value in (values.min(), values.max()) if isinstance(value, float)]
        found = {value: rows for value in ends if (rows := _sentinel(values, value))}
        if not found or len(found) == values.n_unique():
            continue
        share = sum(found.values()) / tables.train.height
        shown = " and ".join(f"{value:g} in {rows:,} rows" for value, rows in found.items())
        marks = [f"{value:g}" if value != int(value) else str(int(value)) for value in found]
        yield noticed("sentinel", Severity.WARNING, name, sum(found.values()), share)(
            message=f"{name!r} is {shown} of train ({share:.1%}), far from all its other values: it may mean 'missing'",
            remedy=f"if it does: {override('data.missing_marks', name, marks)}",
        )


def _sentinel(values: pl.Series, value: float) -> int:
    """How many rows have `value`, if that may mean missing; else 0."""
    rest = values.filter(values != value)
    rows = values.len() - rest.len()
    if rest.n_unique() < 2 or rows < 2:
        return 0
    smallest, largest = float(rest.min()), float(rest.max())  # type: ignore[arg-type]
    low, high = float(rest.quantile(0.01) or 0), float(rest.quantile(0.99) or 0)
    gap = max(smallest - value, value - largest)
    digits = f"{abs(value):.0f}"
    likely = value == int(value) and (value in _LIMITS or (len(digits) > 1 and len(set(digits)) == 1))
    far = gap >= LIKELY * (high - low) if likely else rows >= REPEATED and gap >= ODD * (high - low)
    return rows if far and high > low else 0
