"""Which columns a preparation makes, raw and derived, and what is asked for each of them.

Here the settings are held against the schema, before any statistic is computed.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from tidemill.data.schema import Schema
from tidemill.errors import PreparationError, listed
from tidemill.settings import (
    ColumnPreparation,
    FeatureOperation,
    FeatureSettings,
    Imputation,
    Kind,
    PreparationSettings,
    Scaling,
)

OUTPUTS = ("numeric", "categorical")


@dataclass(frozen=True, kw_only=True, slots=True)
class NumericPlan:
    """What happens to one numeric column; the general settings and its own, resolved."""

    name: str
    missing: Imputation
    missing_value: float
    indicator: bool
    scaling: Scaling
    quantiles: int
    clip: float | None
    log: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoricalPlan:
    name: str
    min_count: int
    max_categories: int


def kinds_of(schema: Schema, settings: PreparationSettings) -> dict[str, Kind]:
    """Name → kind of every column: the raw inputs in the schema's order, then the derived features.

    Raises:
        PreparationError: a feature, `numeric.log` or `columns` names what is not there, of another kind, or twice.
    """
    raw = {column.name: column.kind for column in schema.inputs}
    for name in raw:
        if name in ("", *OUTPUTS):
            raise PreparationError(
                "A feature needs a name, and not that of one of the graph's outputs (numeric, categorical)",
                observed=f"a column named {name!r}",
                remedy="rename the column in the source, or list it under data.ignored",
            )
    kinds = dict(raw)
    for feature in settings.features:
        if feature.name in ("", *OUTPUTS, *kinds):
            raise PreparationError(
                "Each derived feature needs a name of its own",
                observed=f"preparation.features: {feature.name!r}, which is empty or taken",
                remedy="give it another name",
            )
        kinds[feature.name] = _kind_of(feature, raw)
    for name in settings.numeric.log:
        _known(name, kinds, "preparation.numeric.log")
        if kinds[name] is not Kind.NUMERIC:
            raise _wrong_kind("preparation.numeric.log", name, kinds[name], "numeric")
    for name, override in settings.columns.items():
        _known(name, kinds, "preparation.columns")
        _check_override(name, kinds[name], override)
    return kinds


def numeric_plan(name: str, kind: Kind, settings: PreparationSettings) -> NumericPlan:
    """A boolean stays 0 and 1 (and what fills its gaps) unless `columns` says otherwise."""
    general, own = settings.numeric, settings.columns.get(name)
    as_it_is = kind is Kind.BOOLEAN
    return NumericPlan(
        name=name,
        missing=own.missing if own and own.missing else general.missing,
        missing_value=own.missing_value if own and own.missing_value is not None else general.missing_value,
        indicator=general.missing_indicator,
        scaling=own.scaling if own and own.scaling else Scaling.NONE if as_it_is else general.scaling,
        quantiles=general.quantiles,
        clip=own.clip if own and own.clip is not None else None if as_it_is else general.clip,
        log=own.log if own and own.log is not None else name in general.log,
    )


def categorical_plan(name: str, settings: PreparationSettings) -> CategoricalPlan:
    general, own = settings.categorical, settings.columns.get(name)
    return CategoricalPlan(
        name=name,
        min_count=own.min_count if own and own.min_count is not None else general.min_count,
        max_categories=own.max_categories if own and own.max_categories is not None else general.max_categories,
    )


def _kind_of(feature: FeatureSettings, raw: dict[str, Kind]) -> Kind:
    """The derived column's kind, once its own columns are found to be right."""
    key = f"preparation.features.{feature.name}"
    for name in feature.columns:
        _known(name, raw, f"{key}.columns")
    kinds = [raw[name] for name in feature.columns]
    if feature.operation in (FeatureOperation.CROSS, FeatureOperation.LOOKUP):
        allowed: tuple[Kind, ...] = (Kind.CATEGORICAL,)
    elif feature.operation is FeatureOperation.DIFFERENCE and kinds[0] is Kind.TIMESTAMP:
        allowed = (Kind.TIMESTAMP,)
    else:
        allowed = (Kind.NUMERIC,)
    for name, kind in zip(feature.columns, kinds, strict=True):
        if kind not in allowed:
            raise _wrong_kind(f"{key}.columns", name, kind, f"{allowed[0]} for this {feature.operation}")
    return Kind.CATEGORICAL if feature.operation is FeatureOperation.CROSS else Kind.NUMERIC


def _check_override(name: str, kind: Kind, override: ColumnPreparation) -> None:
    numeric = ("missing", "missing_value", "scaling", "clip", "log")
    categorical = ("min_count", "max_categories")
    fitting = {Kind.CATEGORICAL: categorical, Kind.TIMESTAMP: ()}.get(kind, numeric)
    for setting in (*numeric, *categorical):
        if getattr(override, setting) is not None and setting not in fitting:
            right = "numeric" if setting in numeric else "categorical"
            raise _wrong_kind(f"preparation.columns.{name}.{setting}", name, kind, right)


def _known(name: str, names: Iterable[str], key: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
        raise PreparationError(
            "Preparation settings may name the model's inputs only",
            observed=f"{key}: {name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""),
            remedy=f"name one of {listed(names)}",
        )


def _wrong_kind(key: str, name: str, kind: Kind, needed: str) -> PreparationError:
    return PreparationError(
        f"{key} is for columns of kind {needed}",
        observed=f"{name!r} is {kind}",
        remedy="name another column, or set the column's kind with data.kinds",
    )
