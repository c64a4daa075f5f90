"""From a source to checked splits: all that happens to a table before anything is learned from it."""

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from tidemill import secrets
from tidemill.data import fingerprint, infer, quality, sources, splits, target, typed
from tidemill.data.findings import Finding, lines
from tidemill.data.schema import Role, Schema
from tidemill.data.splits import Splits
from tidemill.data.target import Target
from tidemill.errors import SchemaError, listed
from tidemill.settings import DataSettings, Kind

LOG = logging.getLogger(__name__)
SHOWN_COLUMNS = 60
"""Columns that the console shows; `schema.yaml` has all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A table read by its schema, split and checked.

    quarantined: number of rows kept out; they lie in the run's folder with their reasons.
    fingerprint: of the content of all rows that were kept, test included.
    """

    schema: Schema
    target: Target
    splits: Splits
    findings: list[Finding]
    quarantined: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """The table, and the one of `data.test_path` where that is set: there, with all columns that settings name."""

    frame: pl.LazyFrame
    test: pl.LazyFrame | None


def open(settings: DataSettings) -> Opened:
    """Find the table and look at its columns' names; no value has to be right yet.

    Raises:
        SourceError, SchemaError: there is no such table, or it lacks a column that the settings name.
    """
    LOG.info("Reading %s", secrets.mask(settings.path or settings.source))
    frame = sources.open(settings)
    names = frame.collect_schema().names()
    if settings.target is None and settings.schema is None:
        raise _no_target(names)
    infer.check_names(settings, names)
    return Opened(frame=frame, test=sources.open_test(settings))


def load(settings: DataSettings, folder: Path, opened: Opened | None = None) -> Dataset:
    """Read, type, split and check the table; `schema.yaml` and quarantined rows are written to `folder`.

    Args:
        opened: what `open` has found for these settings, if it was called already.

    Raises:
        SourceError, SchemaError, SplitError, QualityError: what is wrong with the table, before work is wasted.
    """
    opened = opened or open(settings)
    frame = opened.frame
    schema = infer.infer(frame, settings)
    infer.write_yaml(schema, folder / "schema.yaml")
    LOG.info("Schema (pin it with data.schema=%s)\n%s", folder / "schema.yaml", _shown(schema))
    goal_column = schema.only(Role.TARGET)
    if goal_column is None:
        raise _no_target([column.name for column in schema.columns])
    table = typed.apply(frame, schema)
    test_table = typed.apply(opened.test, schema) if opened.test is not None else None
    quarantined = [part.quarantined for part in (table, test_table) if part is not None]
    count = _keep(quarantined, folder / "quarantine.parquet")
    goal = target.fit(table.table[goal_column.name], settings)
    parts = splits.split(table.table, schema, settings.split, goal, test_table.table if test_table else None)
    schema = schema.with_ranges(_ranges(parts.train, schema))
    infer.write_yaml(schema, folder / "schema.yaml")
    LOG.info(
        "Splits: train %s, validation %s, test %s rows (%s); %s quarantined",
        *(f"{rows:,}" for rows in (parts.train.height, parts.validation.height, parts.test.rows)),
        settings.split.method,
        count,
    )
    LOG.info("Target: %s, %s%s", goal.name, goal.objective, f": {', '.join(goal.classes[:20])}" if goal.classes else "")
    findings = quality.check(parts, count, schema, settings, goal)
    for line in lines(findings):
        LOG.info("%s", line)
    quality.stop_on_errors(findings)
    everything = [table.table, *([test_table.table] if test_table else [])]
    return Dataset(
        schema=schema,
        target=goal,
        splits=parts,
        findings=findings,
        quarantined=count,
        fingerprint=fingerprint.fingerprint(pl.concat(everything)),
    )


def _ranges(train: pl.DataFrame, schema: Schema) -> dict[str, tuple[datetime, datetime]]:
    """First and last moment of each timestamp column."""
    names = [column.name for column in schema.columns if column.kind is Kind.TIMESTAMP and column.name in train.columns]
    found = {name: (train[name].min(), train[name].max()) for name in names}
    return {
        name: (first, last)
        for name, (first, last) in found.items()
        if isinstance(first, datetime) and isinstance(last, datetime)
    }


def _no_target(names: list[str]) -> SchemaError:
    return SchemaError(
        "data.target must name the column to predict",
        observed="nothing",
        remedy=f"set data.target to one of {listed(names)}",
    )


def _keep(quarantined: list[pl.DataFrame], file: Path) -> int:
    rows = pl.concat(quarantined, how="diagonal_relaxed")
    if rows.height:
        rows.write_parquet(file)
        LOG.info("warning: %s rows break the schema and are kept in %s", f"{rows.height:,}", file)
    return rows.height


def _shown(schema: Schema) -> str:
    shown = schema.columns[:SHOWN_COLUMNS]
    width = max(len(column.name) for column in shown)
    texts = [
        f"  {column.name:<{width}}  {column.kind:<11}  {column.role}{f' ({column.reason})' if column.reason else ''}"
        for column in shown
    ]
    more = len(schema.columns) - len(shown)
    return "\n".join([*texts, *([f"  and {more:,} more columns, in the file"] if more else [])])
