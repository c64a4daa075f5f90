"""From a source to checked splits: all that happens to a table before anything is learned from it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import polars as pl

from tidemill import secrets
from tidemill.data import fingerprint, infer, schema_file, sources, target, typed
from tidemill.data.checks import label_times, quality, repeats
from tidemill.data.checks.findings import Finding, Severity, lines
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.splitting import splits
from tidemill.data.splitting.splits import Splits
from tidemill.data.target import Target
from tidemill.errors import SchemaError, listed
from tidemill.settings import DataSettings, Duplicates, Kind

LOG = logging.getLogger(__name__)
SHOWN_COLUMNS = 60
"""Columns that the console shows; `schema.yaml` has all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A table read by its schema, split and checked.

    quarantined: number of rows kept out; they lie in the run's folder with their reasons.
    dropped: number of rows left out because they repeat another one (data.quality.duplicates=drop).
    fingerprint: of the content of all rows that were kept, test included.
    """

    schema: Schema
    target: Target
    splits: Splits
    findings: list[Finding]
    quarantined: int
    dropped: int
    fingerprint: str


OpenTables = dict[str, pl.LazyFrame]
"""By the setting that names each: `data.path`, and `data.validation_path` and `data.test_path` where these are set."""


def open(settings: DataSettings) -> OpenTables:
    """Find the tables and look at their columns' names; no value has to be right yet.

    Raises:
        SourceError, SchemaError: there is no such table, or it lacks a column that the settings name.
    """
    LOG.info("Reading %s", secrets.mask(settings.path or settings.source))
    frame = sources.open(settings)
    names = frame.collect_schema().names()
    if settings.target is None and settings.schema is None:
        raise _no_target(names)
    infer.check_names(settings, names)
    separate = {f"data.{split}_path": sources.open_separate(settings, split) for split in ("validation", "test")}
    return {"data.path": frame} | {name: table for name, table in separate.items() if table is not None}


def load(settings: DataSettings, folder: Path, opened: OpenTables | None = None) -> Dataset:
    """Read, type, split and check the table; `schema.yaml` and quarantined rows are written to `folder`.

    Args:
        opened: what `open` has found for these settings, if it was called already.

    Raises:
        SourceError, SchemaError, SplitError, QualityError: what is wrong with the table, before work is wasted.
    """
    opened = opened or open(settings)
    schema = infer.infer(opened["data.path"], settings)
    schema_file.write(schema, folder / "schema.yaml")
    LOG.info("Schema (pin it with data.schema=%s)\n%s", folder / "schema.yaml", _shown(schema))
    goal_column = schema.only(Role.TARGET)
    if goal_column is None:
        raise _no_target([column.name for column in schema.columns])
    late = None if sources.waits_for_labels(settings) else label_times.settle(opened, schema, settings)
    tables = opened if late is None else late.frames
    read = {name: typed.apply(table, schema) for name, table in tables.items()}
    count = _keep([table.quarantined for table in read.values()], folder / "quarantine.parquet")
    goal = target.fit(read["data.path"].table[goal_column.name], settings)
    whole = {name: part.table for name, part in read.items()}
    kept = without_repeats(whole, schema, settings)
    dropped = sum(one.height for one in whole.values()) - sum(one.height for one in kept.values())
    if dropped:
        LOG.info("Dropped %s rows that repeat an earlier one in all inputs and the target", f"{dropped:,}")
    parts = divide(kept, schema, settings, goal)
    schema = with_ranges(schema, parts.train)
    schema_file.write(schema, folder / "schema.yaml")
    LOG.info(
        "Splits: train %s, validation %s, test %s rows (%s); %s quarantined",
        *(f"{rows:,}" for rows in (parts.train.height, parts.validation.height, parts.test.rows)),
        settings.split.method,
        f"{count:,}",
    )
    LOG.info("Target: %s, %s%s", goal.name, goal.objective, f": {', '.join(goal.classes[:20])}" if goal.classes else "")
    findings = quality.check(parts, read, schema, settings, goal, late)
    log_findings(findings)
    quality.stop_on_errors(findings)
    return Dataset(
        schema=schema,
        target=goal,
        splits=parts,
        findings=findings,
        quarantined=count,
        dropped=dropped,
        fingerprint=fingerprint.fingerprint(pl.concat(kept.values())),
    )


def with_ranges(schema: Schema, train: pl.DataFrame) -> Schema:
    """The schema with the first and last moment of each timestamp column in the training split."""

    def ranged(column: Column) -> Column:
        if column.kind is not Kind.TIMESTAMP or column.role is Role.IGNORED:
            return column
        first, last = train[column.name].min(), train[column.name].max()
        if not isinstance(first, datetime) or not isinstance(last, datetime):
            return column
        return replace(column, earliest=first.isoformat(), latest=last.isoformat())

    return replace(schema, columns=tuple(map(ranged, schema.columns)))


def log_findings(findings: Sequence[Finding]) -> None:
    """Log every warning with its remedy, and what weights count in."""
    for line in lines(findings):
        LOG.info("%s", line)
    for finding in findings:
        if finding.check == "weights" and finding.severity is Severity.INFO:
            LOG.info("Note: %s", finding.message)


def without_repeats(
    tables: Mapping[str, pl.DataFrame], schema: Schema, settings: DataSettings
) -> Mapping[str, pl.DataFrame]:
    """The typed tables; where it is asked for, without rows that repeat an earlier one in all inputs and the target."""
    if settings.quality.duplicates is not Duplicates.DROP:
        return tables
    columns = [column.name for column in (*schema.inputs, *schema.with_role(Role.TARGET))]
    return repeats.drop(tables, columns)


def divide(tables: Mapping[str, pl.DataFrame], schema: Schema, settings: DataSettings, goal: Target) -> Splits:
    """The splits of typed tables, by the setting that names each of them (see `OpenTables`)."""
    group = settings.quality.duplicates is Duplicates.GROUP
    return splits.split(
        tables["data.path"],
        schema,
        settings.split,
        goal,
        tables.get("data.test_path"),
        tables.get("data.validation_path"),
        alike=[column.name for column in schema.inputs] if group else None,
    )


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
        LOG.info("%s rows break a rule of the schema; they are kept in %s", f"{rows.height:,}", file)
    return rows.height


def _shown(schema: Schema) -> str:
    shown = schema.columns[:SHOWN_COLUMNS]
    names = [column.name if column.name.isprintable() else repr(column.name) for column in shown]
    width = max(map(len, names))
    texts = [
        f"  {name:<{width}}  {column.kind:<11}  {column.role}{f' ({column.reason})' if column.reason else ''}"
        for name, column in zip(names, shown, strict=True)
    ]
    more = len(schema.columns) - len(shown)
    return "\n".join([*texts, *([f"  and {more:,} more columns, in the file"] if more else [])])


def source(settings: DataSettings) -> str:
    """Where the table came from; no password is kept of it."""
    if settings.source == "sql":
        return secrets.mask(settings.query or "sql")
    return secrets.mask(settings.path or settings.source)
