"""One notation for a whole table: where a column's values can be read in two ways, the other columns decide.

01/02/2022 is read days first where another column of the table has 13/02/2022; 1.250 is 1250 where another has 3,14.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from tidemill.data.cells import parsing, values
from tidemill.data.inference.facts import Facts
from tidemill.data.reading import collect
from tidemill.data.schema import Column
from tidemill.settings import Kind
from tidemill.settings.overrides import override

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
    """Another choice for some columns, and what is to be said of it.

    Args:
        best: by column, the notations that read as many of its values as any, the likeliest first.
        decided: the choice by each column's own values.
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
    proofs = {order: name for name, ways in orders.items() if len(ways) == 1 for order in ways}
    settled = {}
    for name, columns in open_.items():
        own = decided[name]
        if len(orders[name]) < 2 or own is None or own.kind is not Kind.TIMESTAMP:
            continue
        order = next(iter(proofs)) if len(proofs) == 1 else str(_order(columns[0]))
        column = next(one for one in columns if _order(one) == order)
        other = next(one for one in columns if _order(one) not in (order, None))
        shown = _example(found[name])
        why = f"as in {proofs[order]!r}" if len(proofs) == 1 else "which no column of the table settles"
        said = (
            f"{shown} is read {order} first, {why} ({override('data.formats', name, str(other.format))} changes that)"
        )
        settled[name] = replace(column, reason=said)
    return settled


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
        if len(styles) == 2 and _is_numeric(decided[name]) and _example(found[name], _EITHER)
    ]
    if not both:
        return {}
    proofs: dict[bool, str] = {}
    for name, column in decided.items():
        if name not in both and column is not None and column.kind is Kind.NUMERIC:
            if column.decimal_comma:
                proofs[True] = name
            elif column.thousands == "," or any(re.search(r"\d\.\d", text) for text in found[name].first):
                proofs[False] = name
    thousands = _dots_are_thousands(frame, {name: open_[name] for name in both})
    settled = {}
    for name in both:
        numeric = [one for one in open_[name] if one.kind is Kind.NUMERIC]
        own = True if name in thousands else None
        comma = own if own is not None else next(iter(proofs)) if len(proofs) == 1 else numeric[0].decimal_comma
        column = next(one for one in numeric if one.decimal_comma == comma)
        other = next(one for one in numeric if one.decimal_comma != comma)
        why = "whole numbers beside it and zeros at the end show it" if own else (
            f"as in {proofs[comma]!r}" if len(proofs) == 1 else "which no column of the table settles"
        )  # fmt: skip
        shown = _example(found[name], _EITHER)
        change = override("data.formats", name, _form(other))
        settled[name] = replace(
            column, reason=f"{shown} is read as {_value(column, shown)}, {why} ({change} changes that)"
        )
    return settled


def _is_numeric(column: Column | None) -> bool:
    return column is not None and column.kind is Kind.NUMERIC


def _dots_are_thousands(frame: pl.LazyFrame, candidates: Mapping[str, Sequence[Column]]) -> set[str]:
    """Columns of whole numbers below 1,000 and of numbers with dots before three digits, of which some end with 0.

    Nothing that writes decimals leaves out those of whole numbers and keeps zeros at the end of others.
    """
    checks = []
    for name, columns in candidates.items():
        dress = next((one for one in columns if one.thousands == "." and one.decimal_comma), None)
        if dress is None:
            continue
        text = parsing.undressed(pl.col(name).cast(pl.String), unit=dress.unit, accounting=dress.accounting)
        fits = text.str.contains(_DOTTED) | text.str.contains(_SMALL)
        enough = fits.sum() >= values.read(dress, pl.String()).count()
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
    number = pl.select(parsing.number(
        pl.lit(text), decimal_comma=column.decimal_comma, thousands=column.thousands,
        unit=column.unit, accounting=column.accounting,
    )).item()  # fmt: skip
    return f"{number:g}" if number is not None else "a number"


def _form(column: Column) -> str:
    """An example of the notation, as `data.formats` takes it."""
    point = "," if column.decimal_comma else "."
    return f"1{column.thousands}234{point}5" if column.thousands else f"1234{point}5"
