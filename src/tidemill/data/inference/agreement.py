"""One notation for a whole table: where a column's values can be read in two ways, the other columns decide.

01/02/2022 is read days first where another column of the table has 13/02/2022; 1.250 is 1250 where another has 3,14.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import polars as pl

from tidemill.data.cells import parsing, values
from tidemill.data.inference.facts import Facts
from tidemill.data.reading import collect
from tidemill.data.schema import Column
from tidemill.settings import Kind
from tidemill.settings.overrides import override

Style = TypeVar("Style", str, bool)
"""Which of two readings: the day or the month first; a decimal comma or not."""

UNSETTLED = "which no column of the table settles"
LOG = logging.getLogger(__name__)
_DOTTED = r"^[+-]?[1-9]\d{0,2}(?:\.\d{3})+$"
_ROUND = r"^[+-]?[1-9]\d{0,2}(?:\.\d{3})*\.\d{2}0$"
_EITHER = r"\d[.,]\d{3}(?!\d)"
_SMALL = r"^[+-]?\d{1,3}$"


def dotted(plain: Column, fact: Facts) -> list[Column]:
    """The other reading of plain numbers of which each is whole or has just three decimals: 950, 1.250."""
    some = [re.match(_DOTTED, text) is not None for text in fact.first if not re.match(_SMALL, text)]
    return [replace(plain, decimal_comma=True, thousands=".")] if some and all(some) else []


def settle(
    frame: pl.LazyFrame,
    best: Mapping[str, Sequence[Column]],
    decided: Mapping[str, Column | None],
    found: Mapping[str, Facts],
    stated: Mapping[str, Column],
) -> dict[str, Column]:
    """Other notations for some columns, each with the reason why.

    Args:
        best: by column, the notations that read as many of its values as any, the likeliest first.
        decided: the notation by each column's own values.
        stated: notations that settings give, which are not changed.
    """
    open_ = {name: columns for name, columns in best.items() if name not in stated}
    return _days(open_, best, decided, found) | _points(frame, open_, decided, found)


def _order(column: Column) -> str | None:
    """Whether the day or the month comes first; None where the year does, or the month has a name."""
    pattern = str(column.format).split(parsing.OR)[0] if column.kind is Kind.TIMESTAMP else ""
    return "days" if re.match("%d[^%]%m", pattern) else "months" if re.match("%m[^%]%d", pattern) else None


def _days(
    open_: Mapping[str, Sequence[Column]],
    best: Mapping[str, Sequence[Column]],
    decided: Mapping[str, Column | None],
    found: Mapping[str, Facts],
) -> dict[str, Column]:
    orders = {name: {order for one in columns if (order := _order(one))} for name, columns in best.items()}
    proofs = {order: f"as in {name!r}" for name, ways in orders.items() if len(ways) == 1 for order in ways}
    settled = {}
    for name, columns in open_.items():
        own = decided[name]
        if len(orders[name]) < 2 or own is None or own.kind is not Kind.TIMESTAMP:
            continue
        column, other, why = _chosen(columns, _order, proofs)
        change = override("data.formats", name, str(other.format))
        said = f"{_example(found[name])} is read {_order(column)} first, {why} ({change} changes that)"
        settled[name] = _decided(column, said, why)
    return settled


def _decided(column: Column, said: str, why: str) -> Column:
    """The column with what is said of its notation; where that is a guess, a person must see it."""
    if why == UNSETTLED:
        LOG.warning("%s: %s", column.name, said)
    return replace(column, reason=said)


def _chosen(
    columns: Sequence[Column], style: Callable[[Column], Style | None], proofs: Mapping[Style, str]
) -> tuple[Column, Column, str]:
    """The notation that the table's other columns prove (with nothing proven, or both: the likeliest), one of the
    other style, and why.

    Args:
        proofs: what proves each style.
    """
    if len(proofs) == 1:
        wanted, why = next(iter(proofs.items()))
    else:
        wanted, why = style(columns[0]), UNSETTLED  # type: ignore[assignment]
    column = next(one for one in columns if style(one) == wanted)
    return column, next(one for one in columns if style(one) not in (wanted, None)), why


def _points(
    frame: pl.LazyFrame,
    open_: Mapping[str, Sequence[Column]],
    decided: Mapping[str, Column | None],
    found: Mapping[str, Facts],
) -> dict[str, Column]:
    ways = {name: {one.decimal_comma for one in columns if one.kind is Kind.NUMERIC} for name, columns in open_.items()}
    both = [
        name
        for name, styles in ways.items()
        if len(styles) == 2
        and (best_own := decided[name])
        and best_own.kind is Kind.NUMERIC
        and _example(found[name], _EITHER)
    ]
    if not both:
        return {}
    proofs = {}
    for name, column in decided.items():
        if name not in both and column is not None and column.kind is Kind.NUMERIC:
            shows_point = column.thousands == "," or any(re.search(r"\d\.\d", text) for text in found[name].first)
            if column.decimal_comma or shows_point:
                proofs[column.decimal_comma] = f"as in {name!r}"
    thousands = _dots_are_thousands(frame, {name: open_[name] for name in both})
    settled = {}
    for name in both:
        numeric = [one for one in open_[name] if one.kind is Kind.NUMERIC]
        own = {True: "whole numbers beside it and zeros at the end show it"} if name in thousands else proofs
        column, other, why = _chosen(numeric, lambda one: one.decimal_comma, own)
        shown, change = _example(found[name], _EITHER), override("data.formats", name, _form(other))
        said = f"{shown} is read as {_value(column, shown)}, {why} ({change} changes that)"
        settled[name] = _decided(column, said, why)
    return settled


def _dots_are_thousands(frame: pl.LazyFrame, candidates: Mapping[str, Sequence[Column]]) -> set[str]:
    """Columns of whole numbers below 1,000 and of numbers with dots before three digits, of which some end with 0.

    Nothing that writes decimals leaves out those of whole numbers and keeps zeros at the end of others.
    """
    checks = []
    for name, columns in candidates.items():
        grouped = next((one for one in columns if one.thousands == "." and one.decimal_comma), None)
        if grouped is None:
            continue
        text = parsing.without_unit(pl.col(name).cast(pl.String), grouped)
        fits = text.str.contains(_DOTTED) | text.str.contains(_SMALL)
        enough = fits.sum() >= values.read(grouped, pl.String()).count()
        ends = text.str.contains(_ROUND).sum() > 0
        small = text.str.contains(_SMALL).sum() > 0
        checks.append((enough & ends & small).fill_null(False).alias(name))
    if not checks:
        return set()
    row = collect(frame.select(checks)).row(0, named=True)
    return {name for name, yes in row.items() if yes}


def _example(fact: Facts, pattern: str = "") -> str:
    return next((text for text in [*fact.sample, *fact.first] if re.search(pattern, text)), "")


def _value(column: Column, text: str) -> str:
    number = pl.select(parsing.number(pl.lit(text), column)).item()
    return f"{number:g}" if number is not None else "a number"


def _form(column: Column) -> str:
    """An example of the notation, as `data.formats` takes it."""
    point = "," if column.decimal_comma else "."
    return f"1{column.thousands}234{point}5" if column.thousands else f"1234{point}5"
