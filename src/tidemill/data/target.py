"""The target: from a column's values to numbers for the loss, and back to labels."""

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tidemill.errors import SchemaError, SettingsError, listed
from tidemill.settings import DataSettings, Objective

if TYPE_CHECKING:
    import polars as pl

Labels = np.ndarray
"""Encoded target, shape [rows]: int64 class index, or float64 value for regression."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What is predicted.

    classes: labels as text, in the order of the model's outputs (empty for regression). For binary,
        classes[1] is the positive class: `answers["probabilities"][:, 1]` is its probability.
    """

    name: str
    objective: Objective
    classes: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """K: 1 for binary and regression, the number of classes for multiclass."""
        return len(self.classes) if self.objective is Objective.MULTICLASS else 1

    def encode(self, series: "pl.Series") -> Labels:
        """Numbers for the loss from the typed column.

        Raises:
            SchemaError: a value that is no class, by name.
        """
        import polars as pl

        if self.objective is Objective.REGRESSION:
            if series.null_count() or series.dtype != pl.Float64:
                raise SchemaError(
                    f"Every value of the target {self.name!r} must be a number",
                    observed=f"{series.null_count()} missing of {series.len()} values of type {series.dtype}",
                    remedy="set data.objective to the objective that fits the column, or correct the values",
                )
            return series.to_numpy()
        texts = as_text(series)
        codes = texts.replace_strict(list(self.classes), range(len(self.classes)), default=None, return_dtype=pl.Int64)
        if codes.null_count():
            odd = texts.filter(codes.is_null())
            names = ["missing" if value is None else repr(value) for value in odd.unique().sort().head(5)]
            raise SchemaError(
                f"Every value of the target {self.name!r} must be one of its classes",
                observed=f"{odd.len()} row(s) with {', '.join(names)}; the classes are {listed(self.classes)}",
                remedy="drop or correct these rows, or train on a table that has all classes",
            )
        return codes.to_numpy()


MOST_CLASSES = 1000
FEW_NUMBERS = 20
"""objective=auto: whole numbers with at most this many different values are classes."""


def fit(series: "pl.Series", settings: DataSettings) -> Target:
    """The target for the typed column `series`, by its values that are not missing.

    objective=auto: two different values are binary; texts, booleans and few different whole numbers are classes;
    other numbers are regression. Classes are in sorted order, numbers by size; binary's positive one comes last.

    Raises:
        SchemaError: nothing to predict (all missing, constant), timestamps, or values that do not fit data.objective.
        SettingsError: data.positive is no class, or there is none to choose.
    """
    import polars as pl

    values = series.drop_nulls()
    if values.dtype == pl.Float64:
        values = values.drop_nans()
    if isinstance(values.dtype, pl.Datetime):
        raise _unfit(series.name, "A target must be numeric, categorical or boolean", "it holds timestamps")
    distinct = values.unique().sort()
    if distinct.len() < 2:
        observed = "all values are missing" if distinct.is_empty() else f"every row has {_texts(distinct)[0]!r}"
        raise _unfit(series.name, "A target must have at least two different values", observed)
    objective = _objective(distinct, settings.objective)
    if objective is Objective.REGRESSION:
        return Target(name=series.name, objective=objective, classes=_no_classes(distinct, settings))
    if distinct.len() > MOST_CLASSES:
        raise _unfit(
            series.name, f"A target may have at most {MOST_CLASSES:,} classes", f"{distinct.len():,} different values"
        )
    classes = _texts(distinct)
    if objective is Objective.BINARY and len(classes) != 2:
        raise _unfit(series.name, "A binary target has two classes", f"{len(classes)}: {listed(classes)}")
    return Target(name=series.name, objective=objective, classes=_positive_last(classes, objective, settings.positive))


def _objective(distinct: "pl.Series", wanted: Objective) -> Objective:
    import polars as pl

    numeric = distinct.dtype == pl.Float64
    if wanted is Objective.REGRESSION and not numeric:
        raise _unfit(distinct.name, "Regression needs a numeric target", f"values like {_texts(distinct.head(3))}")
    if wanted is not Objective.AUTO:
        return wanted
    if distinct.len() == 2:
        return Objective.BINARY
    whole = numeric and bool((distinct == distinct.floor()).all()) and bool(distinct.is_finite().all())
    if numeric and not (whole and distinct.len() <= FEW_NUMBERS):
        return Objective.REGRESSION
    return Objective.MULTICLASS


def _no_classes(distinct: "pl.Series", settings: DataSettings) -> tuple[str, ...]:
    if settings.positive is not None:
        raise SettingsError(
            "data.positive names a class of a binary target",
            observed=f"{settings.positive!r}, and {distinct.name!r} is a regression target",
            remedy="set data.positive=null, or data.objective=binary",
        )
    if distinct.is_infinite().any():
        raise _unfit(distinct.name, "A regression target must be finite", "infinite values")
    return ()


def _positive_last(classes: tuple[str, ...], objective: Objective, positive: str | None) -> tuple[str, ...]:
    if positive is None:
        return classes
    near = difflib.get_close_matches(positive, classes, n=1, cutoff=0.4)
    if objective is not Objective.BINARY or positive not in classes:
        raise SettingsError(
            "data.positive names a class of a binary target",
            observed=f"{positive!r}; the target is {objective} with {listed(classes, quoted=True)}",
            remedy=f"did you mean {near[0]!r}?" if near and near[0] != positive else "set data.positive=null",
        )
    return (*(label for label in classes if label != positive), positive)


def _texts(series: "pl.Series") -> tuple[str, ...]:
    return tuple(as_text(series).to_list())


def as_text(series: "pl.Series") -> "pl.Series":
    """Labels: whole numbers without a fraction ("1"), booleans as "true" and "false"."""
    from tidemill.data.cells.values import category

    return series.to_frame().select(category(series.name, series.dtype)).to_series()


def _unfit(name: str, rule: str, observed: str) -> SchemaError:
    return SchemaError(
        rule, observed=f"column {name!r}: {observed}", remedy="set data.target to another column, or correct the table"
    )
