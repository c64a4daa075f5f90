"""Rows that broke a rule of the schema: how many of each split, and why.

Limits hold by split: a tenth of the test rows must not hide among many training rows.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import polars as pl

from tidemill.data import typed
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.tables import Quarantined
from tidemill.data.typed import REASON, TypedTable
from tidemill.settings import DataSettings, Kind, SplitMethod

_ROW = "row\0"
REASONS = 5
"""Reasons that a message lists, the most frequent first."""
EXAMPLES = 2


def count(
    read: Mapping[str, TypedTable], schema: Schema, settings: DataSettings, splits: Mapping[str, pl.DataFrame]
) -> list[Quarantined]:
    """What was kept out of each table; and of a split by time, where that is more than the limit.

    Args:
        read: by the setting that named each table, `data.path` first.
        splits: what became of the rows that were kept.
    """
    names = [column.name for column in schema.columns]
    parts = {name: (table.quarantined, table.table.height) for name, table in read.items()}
    if settings.split.method is SplitMethod.TIME and "data.path" in read:
        limit = settings.quality.max_quarantined
        by_time = _by_time(read["data.path"].quarantined, schema, splits, set(read))
        parts |= {name: (lost, kept) for name, (lost, kept) in by_time.items() if lost.height > limit * kept}
    return [
        Quarantined(part=name, rows=lost.height, of=lost.height + kept, reasons=tuple(_reasons(lost[REASON], names)))
        for name, (lost, kept) in parts.items()
        if lost.height
    ]


def _by_time(
    lost: pl.DataFrame, schema: Schema, splits: Mapping[str, pl.DataFrame], tables: set[str]
) -> dict[str, tuple[pl.DataFrame, int]]:
    """Rows of `data.path` that were lost, and the number that was kept, by split. Without a readable time: in none."""
    time = schema.only(Role.TIME)
    cut = [name for name in splits if f"data.{name}_path" not in tables]
    if time is None or not lost.height or any(splits[name].is_empty() for name in cut):
        return {}
    numbered = lost.with_columns(pl.int_range(pl.len()).cast(pl.Float64).alias(_ROW))
    columns = (Column(name=_ROW, kind=Kind.NUMERIC), replace(time, role=Role.FEATURE, missing_allowed=True))
    read = typed.apply(numbered[[_ROW, time.name]].lazy(), Schema(columns=columns)).table
    dated = read.rename({time.name: "at"}).drop_nulls()
    begun = [pl.col("at") >= splits[name][time.name].min() for name in cut[1:]]
    later = dated.with_columns(split=pl.sum_horizontal(pl.lit(0), *begun))
    rows = {name: later.filter(split=index)[_ROW].cast(pl.Int64) for index, name in enumerate(cut)}
    return {name: (lost[numbers], splits[name].height) for name, numbers in rows.items()}


def _reasons(said: pl.Series, names: list[str]) -> Iterator[str]:
    """Each rule that was broken with its rows and examples of the values, the most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], list[str]] = {}
    known = sorted(names, key=len, reverse=True)
    next_reason = re.compile("; (?=(?:" + "|".join(map(re.escape, known)) + "): )")  # values may have semicolons too
    for reason, rows in said.value_counts().sort(said.name).iter_rows():
        for part in next_reason.split(reason):
            name = next(name for name in known if part.startswith(f"{name}: "))
            value, _, rule = part[len(name) + 2 :].rpartition("' ")
            rule = rule or part[len(name) + 2 :]
            counts[name, rule] += rows
            shown = examples.setdefault((name, rule), [])
            if value and len(shown) < EXAMPLES:
                shown.append(value.removeprefix("'"))
    for (name, rule), rows in counts.most_common(REASONS):
        listed = ", ".join(map(repr, examples[name, rule]))
        yield f"{rows:,} rows: {name}: {rule}" + (f", e.g. {listed}" if listed else "")
    if len(counts) > REASONS:
        yield f"and {len(counts) - REASONS:,} more reasons"
