"""Which column says when a record was made: a table with moments is better split by time than at random."""

from collections.abc import Iterator

import polars as pl

from tidemill.data.checks.findings import Finding, Severity, noticed
from tidemill.data.schema import Role, Schema
from tidemill.data.tables import Tables, sample
from tidemill.errors import listed
from tidemill.settings import Kind, SplitMethod
from tidemill.settings.overrides import word

ROWS = 10_000
SHOWN = 5
IN_PARTS = "where the table has it in parts (year, month, day), make it of them with data.moments"


def candidates(table: pl.DataFrame, schema: Schema, excluded: set[str]) -> list[str]:
    """Columns that may be the moment of a record, the likeliest first: earlier than other moments, and with few gaps.

    Args:
        excluded: columns that depend on the target; a moment that lies after the prediction is no moment of it.
    """
    roles = (Role.FEATURE, Role.TIME)
    names = [
        column.name
        for column in schema.columns
        if column.kind is Kind.TIMESTAMP and column.role in roles and column.name in table.columns
    ]
    rows = sample(table[names], ROWS)
    left = [name for name in names if name not in excluded]

    def lateness(name: str) -> tuple[float, float]:
        later = [float((rows[name] > rows[other]).mean() or 0.0) for other in names if other != name]  # type: ignore[arg-type]
        return max(later, default=0.0), rows[name].null_count() / max(rows.height, 1)

    return sorted(left, key=lateness)


def suggest(tables: Tables, excluded: set[str]) -> Iterator[Finding]:
    """A random split of a table with moments: rows of one time stand on both sides, as they never will in use."""
    random = tables.settings.split.method in (SplitMethod.RANDOM, SplitMethod.STRATIFIED)
    separate = tables.settings.test_path is not None
    time = tables.schema.only(Role.TIME)
    moments = tables.inputs(Kind.TIMESTAMP)
    if time is not None and time.kind is Kind.TIMESTAMP and time.name not in moments:
        moments.append(time.name)
    if not random or separate or not moments:
        return
    found = [time.name] if time is not None else candidates(tables.train, tables.schema, excluded)
    late = [name for name in moments if name not in found]
    message = (
        f"the table has moments ({listed(moments, SHOWN, quoted=True)}), and it is split at random: "
        "rows of one time stand in train and in test"
    )
    if late:
        message += f"; {listed(late, SHOWN, quoted=True)} gives the target away and is no moment of prediction"
    yield noticed("random_split_of_moments", Severity.WARNING, found[0] if found else None, tables.train.height, 1.0)(
        message=message,
        remedy=f"if a record is made at {found[0]!r}, run once more with {word('data.time', found[0])} "
        "data.split.method=time, under another name (name=…), and compare the figures: those are what later records "
        "will get"
        if found
        else "name the moment at which a prediction is made as data.time and set data.split.method=time; " + IN_PARTS,
    )
