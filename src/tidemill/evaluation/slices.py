"""Metrics on parts of the test split: rows that share a value of some column."""

from itertools import pairwise

import numpy as np
import polars as pl

from tidemill.data.schema import Column, Role, Schema
from tidemill.data.tables import hashes
from tidemill.errors import SettingsError, listed
from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.metrics import compute
from tidemill.evaluation.results import Answered, Slice
from tidemill.settings import EvaluationSettings, Kind

MISSING = "missing"

MOST_VALUES = 20
"""Categories with the most rows; the others are too small to say much about one by one."""

DISTINCT = 8
"""A numeric column of no more values than this is cut by value, otherwise by quartile."""


def columns(schema: Schema, settings: EvaluationSettings) -> tuple[Column, ...]:
    """The columns that cut slices: those of `evaluation.slices`, then the sensitive ones.

    Raises:
        SettingsError: `evaluation.slices` names a column that the schema lacks or ignores.
    """
    known = [column.name for column in schema.columns]
    for name in settings.slices:
        if name not in known:
            raise SettingsError(
                "evaluation.slices must name columns of the table",
                observed=f"{name!r}; the table has {listed(known)}",
                remedy="correct the name in evaluation.slices",
            )
        if schema[name].role is Role.IGNORED:
            raise SettingsError(
                "evaluation.slices must name columns that are read",
                observed=f"{name!r}, which is ignored" + (f" ({schema[name].reason})" if schema[name].reason else ""),
                remedy="name it in data.sensitive instead of data.ignored: it is no feature then, but is read",
            )
    sensitive = [column.name for column in schema.with_role(Role.SENSITIVE)]
    return tuple(schema[name] for name in dict.fromkeys([*settings.slices, *sensitive]))


def slices(
    table: pl.DataFrame, cut_by: tuple[Column, ...], answered: Answered, *, min_rows: int, bootstrap: Bootstrap
) -> tuple[Slice, ...]:
    """One slice for each value with at least `min_rows` rows, in the values' order, missing last.

    Smaller groups of a sensitive column stay in the list with their count but without metrics: that a
    group is too small to judge is a finding as well.

    Args:
        table: the typed rows that `answered` is about, in the same order.
    """
    found = []
    for column in cut_by:
        values = labelled(table[column.name], column.kind)
        for value in _in_order(values):
            rows = np.flatnonzero((values == value).to_numpy())
            if len(rows) >= min_rows:
                metrics = compute(answered.take(rows), bootstrap, part=True)
            elif column.role is Role.SENSITIVE:
                metrics = ()
            else:
                continue
            found.append(Slice(column=column.name, value=value, rows=len(rows), metrics=metrics))
    return tuple(found)


SEEN = "inputs also in train"
"""What slices are named by that tell rows a model could know by heart from rows that are new to it."""

SEEN_SHARE = 0.01
"""Share of the test rows from which on it is worth telling them apart."""


def seen(
    train: pl.DataFrame, table: pl.DataFrame, inputs: list[str], answered: Answered, bootstrap: Bootstrap
) -> tuple[Slice, ...]:
    """Rows whose inputs no training row has ("no"), and the others ("yes"), where there are some of both.

    By inputs alone: to be new, a row must not need a label that training did not have for the same inputs.
    """
    repeats = hashes(table, inputs).is_in(hashes(train, inputs).unique().implode()).to_numpy()
    if not SEEN_SHARE * len(repeats) <= repeats.sum() < len(repeats):
        return ()
    return tuple(
        Slice(
            column=SEEN,
            value=value,
            rows=int(rows.sum()),
            metrics=compute(answered.take(rows), bootstrap, part=True),
        )
        for value, rows in (("no", ~repeats), ("yes", repeats))
    )


def labelled(values: pl.Series, kind: Kind) -> pl.Series:
    """The name of each row's slice, as an Enum in the slices' order; null for values in none."""
    if kind is Kind.CATEGORICAL:
        counts = values.drop_nulls().value_counts(sort=True).head(MOST_VALUES)
        kept = [value for value in counts[values.name].to_list() if value not in ("", MISSING)]
        named = pl.select(
            pl.when(values.is_null() | (values == "")).then(pl.lit(MISSING)).otherwise(values)
        ).to_series()
        return _enum(named, kept)
    if kind is Kind.BOOLEAN:
        return _enum(values.cast(pl.String).fill_null(MISSING), ["false", "true"])
    if kind is Kind.TIMESTAMP:
        months = values.dt.strftime("%Y-%m")
        return _enum(months.fill_null(MISSING), months.drop_nulls().unique().sort().to_list())
    return _ranges(values.cast(pl.Float64).fill_nan(None))


def _ranges(values: pl.Series) -> pl.Series:
    present = values.drop_nulls()
    distinct = present.unique().sort().to_list()
    if len(distinct) <= DISTINCT:
        names = _texts(distinct)
        edges = distinct[1:]
    else:
        quartiles = np.quantile(present.to_numpy(), [0, 0.25, 0.5, 0.75, 1], method="lower")
        bounds = list(dict.fromkeys(quartiles.tolist()))
        texts = _texts(bounds)
        names = [f"{low} to {high}" for low, high in pairwise(texts)] or texts
        edges = bounds[1:-1]
    index = np.searchsorted(np.array(edges), values.fill_null(0.0).to_numpy(), side="right")
    named = pl.Series(np.array([*names, MISSING], dtype=object)[np.where(values.is_null().to_numpy(), -1, index)])
    return _enum(named.cast(pl.String), names)


def _texts(numbers: list[float]) -> list[str]:
    """With as few digits as tell them apart."""
    short, longer, exact = ([f"{number:.{digits}g}" for number in numbers] for digits in (6, 9, 17))
    return next((texts for texts in (short, longer) if len(set(texts)) == len(numbers)), exact)


def _enum(named: pl.Series, order: list[str]) -> pl.Series:
    return named.cast(pl.Enum([*dict.fromkeys(order), MISSING]), strict=False)


def _in_order(values: pl.Series) -> list[str]:
    present = set(values.drop_nulls().unique().to_list())
    assert isinstance(values.dtype, pl.Enum)
    return [value for value in values.dtype.categories.to_list() if value in present]
