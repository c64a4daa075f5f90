"""Train, validation and test: disjoint, none of them empty, the test split sealed.

random and stratified are scikit-learn's `train_test_split` on row numbers, called twice: first for the
test split, then for validation of what is left, so published splits come out row for row. grouped and
time keep the table's row order. Where a stratified or grouped cut leaves a class out of a split, rows are moved, or
groups drawn again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from tidemill.data.schema import Column, Role, Schema
from tidemill.data.splitting import classes
from tidemill.data.splitting.sealed import SealedTest
from tidemill.data.tables import hashes
from tidemill.data.target import Target
from tidemill.errors import SplitError, listed
from tidemill.moments import instant, microseconds
from tidemill.settings import Kind, Objective, SplitMethod, SplitSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    train: pl.DataFrame
    validation: pl.DataFrame
    test: SealedTest


Rows = np.ndarray
"""Row numbers, int64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cut:
    """What to cut off: a share, drawn with a seed; or everything from an instant on (method=time).

    keep: rows of each class that must be left, as there may be another cut to come.
    """

    split: str
    share: float
    seed: int
    start: str | None
    keep: int


DRAWS = 50
"""Orders of groups that are tried for one that leaves every class on both sides."""

_Method = Callable[[Rows, _Cut], tuple[Rows, Rows]]
"""Row numbers and what to cut off them → what is left, what was cut off."""


def split(
    table: pl.DataFrame,
    schema: Schema,
    settings: SplitSettings,
    target: Target | None = None,
    test_table: pl.DataFrame | None = None,
    validation_table: pl.DataFrame | None = None,
    *,
    alike: list[str] | None = None,
) -> Splits:
    """Cut the typed `table`: the test split first (unless `test_table` is that), then validation (likewise).

    Args:
        alike: rows that are equal in all these columns stay in one split (method=random).

    Raises:
        SplitError: the method lacks its column, the column has missing values, a cut does not work out,
            a split is empty, or a class is absent from a split.
    """
    cut = _METHODS[settings.method](table, schema, target) if alike is None else _alike(table, alike, target)
    rest: Rows = np.arange(table.height)
    tables = {"test": test_table, "validation": validation_table}
    separate = tuple(name for name, given in tables.items() if given is not None)
    for seed, (name, given) in enumerate(tables.items(), start=settings.seed):
        if given is None:
            keep = 2 if name == "test" and validation_table is None else 1
            share, start = getattr(settings, name), getattr(settings, f"{name}_from")
            rest, chosen = cut(rest, _Cut(split=name, share=share, seed=seed, start=start, keep=keep))
            tables[name] = table[chosen]
    parts = {"train": table[rest], "validation": tables["validation"], "test": tables["test"]}
    made = {name: part for name, part in parts.items() if part is not None}
    _check_not_empty(made, settings)
    if target is not None and target.objective is not Objective.REGRESSION:
        how = classes.Cut(table=table, schema=schema, settings=settings, parts=made, separate=separate)
        classes.check(how, target)
    return Splits(train=made["train"], validation=made["validation"], test=SealedTest(made["test"]))


def _stratified(table: pl.DataFrame, schema: Schema, target: Target | None) -> _Method:
    if target is None or target.objective is Objective.REGRESSION:
        raise SplitError(
            "data.split.method=stratified needs a target with classes",
            observed="no target" if target is None else f"the regression target {target.name!r}",
            remedy="set data.split.method=random, or data.objective if the target's values are classes",
        )
    _check_no_missing(table, schema[target.name], "data.target")
    codes = table[target.name].rank("dense").to_numpy().astype(np.int64)

    def cut_stratified(rows: Rows, cut: _Cut) -> tuple[Rows, Rows]:
        single = np.bincount(codes[rows])[codes[rows]] < 2  # scikit-learn refuses these
        dealt = rows if single.all() else rows[~single]
        rest, chosen = _scikit_learn(dealt, cut, codes[dealt])
        if dealt is not rows:
            rest = np.concatenate([rest, rows[single]])
        return classes.spread(rest, chosen, codes, cut.keep)

    return cut_stratified


def _scikit_learn(rows: Rows, cut: _Cut, strata: np.ndarray | None = None) -> tuple[Rows, Rows]:
    from sklearn.model_selection import train_test_split

    try:
        rest, chosen = train_test_split(rows, test_size=cut.share, random_state=cut.seed, stratify=strata)
    except ValueError as error:
        if strata is not None:  # fewer rows on one side than there are classes
            return _scikit_learn(rows, cut)
        raise SplitError(
            "Each split needs rows",
            observed=f"{cut.share:g} of {len(rows):,} rows for {cut.split}: {error}",
            remedy=f"give more rows, or change data.split.{cut.split}",
        ) from error
    return rest, chosen


def _grouped(table: pl.DataFrame, schema: Schema, target: Target | None) -> _Method:
    """Whole groups in random order until the rows come nearest to the share; at least one, never all."""
    column = _role_column(table, schema, Role.GROUP, SplitMethod.GROUPED)
    remedy = "choose another data.group, or another data.split.method"
    return _by_groups(table, table[column.name], target, f"groups in {column.name!r}", remedy)


def _alike(table: pl.DataFrame, alike: list[str], target: Target | None) -> _Method:
    """As grouped, with rows that are equal in these columns as groups."""
    remedy = "set data.quality.duplicates=keep or drop, or give rows that differ in their inputs"
    return _by_groups(table, hashes(table, alike), target, "rows that differ in their inputs", remedy)


def _by_groups(table: pl.DataFrame, names: pl.Series, target: Target | None, what: str, remedy: str) -> _Method:
    groups = names.rank("dense").to_numpy().astype(np.int64) - 1
    codes = None
    if target is not None and target.objective is not Objective.REGRESSION:
        codes = table[target.name].rank("dense").fill_null(0).to_numpy().astype(np.int64)

    def cut_groups(rows: Rows, cut: _Cut) -> tuple[Rows, Rows]:
        sizes = np.bincount(groups[rows])
        generator = np.random.default_rng(cut.seed)
        best: tuple[int, np.ndarray] | None = None
        for _ in range(DRAWS):
            order = generator.permutation(np.flatnonzero(sizes))
            if len(order) < 2:
                raise SplitError(
                    "Groups stay whole in a split, which needs at least one group for each split",
                    observed=f"{len(order):,} {what} left to cut {cut.split} from",
                    remedy=remedy,
                )
            reached = np.cumsum(sizes[order])[:-1]
            taken = int(np.argmin(np.abs(reached - cut.share * len(rows)))) + 1
            chosen = np.isin(groups[rows], order[:taken])
            lacking = 0 if codes is None else _lacking(codes[rows], groups[rows], chosen, cut.keep)
            if best is None or lacking < best[0]:
                best = (lacking, chosen)
            if lacking == 0:
                break
        assert best is not None
        return rows[~best[1]], rows[best[1]]

    return cut_groups


def _lacking(codes: np.ndarray, groups: np.ndarray, chosen: np.ndarray, keep: int) -> int:
    """How many classes are missing on either side; where another cut is to come, in too few groups of what is left.

    A class missing from what is left weighs more than all that are missing from what was cut off: it cannot be learned.
    """
    pairs = np.unique(np.stack([codes, groups], axis=1)[~chosen], axis=0)[:, 0]
    left, cut_off = np.bincount(pairs, minlength=codes.max() + 1), np.bincount(codes[chosen], minlength=codes.max() + 1)
    there = np.bincount(codes) > 0
    weight = int(there.sum()) + 1
    return weight * int((left[there] < keep).sum()) + int((cut_off[there] == 0).sum())


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
        start = _nearest_instant(times[rows], cut.share) if cut.start is None else microseconds(instant(cut.start))
        late = times[rows] >= start
        return rows[~late], rows[late]

    return cut_late


_METHODS: dict[SplitMethod, Callable[[pl.DataFrame, Schema, Target | None], _Method]] = {
    SplitMethod.RANDOM: lambda table, schema, target: _scikit_learn,
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
