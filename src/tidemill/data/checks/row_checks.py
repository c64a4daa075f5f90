"""Checks that look at whole rows, within a split and across splits."""

from collections.abc import Iterator

import polars as pl

from tidemill.data.checks.findings import Finding, Severity, noticed
from tidemill.data.schema import Role
from tidemill.data.splitting.classes import absent
from tidemill.data.tables import Tables
from tidemill.data.target import as_text
from tidemill.errors import listed
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
        yield noticed("quarantined", Severity.ERROR if share > limit else Severity.WARNING, None, found.rows, share)(
            message=f"{rule} and were quarantined (limit {limit:.2%}). {'; '.join(found.reasons)}",
            remedy="look at quarantine.parquet in the run's folder; mend the source or the rule, "
            "or raise data.quality.max_quarantined",
        )


def weights(tables: Tables) -> Iterator[Finding]:
    """What has no weight is not learned, or not seen when the best epoch is chosen."""
    column = tables.schema.only(Role.WEIGHT)
    if column is None:
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
            yield noticed("no_weight", Severity.ERROR, column.name, rows, rows / table.height)(
                message=f"the weight {column.name!r} is 0 in {what} of {name} ({rows:,} rows), so they would count "
                "for nothing",
                remedy="give them weights above 0, leave these rows out of the table, or do without weights: "
                f"data.weight=null, and {column.name} in data.ignored",
            )
    yield noticed("weights", Severity.INFO, column.name, tables.train.height, 1.0)(
        message=f"the weight {column.name!r} counts in the training loss and in the validation loss that chooses the "
        "best epoch; metrics, baselines, calibration and the gate count every row once",
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
        left_out = "calibration is left out" if split == "validation" else "figures by class are not measured"
        share = len(values) / max(len(tables.target.classes), 1)
        yield noticed("absent_classes", Severity.WARNING, name, tables.splits[split].height, share, bars=True)(
            message=f"{split} has no row of the class(es) {listed(values, FEW_CLASSES, quoted=True)} of {name!r}, "
            f"so {left_out}",
            remedy="give more rows of these classes, and set data.split.absent_classes=stop again",
        )


def size(tables: Tables) -> Iterator[Finding]:
    """Splits that are small, or not of the size that was asked for."""
    total = sum(table.height for table in tables.splits.values())
    for name, table in tables.splits.items():
        if table.height < FEW:
            yield noticed("few_rows", Severity.WARNING, None, table.height, table.height / total)(
                message=f"{name} has {table.height:,} rows only; its figures will be uncertain",
                remedy="give more rows" if name == "train" else f"give more rows, or a larger data.split.{name}",
            )
    settings = tables.settings.split
    by_share = settings.method is SplitMethod.GROUPED or (
        settings.method is SplitMethod.TIME and settings.validation_from is None and settings.test_from is None
    )
    if by_share and tables.settings.test_path is None:
        test = tables.test.height / total
        if abs(test - settings.test) > OFF_SHARE * settings.test:
            yield noticed("off_share", Severity.WARNING, None, tables.test.height, test)(
                message=f"the test split has {test:.1%} of the rows, not {settings.test:.1%}: "
                "groups and equal instants are not divided",
                remedy="accept it, or change data.split",
            )


def keys(tables: Tables) -> Iterator[Finding]:
    column = tables.schema.only(Role.KEY)
    if column is None:
        return
    values = pl.concat([table[column.name] for table in tables.splits.values()])
    rows = len(values) - values.n_unique()
    if rows:
        yield noticed("duplicate_keys", Severity.WARNING, column.name, rows, rows / len(values))(
            message=f"{rows:,} rows have a key in {column.name!r} that another row has, or none",
            remedy="name another data.key: labels that arrive later are joined by it",
        )


def groups(tables: Tables) -> Iterator[Finding]:
    """Groups that stand in train and in another split: an error where grouped splits were asked for."""
    column = tables.schema.only(Role.GROUP)
    if column is None:
        return
    known = tables.train[column.name].unique().implode()
    grouped = tables.settings.split.method is SplitMethod.GROUPED
    for name in ("validation", "test"):
        values = tables.splits[name][column.name].drop_nulls()
        shared = values.filter(values.is_in(known))
        if shared.len():
            severity = Severity.ERROR if grouped else Severity.WARNING
            yield noticed("group_overlap", severity, column.name, shared.len(), shared.len() / max(len(values), 1))(
                message=f"{shared.n_unique():,} groups of {column.name!r} stand in train and in {name}, "
                f"with {shared.len():,} rows of {name}",
                remedy="take these groups out of one table" if grouped else "set data.split.method=grouped",
            )


def future(tables: Tables) -> Iterator[Finding]:
    """Timestamps later than the moment of prediction cannot be known at it."""
    moment = tables.schema.only(Role.TIME)
    if moment is None or moment.kind is not Kind.TIMESTAMP:
        return
    total = sum(table.height for table in tables.splits.values())
    for name in tables.inputs(Kind.TIMESTAMP):
        rows = sum(int((table[name] > table[moment.name]).sum()) for table in tables.splits.values())
        if rows:
            declared = name in tables.settings.quality.allow_leaks
            yield noticed("future", Severity.INFO if declared else Severity.ERROR, name, rows, rows / total)(
                message=f"{name!r} lies after {moment.name!r}, the moment of prediction, in {rows:,} rows",
                remedy=f"add {name} to data.ignored; if it is known beforehand, like a schedule, "
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
        yield noticed("time_overlap", Severity.WARNING, moment.name, rows, rows / tables.test.height)(
            message=f"{rows:,} rows of test are not later than all of train, which ends at {latest.cast(pl.String)[0]}",
            remedy="give a test table of later rows, or leave data.test_path unset",
        )


CHECKS = (quarantined, size, classes, weights, keys, groups, future, order)
