"""Features that cannot help a model, recognised by their values: empty, constant, a name of the record, prose."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import polars as pl

from tidemill.data.cells import values
from tidemill.data.inference.facts import Facts
from tidemill.data.inference.remarks import with_reason
from tidemill.data.reading import collect
from tidemill.data.schema import Column, Role
from tidemill.settings import Kind

ID_NAME = re.compile(r"(?:^|[_\W])(?:[iI][dD]|ID|uuid|guid|index)$|[a-z]I[dD]$|^Unnamed: ?\d+$")
"""Whole numbers under such a name are names of things: categories."""

PROSE = 40
"""Mean number of characters from which mostly different texts are prose, not categories."""

FEW_ROWS = 100
"""Below this many rows, that all values differ says nothing."""


def ignore_useless(
    frame: pl.LazyFrame,
    columns: Sequence[Column],
    found: Mapping[str, Facts],
    *,
    settled: Collection[str],
    index: Collection[str] = (),
) -> list[Column]:
    """The columns, useless features among them ignored with the reason.

    Args:
        settled: names that the user has set a kind for: only empty and constant ones of these are ignored.
        index: names of what pandas stored as its index of rows.
    """
    features = [column for column in columns if column.role is Role.FEATURE and column.name not in settled]
    different = {c.name: found[c.name].words.height for c in features if _only_words(c, found[c.name])}
    others = [column for column in features if column.name not in different]
    uncertain = [column for column in others if column.name in index or _may_name(column, found[column.name])]
    different |= _different(frame, uncertain)
    result = []
    for column in columns:
        if column.role is Role.FEATURE:
            fact = found[column.name]
            if column.kind is Kind.NUMERIC and different.get(column.name) and ID_NAME.search(column.name):
                column = replace(column, kind=Kind.CATEGORICAL)
            reason = _says_nothing(fact)
            if reason is None and column.name not in settled:
                reason = _names_record(column, fact, different.get(column.name, 0), index)
            if reason is not None:
                column = replace(with_reason(column, reason, column.reason), role=Role.IGNORED)
        result.append(column)
    return result


def _says_nothing(fact: Facts) -> str | None:
    if values.unreadable(fact.dtype):
        return f"holds {fact.dtype}, which no kind reads"
    if fact.present == 0:
        return "empty: no row has a value"
    return "constant: every row has the same value" if fact.constant else None


def _names_record(column: Column, fact: Facts, different: int, index: Collection[str]) -> str | None:
    if re.fullmatch(r"__index_level_\d+__", column.name):
        return "the index of a pandas table, which numbers its rows"
    if column.name in index and different == fact.rows:
        return "the index of a pandas table: every row has its own value"
    if fact.present < FEW_ROWS or different == 0:
        return None
    if column.kind is Kind.NUMERIC:
        return "numbers the rows" if different == fact.rows else None
    if different > 0.5 * fact.present and fact.length >= PROSE:
        return "prose: long texts that mostly differ"
    return "names the record: nearly every row has its own value" if different >= 0.95 * fact.present else None


def _only_words(column: Column, fact: Facts) -> bool:
    return column.kind is Kind.CATEGORICAL and fact.words.height > 0 and fact.numbers == 0


def _may_name(column: Column, fact: Facts) -> bool:
    """Categories, numbers named as ids, and numbers that span as many units as there are rows."""
    if column.kind is not Kind.NUMERIC:
        return column.kind is Kind.CATEGORICAL and not values.unreadable(fact.dtype)
    if fact.smallest is None or fact.largest is None:
        return False
    return fact.largest - fact.smallest + 1 == fact.rows or ID_NAME.search(column.name) is not None


def _different(frame: pl.LazyFrame, columns: Sequence[Column]) -> dict[str, int]:
    """The number of different values of each column, in one pass; 0 where a number has a fraction."""
    if not columns:
        return {}
    dtypes = frame.collect_schema()
    counts = []
    for column in columns:
        value = values.read(column, dtypes[column.name]).drop_nulls()
        whole = (value == value.floor()).all() if column.kind is Kind.NUMERIC else pl.lit(True)
        counts.append(pl.when(whole).then(value.n_unique()).otherwise(0).alias(column.name))
    return collect(frame.select(counts)).row(0, named=True)
