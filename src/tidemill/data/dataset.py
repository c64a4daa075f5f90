"""From a source to checked splits: all that happens to a table before anything is learned from it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tidemill import secrets
from tidemill.data import fingerprint, infer, quality, repeats, sources, splits, target, typed
from tidemill.data.findings import Finding, Severity
from tidemill.data.schema import Role, Schema
from tidemill.data.splits import Splits
from tidemill.data.target import Target
from tidemill.data.typed import TypedTable
from tidemill.errors import SchemaError
from tidemill.settings import DataSettings, Duplicates

LOG = logging.getLogger(__name__)


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


def load(settings: DataSettings, folder: Path) -> Dataset:
    """Read, type, split and check the table; `schema.yaml` and quarantined rows are written to `folder`.

    Raises:
        SourceError, SchemaError, SplitError, QualityError: what is wrong with the table, before work is wasted.
    """
    LOG.info("Reading %s", secrets.mask(settings.path or settings.source))
    frame = sources.open(settings)
    if settings.target is None and settings.schema is None:
        raise _no_target(frame.collect_schema().names())
    schema = infer.infer(frame, settings)
    infer.write_yaml(schema, folder / "schema.yaml")
    LOG.info("Schema (pin it with data.schema=%s)\n%s", folder / "schema.yaml", _shown(schema))
    goal_column = schema.only(Role.TARGET)
    if goal_column is None:
        raise _no_target([column.name for column in schema.columns])
    opened = {
        "data.path": frame,
        "data.validation_path": sources.open_validation(settings),
        "data.test_path": sources.open_test(settings),
    }
    read = {name: typed.apply(table, schema) for name, table in opened.items() if table is not None}
    count = _keep([table.quarantined for table in read.values()], folder / "quarantine.parquet")
    goal = target.fit(read["data.path"].table[goal_column.name], settings)
    inputs = [column.name for column in schema.inputs]
    kept, dropped = _without_repeats(read, [*dict.fromkeys([*inputs, goal.name])], settings.quality.duplicates)
    parts = splits.split(
        kept["data.path"],
        schema,
        settings.split,
        goal,
        kept.get("data.test_path"),
        kept.get("data.validation_path"),
        alike=inputs if settings.quality.duplicates is Duplicates.GROUP else None,
    )
    LOG.info(
        "Splits: train %s, validation %s, test %s rows (%s); %s quarantined",
        *(f"{rows:,}" for rows in (parts.train.height, parts.validation.height, parts.test.rows)),
        settings.split.method,
        f"{count:,}",
    )
    LOG.info("Target: %s, %s%s", goal.name, goal.objective, f": {', '.join(goal.classes[:20])}" if goal.classes else "")
    findings = quality.check(parts, read, schema, settings, goal)
    tell(findings)
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


def tell(findings: Sequence[Finding]) -> None:
    """Say every warning with its remedy, and what weights count in, to who watches the run."""
    for finding in findings:
        if finding.severity is Severity.WARNING:
            LOG.info("warning: %s\n  remedy: %s", finding.message, finding.remedy)
        elif finding.check == "weights":
            LOG.info("Note: %s", finding.message)


def _without_repeats(
    read: Mapping[str, TypedTable], columns: list[str], rule: Duplicates
) -> tuple[dict[str, pl.DataFrame], int]:
    """The tables, and the number of rows that were dropped because an earlier one is equal in these columns."""
    tables = {name: part.table for name, part in read.items()}
    if rule is not Duplicates.DROP:
        return tables, 0
    kept = repeats.drop(list(tables.values()), columns)
    dropped = sum(table.height for table in tables.values()) - sum(table.height for table in kept)
    LOG.info("Dropped %s rows that repeat an earlier one in all inputs and the target", f"{dropped:,}")
    return dict(zip(tables, kept, strict=True)), dropped


def _no_target(names: list[str]) -> SchemaError:
    return SchemaError(
        "data.target must name the column to predict",
        observed="nothing",
        remedy=f"set data.target to one of {', '.join(names)}",
    )


def _keep(quarantined: list[pl.DataFrame], file: Path) -> int:
    rows = pl.concat(quarantined, how="diagonal_relaxed")
    if rows.height:
        rows.write_parquet(file)
        LOG.info("%s rows break a rule of the schema; they are kept in %s", f"{rows.height:,}", file)
    return rows.height


def _shown(schema: Schema) -> str:
    width = max(len(column.name) for column in schema.columns)
    lines = [
        f"  {column.name:<{width}}  {column.kind:<11}  {column.role}{f' ({column.reason})' if column.reason else ''}"
        for column in schema.columns
    ]
    return "\n".join(lines)
