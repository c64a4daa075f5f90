"""Train, validation and test: disjoint, none of them empty, the test split sealed.

random and stratified are scikit-learn's `train_test_split` on row numbers, called twice: first for the
test split, then for validation of what is left, so published splits come out row for row. grouped and
time keep the table's row order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from tidemill.data.raw import EPOCH
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.sealed import SealedTest
from tidemill.data.tables import counted
from tidemill.data.target import Target
from tidemill.errors import SplitError, listed
from tidemill.settings import Kind, Objective, SplitMethod, SplitSettings, instant


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    train: pl.DataFrame
    validation: pl.DataFrame
    test: SealedTest


Rows = np.ndarray
"""Row numbers, int64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cut:
    """What to cut off: a share, drawn with a seed; or everything from an instant on (method=time)."""

    split: str
    share: float
    seed: int
    start: str | None


_Method = Callable[[Rows, _Cut], tuple[Rows, Rows]]
"""Row numbers and what to cut off them → what is left, what was cut off."""


def split(
    table: pl.DataFrame,
    schema: Schema,
    settings: SplitSettings,
    target: Target | None = None,
    test_table: pl.DataFrame | None = None,
) -> Splits:
    """Cut the typed `table`: the test split first (unless `test_table` is that), then validation.

    Raises:
        SplitError: the method lacks its column, the column has missing values, a cut does not work out,
            a split is empty, or a class is absent from the training split.
    """
    cut = _METHODS[settings.method](table, schema, target)
    rest: Rows = np.arange(table.height)
    if test_table is None:
        rest, chosen = cut(rest, _Cut(split="test", share=settings.test, seed=settings.seed, start=settings.test_from))
        test_table = table[chosen]
    train, validation = cut(
        rest,
        _Cut(
            split="validation",
            share=settings.validation,
            seed=settings.seed + 1,
            start=settings.validation_from,
        ),
    )
    tables = {"train": table[train], "validation": table[validation], "test": test_table}
    _check_not_empty(tables, settings)
    if target is not None and target.objective is not Objective.REGRESSION:
        _check_classes(tables, target.name)
    return Splits(train=tables["train"], validation=tables["validation"], test=SealedTest(test_table))


def _random(table: pl.DataFrame, schema: Schema, target: Target | None) -> _Method:
    return lambda rows, cut: _scikit_learn(rows, cut, None)


def _stratified(table: pl.DataFrame, schema: Schema, target: Target | None) -> _Method:
    if target is None or target.objective is Objective.REGRESSION:
        raise SplitError(
            "data.split.method=stratified needs a target with classes",
            observed="no target" if target is None else f"the regression target {target.name!r}",
            remedy="set data.split.method=random, or data.objective if the target's values are classes",
        )
    _check_no_missing(table, schema[target.name], "data.target")
    classes = table[target.name].rank("dense").to_numpy()
    return lambda rows, cut: _scikit_learn(rows, cut, classes[rows])


def _scikit_learn(rows: Rows, cut: _Cut, classes: np.ndarray | None) -> tuple[Rows, Rows]:
    from sklearn.model_selection import train_test_split

    try:
        rest, chosen = train_test_split(rows, test_size=cut.share, random_state=cut.seed, stratify=classes)
    except ValueError as error:
        raise SplitError(
            "Each split needs rows, and of each class if stratified",
            observed=f"{cut.share:g} of {len(rows):,} rows for {cut.split}: {error}",
            remedy=f"give more rows, change data.split.{cut.split}, drop classes of one row, "
            "or set data.split.method=random",
        ) from error
    return rest, chosen


def _grouped(table: pl.DataFrame, schema: Schema, target: Target | None) -> _Method:
    """Whole groups in random order until the rows come nearest to the share; at least one, never all."""
    column = _role_column(table, schema, Role.GROUP, SplitMethod.GROUPED)
    groups = table[column.name].rank("dense").to_numpy().astype(np.int64) - 1

    def cut_groups(rows: Rows, cut: _Cut) -> tuple[Rows, Rows]:
        sizes = np.bincount(groups[rows])
        names = np.random.default_rng(cut.seed).permutation(np.flatnonzero(sizes))
        if len(names) < 2:
            raise SplitError(
                "data.split.method=grouped needs at least one group for each split",
                observed=f"{len(names)} group(s) in {column.name!r} left to cut {cut.split} from",
                remedy="choose another data.group, or another data.split.method",
            )
        reached = np.cumsum(sizes[names])[:-1]
        taken = int(np.argmin(np.abs(reached - cut.share * len(rows)))) + 1
        chosen = np.isin(groups[rows], names[:taken])
        return rows[~chosen], rows[chosen]

    return cut_groups


def _by_time(table: pl.DataFrame, schema: Schema, target: Target | None) -> _Method:
    """Everything from an instant on: the one set, or the one that comes nearest to the share."""
    column = _role_column(table, schema, Role.TIME, SplitMethod.TIME)
    if column.kind is not Kind.TIMESTAMP:
        raise SplitError(
            "data.split.method=time needs a timestamp as data.time",
            observed=f"{column.name!r} is {column.kind}",
            remedy=f"name another column, or set data.kinds.{column.name}=timestamp",
        )
    times = table[column.name].dt.epoch("us").to_numpy()

    def cut_late(rows: Rows, cut: _Cut) -> tuple[Rows, Rows]:
        if len(rows) == 0:
            return rows, rows
        start = _nearest_instant(times[rows], cut.share) if cut.start is None else _microseconds(cut.start)
        late = times[rows] >= start
        return rows[~late], rows[late]

    return cut_late


_METHODS: dict[SplitMethod, Callable[[pl.DataFrame, Schema, Target | None], _Method]] = {
    SplitMethod.RANDOM: _random,
    SplitMethod.STRATIFIED: _stratified,
    SplitMethod.GROUPED: _grouped,
    SplitMethod.TIME: _by_time,
}


def _nearest_instant(times: np.ndarray, share: float) -> int:
    """First instant of the cut: rows of the same instant stay together, on the side nearer to the share."""
    instants, first = np.unique(np.sort(times), return_index=True)
    if len(instants) > 1:
        instants, first = instants[1:], first[1:]
    return int(instants[np.argmin(np.abs(len(times) - first - share * len(times)))])


def _microseconds(start: str) -> int:
    """The instant in µs since 1970 UTC."""
    return (instant(start) - EPOCH) // timedelta(microseconds=1)


def _role_column(table: pl.DataFrame, schema: Schema, role: Role, method: SplitMethod) -> Column:
    column = schema.only(role)
    if column is None:
        raise SplitError(
            f"data.split.method={method} needs data.{role}",
            observed=f"no column with the role {role}",
            remedy=f"set data.{role} to one of {listed(table.columns)}, or choose another data.split.method",
        )
    _check_no_missing(table, column, f"data.{role}")
    return column


def _check_no_missing(table: pl.DataFrame, column: Column, key: str) -> None:
    values = table[column.name]
    missing = values.null_count() + (int(values.is_nan().sum()) if values.dtype.is_float() else 0)
    if missing:
        raise SplitError(
            f"{key} must have a value in every row, for the row to fall into a split",
            observed=f"{missing:,} of {table.height:,} rows without one in {column.name!r}",
            remedy=f"drop these rows, or set data.schema with missing_allowed: false for {column.name!r} "
            "to have them quarantined",
        )


def _check_not_empty(tables: dict[str, pl.DataFrame], settings: SplitSettings) -> None:
    if any(part.height == 0 for part in tables.values()):
        cuts = f"validation_from={settings.validation_from}, test_from={settings.test_from}"
        raise SplitError(
            "No split may be empty",
            observed=", ".join(f"{name} {part.height:,} rows" for name, part in tables.items())
            + (f" with {cuts}" if settings.method is SplitMethod.TIME else ""),
            remedy="change the shares or instants in data.split, or give more rows",
        )


def _check_classes(tables: dict[str, pl.DataFrame], target: str) -> None:
    known = tables["train"][target].unique()
    for name in ("validation", "test"):
        values = tables[name][target].drop_nulls()
        absent = counted(values.filter(~values.is_in(known.implode())))
        if absent.height:
            counts = listed(f"{value!r} ({count:,} rows)" for value, count in absent.head(5).iter_rows())
            raise SplitError(
                "Every class must be in the training split, for a model to learn it",
                observed=f"{absent.height} class(es) of {target!r} only in {name}: {counts}",
                remedy="set data.split.method=stratified, drop or merge rare classes, "
                "or spell classes alike in data.path and data.test_path",
            )
