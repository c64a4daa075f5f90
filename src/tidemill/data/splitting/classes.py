"""Every class in every split: what is measured on a split says nothing about a class that the split lacks.

Where a cut leaves a class out, the error names remedies that fit these very rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tidemill.data.schema import Role, Schema
from tidemill.data.target import Target, as_text
from tidemill.errors import SplitError, listed
from tidemill.settings import AbsentClasses, Kind, SplitMethod, SplitSettings
from tidemill.settings.overrides import override

SHOWN = 5
"""Classes that a message lists."""
DOMAIN = 10
"""With more classes than this, a remedy does not spell out the domain without the rare ones."""
LEAST_TRAIN = 0.5
"""Share of the rows that training keeps in a cut by time that a remedy proposes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """How the splits came about.

    table: what was cut. parts: the splits by name, train first. separate: those that have a table of their own.
    """

    table: pl.DataFrame
    schema: Schema
    settings: SplitSettings
    parts: Mapping[str, pl.DataFrame]
    separate: tuple[str, ...] = ()


def absent(splits: Mapping[str, pl.DataFrame], target: str) -> dict[str, list[str]]:
    """Classes without a row, by split; a class is what has a row in any of them."""
    present = {name: _names(table[target]) for name, table in splits.items()}
    every = list(dict.fromkeys(value for values in present.values() for value in values))
    missing = {name: [value for value in every if value not in set(values)] for name, values in present.items()}
    return {name: values for name, values in missing.items() if values}


def check(cut: Cut, target: Target) -> None:
    """Every class must have rows in every split; validation and test may lack one where the settings accept it.

    Raises:
        SplitError: with remedies that work on these rows.
    """
    found = absent(cut.parts, target.name)
    accepted = cut.settings.absent_classes is AbsentClasses.ACCEPT
    if "train" not in found and (accepted or not found):
        return
    rows = {name: dict(_counted(table[target.name]).iter_rows()) for name, table in cut.parts.items()}
    lacking = sorted({value for values in found.values() for value in values})
    said = [
        f"{value!r} has " + ", ".join(f"{rows[name].get(value, 0):,} rows in {name}" for name in rows)
        for value in lacking
    ]
    raise SplitError(
        "Every class must have rows in train, validation and test: without any, it cannot be learned or measured",
        observed=f"class(es) of {target.name!r}: {listed(said, SHOWN)}",
        remedy=_remedy(found, target, cut, {value for counts in rows.values() for value in counts}),
    )


def _remedy(found: Mapping[str, Sequence[str]], target: Target, cut: Cut, everywhere: set[str]) -> str:
    foreign = everywhere - set(_names(cut.table[target.name]))
    if foreign:
        return (
            "spell classes alike in data.path, data.validation_path and data.test_path, or leave rows of "
            f"{listed(sorted(foreign), SHOWN, quoted=True)} out of the separate tables: data.path has none of them"
        )
    remedies = []
    own = [name for name in found if name in cut.separate]
    remedies += [f"leave data.{name}_path unset, or give it a table with rows of every class" for name in own]
    if len(own) < len(found):
        remedies += _cut_remedies({value for values in found.values() for value in values}, target, cut, everywhere)
    by_class = cut.settings.method in (SplitMethod.RANDOM, SplitMethod.STRATIFIED)
    if "train" not in found or by_class:
        words = "data.split.absent_classes=accept"
        words = f"data.split.method=stratified {words}" if "train" in found else words
        remedies.append(
            f"set {words} to train without calibration and without figures by class; "
            "the version is not made champion then"
        )
    return "; or ".join(remedies)


def _cut_remedies(values: set[str], target: Target, cut: Cut, everywhere: set[str]) -> list[str]:
    """What can be done where the table has the class, and cutting it left the class out of a split."""
    needed, method = len(cut.parts) - len(cut.separate), cut.settings.method
    counts = dict(_counted(cut.table[target.name]).iter_rows())
    few = sorted(value for value in everywhere if counts.get(value, 0) < needed)
    if few:
        rows = f"give at least {needed} rows of {listed(few, SHOWN, quoted=True)}, one for each split"
        remedies = [rows + (", with data.split.method=stratified" if method is SplitMethod.RANDOM else "")]
        return remedies + _without(few, target, everywhere)
    if method in (SplitMethod.RANDOM, SplitMethod.STRATIFIED):
        return ["set data.split.method=stratified"]
    if method is SplitMethod.TIME and (instants := _instants(target, cut)):
        return [instants]
    what = f"groups of {_only(cut.schema, Role.GROUP)!r}" if method is SplitMethod.GROUPED else "stretches of time"
    names = sorted(values)
    rows = f"give rows of {listed(names, SHOWN, quoted=True)} in at least {needed} {what}"
    return [rows, *_without(names, target, everywhere)]


def _without(few: list[str], target: Target, everywhere: set[str]) -> list[str]:
    """Leave rare classes out, or join them, where two or more others stay."""
    kept = sorted(everywhere - set(few))
    if len(kept) < 2:
        return []
    how = f": list the other classes in data.quality.domains for {target.name!r}"
    if len(kept) <= DOMAIN:
        how = f" with {override('data.quality.domains', target.name, kept)}"
    return [f"leave these rows out{how}", "write rare classes as one in the table"]


def _instants(target: Target, cut: Cut) -> str | None:
    """Earlier cuts that leave every class in every split; None where there are none that leave training most rows."""
    time = _only(cut.schema, Role.TIME)
    if cut.separate or time is None or cut.schema[time].kind is not Kind.TIMESTAMP:
        return None
    rows = pl.DataFrame({"class": as_text(cut.table[target.name]), "at": cut.table[time]}).drop_nulls()
    latest = rows.group_by("class").agg(pl.col("at").max())["at"]
    test_from = pl.concat([latest, cut.parts["test"][time]]).min()
    before = rows.filter(pl.col("at") < test_from)
    latest_before = before.group_by("class").agg(pl.col("at").max())["at"]
    validation_from = pl.concat([latest_before, cut.parts["validation"][time]]).min()
    train = rows.filter(pl.col("at") < validation_from)
    missing = rows["class"].n_unique() - min(before["class"].n_unique(), train["class"].n_unique())
    if missing or train.height < LEAST_TRAIN * rows.height:
        return None
    begins, ends = (
        pl.Series([at], dtype=rows["at"].dtype).dt.epoch("us").cast(pl.Datetime("us")).dt.to_string("iso:strict")[0]
        for at in (validation_from, test_from)
    )
    return f"set data.split.validation_from={begins} data.split.test_from={ends}"


def _names(values: pl.Series) -> list[str]:
    return _counted(values)["value"].to_list()


def _counted(values: pl.Series) -> pl.DataFrame:
    """Columns `value` (text) and `rows`, in order of value."""
    return as_text(values).alias("value").drop_nulls().value_counts(name="rows").sort("value")


def _only(schema: Schema, role: Role) -> str | None:
    column = schema.only(role)
    return None if column is None else column.name


def spread(rest: np.ndarray, chosen: np.ndarray, classes: np.ndarray, keep: int) -> tuple[np.ndarray, np.ndarray]:
    """A cut in which a class has a row on either side wherever it has enough rows; other rows stay where they are.

    Args:
        rest, chosen: row numbers on either side of the cut.
        classes: code of each row's class, by row number.
        keep: rows of a class that `rest` needs, because it will be cut again.
    """
    sides = [rest, chosen]
    for into, needed in ((0, keep), (1, 1)):
        counts = [np.bincount(classes[side], minlength=classes.max(initial=0) + 1) for side in sides]
        for code in np.flatnonzero((counts[into] < needed) & (counts[1 - into] > 0)):
            there = np.flatnonzero(classes[sides[1 - into]] == code)
            spare = len(there) - (keep if into == 1 else 0)
            moved = there[: max(0, min(needed - counts[into][code], spare))]
            sides[into] = np.concatenate([sides[into], sides[1 - into][moved]])
            sides[1 - into] = np.delete(sides[1 - into], moved)
    return sides[0], sides[1]
