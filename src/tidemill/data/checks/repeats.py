"""Rows that repeat each other: within a split, and test rows that training rows give away.

Equal are rows with equal inputs and an equal target; keys and other columns that a model does not see may differ.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from tidemill.data.checks.findings import Finding, Severity, noticed
from tidemill.data.tables import Tables, hashes, sample
from tidemill.settings import Duplicates, SplitMethod

MANY = 0.01
"""Share of rows from which on duplicates are a warning."""
COPY = 0.5
"""From this share on, known test rows in data that do not repeat themselves mean that it is a copy."""
ROWS = 10_000
"""Training rows by which it is estimated how often rows are alike by chance."""


def drop(tables: Mapping[str, pl.DataFrame], columns: list[str]) -> dict[str, pl.DataFrame]:
    """The tables, together without rows that are equal to an earlier one in all these columns."""
    first = pl.concat([hashes(table, columns) for table in tables.values()]).is_first_distinct()
    ends = np.cumsum([table.height for table in tables.values()]).tolist()
    kept = zip(tables.items(), ends, strict=True)
    return {name: table.filter(first[end - table.height : end]) for (name, table), end in kept}


def check(tables: Tables) -> Iterator[Finding]:
    """Rows alike in all inputs and the target: within each split, and known from training in the others."""
    found = {name: hashes(table, tables.records) for name, table in tables.splits.items()}
    repeated = {name: 1 - values.n_unique() / max(len(values), 1) for name, values in found.items()}
    for name, values in found.items():
        rows = len(values) - values.n_unique()
        if rows:
            severity = Severity.WARNING if repeated[name] >= MANY else Severity.INFO
            yield noticed("duplicates", severity, None, rows, repeated[name])(
                message=f"{rows:,} rows of {name} ({repeated[name]:.2%}) repeat another in all inputs and the target",
                remedy="if they are the same record, set data.quality.duplicates=drop; "
                "if records are alike by nature, do nothing",
            )
    known = found["train"].unique().implode()
    chance: float | None = None
    for name in ("validation", "test"):
        rows = int(found[name].is_in(known).sum())
        if not rows:
            continue
        share = rows / len(found[name])
        chance = by_chance(tables) if chance is None else chance
        natural = chance >= share / 2
        copied = share >= COPY and share > 2 * repeated["train"] and not natural
        bars = name == "test" and share > tables.settings.quality.max_repeated and not natural
        severity = Severity.ERROR if copied else Severity.WARNING if share >= MANY else Severity.INFO
        yield noticed("duplicates_across", severity, None, rows, share, bars=bars)(
            message=f"{rows:,} rows of {name} ({share:.2%}) also stand in train, alike in all inputs and the target"
            + _why(tables, natural=natural, copied=copied, bars=bars),
            remedy=_remedy(tables, name, natural=natural, bars=bars),
        )


def by_chance(tables: Tables) -> float:
    """Share of rows that would have equal inputs in train if columns had nothing to do with each other.

    Estimated from pairs of a sample of training rows; 0 where a column has a value of its own in every row.
    """
    train = sample(tables.train, ROWS)
    if train.height < 2:
        return 0.0
    pairs, alike = train.height * (train.height - 1), 1.0
    for column in tables.schema.inputs:
        counts = hashes(train, [column.name]).value_counts()["count"].cast(pl.Int64).to_numpy()
        alike *= float((counts * (counts - 1)).sum()) / pairs
        if alike * tables.train.height < 1e-4:
            return 0.0
    return -math.expm1(-alike * tables.train.height)


def _why(tables: Tables, *, natural: bool, copied: bool, bars: bool) -> str:
    if natural:
        return "; as inputs have few different values, that is to be expected"
    if copied:
        return "; train hardly repeats itself, so they are copies"
    if bars:
        limit = tables.settings.quality.max_repeated
        return f" (limit {limit:.0%}), so figures on test reward a model that knows rows by heart"
    return ""


def _remedy(tables: Tables, name: str, *, natural: bool, bars: bool) -> str:
    if natural:
        return (
            "read the figures as those of inputs that are known; to measure others, set data.quality.duplicates=group"
        )
    settings = tables.settings
    path = settings.test_path if name == "test" else settings.validation_path
    remedies = ["set data.quality.duplicates=drop if they are the same record"]
    if settings.quality.duplicates is not Duplicates.GROUP and path is None:
        method = "" if settings.split.method is SplitMethod.RANDOM else " and data.split.method=random"
        remedies.append(f"data.quality.duplicates=group{method} if records are alike by nature")
        if settings.split.method is not SplitMethod.TIME:
            remedies.append("data.time and data.split.method=time if the table has moments")
    if bars:
        remedies.append("a larger data.quality.max_repeated if the rows in use repeat training rows as well")
    return ", or ".join(remedies)
