"""What the log and the schema say about how a column is read: its notation, and what was not read by it."""

import logging
import re
from dataclasses import replace

import polars as pl

from tidemill.data.cells import parsing
from tidemill.data.inference import notations
from tidemill.data.inference.facts import Facts
from tidemill.data.schema import Column
from tidemill.errors import listed
from tidemill.settings import Kind
from tidemill.settings.overrides import override

NEARLY = 0.75
"""Share of a category's values from which on it is worth saying that they are numbers or dates."""
MOST = 20
"""Texts that a remedy lists at most."""
SHOWN = 5

LOG = logging.getLogger(__name__)

_PLURAL = {Kind.NUMERIC: "numbers", Kind.TIMESTAMP: "dates", Kind.BOOLEAN: "yes or no"}


def notation(column: Column, fact: Facts) -> str | None:
    """How numbers and dates are written, where that is not the plain way."""
    if column.kind is Kind.NUMERIC:
        parts = [f"unit {column.unit}"] if column.unit else []
        parts += ["decimal comma"] if column.decimal_comma else []
        parts += [f"thousands {column.thousands!r}"] if column.thousands else []
        parts += ["minus as parentheses or behind"] if column.accounting else []
        shown = max(fact.sample, key=len, default="")
        if not parts and re.search(r"^\W*[\u2212\u2012\u2013\ufe63\uff0d]\d", shown):
            parts = ["a minus sign of its own"]
        return f"written like {shown!r}: {', '.join(parts)}" if parts else None
    if column.kind is Kind.TIMESTAMP and parsing.OR in str(column.format):
        return f"written in {str(column.format).count(parsing.OR) + 1} ways"
    return None


def with_reason(column: Column, *reasons: str | None) -> Column:
    """The column with all that is worth saying about how it is read."""
    return replace(column, reason="; ".join(filter(None, reasons)) or None)


def missing(column: Column, fact: Facts) -> str | None:
    """Which texts are read as missing, with their counts."""
    everything = {**fact.number_marks, **fact.marks}
    counts = {mark: count for mark, count in everything.items() if count and mark in column.missing_marks}
    if not counts:
        return None
    more = " texts" if len(counts) > SHOWN else ""
    return "missing: " + listed((f"{mark!r} {count:,}" for mark, count in counts.items()), SHOWN) + more


def unread(column: Column, fact: Facts, read: int) -> str | None:
    """Few values that the kind does not read: their rows will be set aside."""
    if read >= fact.values or fact.dtype != pl.String:
        return None
    others, shown = _others(column, fact)
    LOG.warning(
        "%s of %s's values are no %s, and their rows will be set aside: %s. To read these texts as missing: %s",
        f"{fact.values - read:,}",
        column.name,
        _PLURAL.get(column.kind, column.kind),
        shown,
        override("data.missing_marks", column.name, [*fact.number_marks, *others]),
    )
    return f"{fact.values - read:,} values are no {_PLURAL.get(column.kind, column.kind)}: {shown}"


def nearly(category: Column, best: Column, fact: Facts, read: int) -> Column:
    """A category most of whose values are numbers or dates: say so, and what would make it one."""
    share = read / fact.values if fact.values else 0.0
    if share < NEARLY or best.kind not in (Kind.NUMERIC, Kind.TIMESTAMP):
        return category
    kind = _PLURAL[best.kind]
    others, shown = _others(best, fact)
    said = f"{share:.0%} of its values are {kind}; the others are {shown}"
    if len(others) <= MOST:
        remedy = "if they mean missing: " + override("data.missing_marks", category.name, [*fact.number_marks, *others])
    else:
        remedy = (
            f"correct them in the table, or set {override('data.kinds', category.name, str(best.kind))} and raise "
            "data.quality.max_quarantined: rows with the others are then set aside"
        )
    LOG.warning(
        "%s is read as a category: %s of its values are %s; the %s others are %s. To read it as %s, %s",
        category.name, f"{share:.0%}", kind, f"{fact.values - read:,}", shown, kind, remedy,
    )  # fmt: skip
    return replace(category, reason=said)


def _others(column: Column, fact: Facts) -> tuple[list[str], str]:
    """Texts that are not read, and the most frequent of them with their counts."""
    words = fact.words.filter(~pl.col("text").is_in(list(fact.number_marks)))
    value = notations.reading(replace(column, name="text", missing_marks=()), pl.String())
    others = words.filter(value.is_null()).sort("count", descending=True)
    shown = ", ".join(f"{text[:40]!r} {count:,}" for text, count in others.head(SHOWN).iter_rows())
    more = f" and {others.height - SHOWN:,} more texts" if others.height > SHOWN else ""
    return others["text"].to_list(), shown + more
