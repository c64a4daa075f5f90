"""Checks that look at whole rows, within a split and across splits."""

from collections.abc import Iterator

import polars as pl

from tidemill.data.classes import absent
from tidemill.data.findings import Finding, Severity
from tidemill.data.schema import Role
from tidemill.data.tables import Tables
from tidemill.data.target import as_text
from tidemill.settings import AbsentClasses, Kind, Objective, SplitMethod

FEW = 100
"""Rows of a split, below which its figures say little."""
OFF_SHARE = 0.25
"""By how much a split may differ from the share asked for, relative to it."""
FEW_CLASSES = 5
"""Classes that a message lists."""


def quarantined(tables: Tables) -> Iterator[Finding]:
    limit = tables.settings.quality.max_quarantined
    for found in tables.quarantined:
        share = found.rows / found.of
        rule = f"{found.rows:,} of {found.of:,} rows of {found.part} ({share:.2%}) break a rule of the schema"
        yield Finding(
            check="quarantined",
            severity=Severity.ERROR if share > limit else Severity.WARNING,
            column=None,
            message=f"{rule} and were quarantined (limit {limit:.2%}). {'; '.join(found.reasons)}",
            rows=found.rows,
            share=share,
            remedy="look at quarantine.parquet in the run's folder; mend the source or the rule, "
            "or raise data.quality.max_quarantined",
        )


def weights(tables: Tables) -> Iterator[Finding]:
    """What has no weight is not learned, or not seen when the best epoch is chosen."""
    column = tables.schema.only(Role.WEIGHT)
    if column is None or column.name not in tables.train.columns:
        return
    for name in ("train", "validation"):
        table = tables.splits[name]
        without = [("all rows", table.height)] if table.height and not table[column.name].sum() else []
        if not without and tables.target is not None and tables.target.objective is not Objective.REGRESSION:
            rows_of = pl.DataFrame({"class": as_text(table[tables.target.name]), "weight": table[column.name]})
            by_class = rows_of.group_by("class").agg(pl.col("weight").sum(), pl.len().alias("rows")).sort("class")
            empty = by_class.filter(pl.col("weight") == 0)
            without = [(f"all rows of class {label!r}", rows) for label, _, rows in empty.iter_rows()]
        for what, rows in without[:FEW_CLASSES]:
            yield Finding(
                check="no_weight",
                severity=Severity.ERROR,
                column=column.name,
                message=f"the weight {column.name!r} is 0 in {what} of {name} ({rows:,} rows), so they would count "
                "for nothing",
                rows=rows,
                share=rows / table.height,
                remedy="give them weights above 0, leave these rows out of the table, or do without weights: "
                f"data.weight=null, and {column.name} in data.ignored",
            )
    yield Finding(
        check="weights",
        severity=Severity.INFO,
        column=column.name,
        message=f"the weight {column.name!r} counts in the training loss and in the validation loss that chooses the "
        "best epoch; metrics, baselines, calibration and the gate count every row once",
        rows=tables.train.height,
        share=1.0,
        remedy="read the figures as those of rows that all count alike",
    )


def classes(tables: Tables) -> Iterator[Finding]:
    """Classes that validation or test lacks, where data.split.absent_classes accepts it."""
    if tables.target is None or tables.target.objective is Objective.REGRESSION:
        return
    name = tables.target.name
    if tables.settings.split.absent_classes is not AbsentClasses.ACCEPT or name not in tables.train.columns:
        return
    for split, values in absent(tables.splits, name).items():
        listed = ", ".join(map(repr, values[:FEW_CLASSES])) + (" …" if len(values) > FEW_CLASSES else "")
        left_out = "calibration is left out" if split == "validation" else "figures by class are not measured"
        yield Finding(
            check="absent_classes",
            severity=Severity.WARNING,
            column=name,
            message=f"{split} has no row of the class(es) {listed} of {name!r}, so {left_out}",
            rows=tables.splits[split].height,
            share=len(values) / max(len(tables.target.classes), 1),
            remedy="give more rows of these classes, and set data.split.absent_classes=stop again",
            bars=True,
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


CHECKS = (quarantined, size, classes, weights, keys, groups, future, order)
