"""Checks that look at one column at a time. Figures are of the training split unless a message says otherwise."""

from collections.abc import Iterator

import numpy as np
import polars as pl
import polars.selectors as cs

from tidemill.data.checks.findings import Finding, Severity, noticed
from tidemill.data.tables import Tables, counted, sample
from tidemill.settings import Kind, Objective

NEARLY_CONSTANT = 0.999
FAR = 10.0
"""A value is far out when it lies this many times the distance of the 1st and 99th percentile beyond them."""
UNSEEN = 0.01
"""Share of rows with a category unseen in training, from which on it is a warning."""
SMALL_CLASS = 50
RARE_CLASS = 0.01


def missing(tables: Tables) -> Iterator[Finding]:
    """Inputs without any value cannot be learned from; those with too few are worth a look."""
    train, limit = tables.train, tables.settings.quality.max_missing
    for name in tables.inputs():
        empty = train[name].null_count()
        share = empty / train.height
        if empty == train.height:
            yield noticed("all_missing", Severity.ERROR, name, empty, 1.0)(
                message=f"{name!r} has no value in any of the {empty:,} training rows",
                remedy=f"add {name} to data.ignored, or give rows that have it",
            )
        elif share > limit:
            yield noticed("missing", Severity.WARNING, name, empty, share)(
                message=f"{name!r} is missing in {share:.1%} of the training rows (limit {limit:.1%})",
                remedy=f"mend its source, add {name} to data.ignored, or raise data.quality.max_missing",
            )


def constant(tables: Tables) -> Iterator[Finding]:
    """One value everywhere says nothing; missing values beside it do, so these columns pass."""
    for name in tables.inputs():
        values = tables.train[name]
        if values.null_count() or values.is_empty():
            continue
        usual = sample(values.to_frame(), 1_000)[name].mode().head(1)
        rows = int((values == usual).sum())
        share = rows / len(values)
        if share >= NEARLY_CONSTANT:
            always = rows == len(values)
            often = "in every training row" if always else f"in all but {len(values) - rows:,} of {len(values):,} rows"
            severity = Severity.WARNING if always else Severity.INFO
            yield noticed("constant" if always else "nearly_constant", severity, name, rows, share)(
                message=f"{name!r} is {usual.cast(pl.String)[0]!r} {often}",
                remedy=f"add {name} to data.ignored if other values do not matter in use",
            )


def infinite(tables: Tables) -> Iterator[Finding]:
    """Infinities are clipped in inputs, but a target or a weight cannot be infinite."""
    for name in tables.train.select(cs.float()).columns:
        is_target = tables.target is not None and name == tables.target.name
        for split, table in tables.splits.items():
            if rows := int(table[name].is_infinite().sum()):
                severity = Severity.ERROR if is_target else Severity.WARNING
                yield noticed("infinite", severity, name, rows, rows / table.height)(
                    message=f"{name!r} is infinite in {rows:,} rows of {split}",
                    remedy=f"mend the source, or set data.quality.ranges.{name} to have these rows quarantined",
                )


def far_out(tables: Tables) -> Iterator[Finding]:
    """Values far from nearly all others: often a mark like 99999 for a missing value."""
    for name in tables.inputs(Kind.NUMERIC):
        values = tables.train[name].drop_nulls().to_numpy()
        values = values[np.isfinite(values)]
        low, high = np.quantile(values, [0.01, 0.99], method="nearest") if len(values) else (0, 0)
        with np.errstate(over="ignore"):  # nothing is far out among the largest floats
            margin = FAR * (high - low)
            far = values[(values < low - margin) | (values > high + margin)] if margin > 0 else values[:0]
        if len(far):
            yield noticed("far_out", Severity.INFO, name, len(far), len(far) / tables.train.height)(
                message=f"{name!r} has {len(far):,} values far out, between {far.min():g} and {far.max():g}; "
                f"98% lie between {low:g} and {high:g}",
                remedy=f"if these mean 'missing' or are wrong, set data.quality.ranges.{name}",
            )


def unseen(tables: Tables) -> Iterator[Finding]:
    """Categories that a model meets for the first time in validation or test."""
    for name in tables.inputs(Kind.CATEGORICAL):
        known = tables.train[name].unique().implode()
        for split in ("validation", "test"):
            values = tables.splits[split][name].drop_nulls()
            rows = int((~values.is_in(known)).sum())
            if not rows:
                continue
            share = rows / len(values)
            names = "; it names its rows, or is free text" if share > 0.5 else ""
            severity = Severity.WARNING if share >= UNSEEN else Severity.INFO
            yield noticed("unseen_categories", severity, name, rows, share)(
                message=f"{name!r} has categories that training lacks, in {rows:,} rows ({share:.2%}) of "
                f"{split}{names}",
                remedy=f"expect little of {name} in these rows; if it names rows, add it to data.ignored",
            )


def target(tables: Tables) -> Iterator[Finding]:
    """A target of one value cannot be learned; a class of few rows hardly."""
    if tables.target is None:
        return
    name = tables.target.name
    counts = counted(tables.train[name])
    total = int(counts["rows"].sum())
    if counts.height < 2:
        only = f"is always {counts['value'][0]!r}" if counts.height else "has no value"
        yield noticed("constant_target", Severity.ERROR, name, total, 1.0)(
            message=f"the target {name!r} {only} in the {tables.train.height:,} training rows",
            remedy="name another data.target, or give rows with other values",
        )
    elif tables.target.objective is not Objective.REGRESSION:
        small = counts.filter(counts["rows"] < max(SMALL_CLASS, RARE_CLASS * total))
        if small.height:
            rows = int(small["rows"].sum())
            rows_of = ", ".join(f"{value!r} {count:,}" for value, count in small.tail(5).iter_rows())
            yield noticed("rare_classes", Severity.WARNING, name, rows, rows / total)(
                message=f"{small.height} of {counts.height} classes of {name!r} are rare: {rows_of} "
                f"of {total:,} training rows",
                remedy="set data.split.method=stratified and training.class_weights=balanced, or merge rare classes",
            )


CHECKS = (missing, constant, infinite, far_out, unseen, target)
