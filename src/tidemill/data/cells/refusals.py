"""What is said of a value that a door cannot take: row, column, value, the rule and what to send instead."""

import difflib
import json
import re
from datetime import datetime
from typing import Any

from tidemill.data.cells.epochs import EPOCHS, UNITS, other_unit, own_unit
from tidemill.data.schema import Column
from tidemill.errors import RequestError, listed
from tidemill.settings import Kind


def wrong(row: int, rule: str, observed: str, remedy: str) -> RequestError:
    return RequestError(rule, observed=f"row {row}, {observed}", remedy=remedy)


def missing(row: int, column: Column) -> RequestError:
    return wrong(
        row,
        "Columns that allow no missing value must have one",
        f"column {column.name!r} ({column.kind}) is missing, null or empty",
        f"send {column.name!r}",
    )


def unknown(row: int, name: object, names: set[str]) -> RequestError:
    near = difflib.get_close_matches(str(name)[:100], names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return wrong(
        row,
        "A row may only have columns that the model was trained on",
        f"unknown column {shown(name)}",
        f"{hint}The columns are {listed(sorted(names), 50)}",
    )


def unreadable(row: int, column: Column, value: Any) -> RequestError:
    """Of a value that no reading of its column takes."""
    observed = f"column {column.name!r}: {shown(value)}"
    if column.kind is Kind.NUMERIC and type(value) is int:
        return wrong(
            row,
            "Whole numbers must lie within ±2^53, where float64 holds each of them exactly",
            observed,
            f"send it as a float, like {value:.6e}" if abs(value) < 1e300 else "send a smaller number",
        )
    if column.kind is Kind.TIMESTAMP and type(value) in (int, float) and (unit := other_unit(value, column)):
        return _other_unit(row, column, value, unit)
    needed = what_is_taken(column)
    return wrong(row, f"A {column.kind} column takes {needed}, or null", observed, f"send {needed}")


def what_is_taken(column: Column) -> str:
    """The values that a column's reading takes, in words."""
    if column.kind is Kind.NUMERIC:
        how = [f"{column.thousands!r} between thousands"] if column.thousands else []
        how += ["a decimal comma"] if column.decimal_comma else []
        example = f"1{column.thousands or ''}234{',' if column.decimal_comma else '.'}5"
        return "a number" + (f" (as text: with {' and '.join(how)}, like {example})" if how else "")
    if column.kind is Kind.BOOLEAN:
        return "true or false"
    if column.kind is Kind.CATEGORICAL:
        return "text"
    written = "" if column.format is None or column.format in EPOCHS else f", text like {_moment_like(column.format)}"
    numbers = f"whole {own_unit(column)} since 1970 within 64 bits"
    return f"an ISO 8601 time like 2013-06-30T14:05:00+02:00{written} or {numbers}"


def _moment_like(written: str) -> str:
    """A moment in the first of a column's notations, which are those of Polars."""
    text = re.sub(r"%#?z", "+0200", written.split(" | ")[0])  # as `parsing.OR`, which needs Polars
    return datetime(2013, 12, 31, 14, 5, 6).strftime(re.sub(r"%\.\d?f", ".5", text))


def _other_unit(row: int, column: Column, value: float, unit: str) -> RequestError:
    own = own_unit(column)
    factor = UNITS[unit] / UNITS[own]
    change = f"multiply by {factor:,.0f}" if factor > 1 else f"divide by {1 / factor:,.0f}"
    return wrong(
        row,
        f"Whole numbers for a timestamp column are {own} since 1970",
        f"column {column.name!r}: {shown(value)}, which as {own} lies years outside of training's timestamps "
        f"({column.earliest} to {column.latest}), and as {unit} does not",
        f"send {own} ({change}), or ISO 8601 text",
    )


def shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError):
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
