"""Checks that look at whole rows, within a split and across splits."""

from collections.abc import Iterator

import polars as pl

from tidemill.data.findings import Finding, Severity
from tidemill.data.schema import Role
from tidemill.data.tables import Tables
from tidemill.settings import Kind, SplitMethod

FEW = 100
"""Rows of a split, below which its figures say little."""
OFF_SHARE = 0.25
"""By how much a split may differ from the share asked for, relative to it."""
MANY = 0.01
"""Share of rows from which on duplicates are a warning."""
COPY = 0.5
"""From this share on, known test rows in data that do not repeat themselves mean that it is a copy."""


def quarantined(tables: Tables) -> Iterator[Finding]:
    rows, limit = tables.quarantined, tables.settings.quality.max_quarantined
    if rows == 0:
        return
    share = rows / (rows + sum(table.height for table in tables.splits.values()))
    yield Finding(
        check="quarantined",
        severity=Severity.ERROR if share > limit else Severity.WARNING,
        column=None,
        message=f"{rows:,} rows ({share:.2%}) break a rule of the schema and were quarantined (limit {limit:.2%})",
        rows=rows,
        share=share,
        remedy="read the reasons in the file of quarantined rows; mend the source or the rule, "
        "or raise data.quality.max_quarantined",
    )


def size(tables: Tables) -> Iterator[Finding]:
    """Splits that are small, or not of the size that was asked for."""
    total = sum(table.height for table in tables.splits.values())
    for name, table in tables.splits.items():
        if table.height < FEW:
            yield Finding(
                check="few_rows",
                severity=Severity.WARNING,
                column=None,
                message=f"{name} has {table.height:,} rows only; its figures will be uncertain",
                rows=table.height,
                share=table.height / total,
                remedy="give more rows" if name == "train" else f"give more rows, or a larger data.split.{name}",
            )
    settings = tables.settings.split
    by_share = settings.method is SplitMethod.GROUPED or (
        settings.method is SplitMethod.TIME and settings.validation_from is None and settings.test_from is None
    )
    if by_share and tables.settings.test_path is None:
        test = tables.test.height / total
        if abs(test - settings.test) > OFF_SHARE * settings.test:
            yield Finding(
                check="off_share",
                severity=Severity.WARNING,
                column=None,
                message=f"the test split has {test:.1%} of the rows, not {settings.test:.1%}: "
                "groups and equal instants are not divided",
                rows=tables.test.height,
                share=test,
                remedy="accept it, or change data.split",
            )


def duplicates(tables: Tables) -> Iterator[Finding]:
    """Rows alike in all inputs and the target: within each split, and known from training in the others."""
    hashes = {name: table[tables.records].hash_rows() for name, table in tables.splits.items()}
    known = hashes["train"].unique()
    repeated = {name: 1 - values.n_unique() / max(len(values), 1) for name, values in hashes.items()}
    for name, values in hashes.items():
        rows = len(values) - values.n_unique()
        if rows:
            yield Finding(
                check="duplicates",
                severity=Severity.WARNING if repeated[name] >= MANY else Severity.INFO,
                column=None,
                message=f"{rows:,} rows of {name} ({repeated[name]:.2%}) repeat another in all inputs and the target",
                rows=rows,
                share=repeated[name],
                remedy="if they are the same record, drop them; if records are alike by nature, do nothing",
            )
    for name in ("validation", "test"):
        rows = int(hashes[name].is_in(known.implode()).sum())
        share = rows / max(len(hashes[name]), 1)
        if not rows:
            continue
        copied = share >= COPY and share > 2 * repeated["train"]
        yield Finding(
            check="duplicates_across",
            severity=Severity.ERROR if copied else Severity.WARNING if share >= MANY else Severity.INFO,
            column=None,
            message=f"{rows:,} rows of {name} ({share:.2%}) also stand in train, alike in all inputs and the target"
            + ("; train hardly repeats itself, so they are copies" if copied else ""),
            rows=rows,
            share=share,
            remedy="take them out of one split; if records belong together, name data.group and set "
            "data.split.method=grouped",
        )


def keys(tables: Tables) -> Iterator[Finding]:
    column = tables.schema.only(Role.KEY)
    if column is None or column.name not in tables.train.columns:
        return
    values = pl.concat([table[column.name] for table in tables.splits.values()])
    rows = len(values) - values.n_unique()
    if rows:
        yield Finding(
            check="duplicate_keys",
            severity=Severity.WARNING,
            column=column.name,
            message=f"{rows:,} rows have a key in {column.name!r} that another row has, or none",
            rows=rows,
            share=rows / len(values),
            remedy="name another data.key: labels that arrive later are joined by it",
        )


def groups(tables: Tables) -> Iterator[Finding]:
    """Groups that stand in train and in another split: an error where grouped splits were asked for."""
    column = tables.schema.only(Role.GROUP)
    if column is None or column.name not in tables.train.columns:
        return
    known = tables.train[column.name].unique().implode()
    grouped = tables.settings.split.method is SplitMethod.GROUPED
    for name in ("validation", "test"):
        values = tables.splits[name][column.name].drop_nulls()
        shared = values.filter(values.is_in(known))
        if shared.len():
            yield Finding(
                check="group_overlap",
                severity=Severity.ERROR if grouped else Severity.WARNING,
                column=column.name,
                message=f"{shared.n_unique():,} groups of {column.name!r} stand in train and in {name}, "
                f"with {shared.len():,} rows of {name}",
                rows=shared.len(),
                share=shared.len() / max(len(values), 1),
                remedy="take these groups out of one table" if grouped else "set data.split.method=grouped",
            )


def future(tables: Tables) -> Iterator[Finding]:
    """Timestamps later than the moment of prediction cannot be known at it."""
    moment = tables.schema.only(Role.TIME)
    if moment is None or moment.kind is not Kind.TIMESTAMP or moment.name not in tables.train.columns:
        return
    total = sum(table.height for table in tables.splits.values())
    for column in tables.schema.inputs:
        if column.kind is not Kind.TIMESTAMP or column.name == moment.name:
            continue
        rows = sum(int((table[column.name] > table[moment.name]).sum()) for table in tables.splits.values())
        if rows:
            declared = column.name in tables.settings.quality.allow_leaks
            yield Finding(
                check="future",
                severity=Severity.INFO if declared else Severity.ERROR,
                column=column.name,
                message=f"{column.name!r} lies after {moment.name!r}, the moment of prediction, in {rows:,} rows",
                rows=rows,
                share=rows / total,
                remedy=f"add {column.name} to data.ignored; if it is known beforehand, like a schedule, "
                "add it to data.quality.allow_leaks",
            )


def order(tables: Tables) -> Iterator[Finding]:
    """With method=time, test rows that are older than training rows: a separate test table may have them."""
    moment = tables.schema.only(Role.TIME)
    if tables.settings.split.method is not SplitMethod.TIME or moment is None:
        return
    latest = tables.train[moment.name].top_k(1)
    rows = int((tables.test[moment.name] <= latest).sum())
    if rows:
        yield Finding(
            check="time_overlap",
            severity=Severity.WARNING,
            column=moment.name,
            message=f"{rows:,} rows of test are not later than all of train, which ends at {latest.cast(pl.String)[0]}",
            rows=rows,
            share=rows / tables.test.height,
            remedy="give a test table of later rows, or leave data.test_path unset",
        )


CHECKS = (quarantined, size, duplicates, keys, groups, future, order)
