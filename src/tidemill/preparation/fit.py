"""Fits a preparation: statistics from the training split, built into a graph."""

from collections.abc import Mapping

import polars as pl

from tidemill.data.schema import Column, Schema
from tidemill.errors import PreparationError, listed
from tidemill.preparation import categorical, columns, derived, graph, statistics, timestamp
from tidemill.preparation.columns import CategoricalPlan, NumericPlan
from tidemill.preparation.run import Preparation
from tidemill.settings import (
    CalendarPart,
    FeatureSettings,
    Imputation,
    Kind,
    PreparationSettings,
    Scaling,
)


def fit(train: pl.DataFrame, schema: Schema, settings: PreparationSettings) -> Preparation:
    """A preparation with statistics of `train`, a typed table: the training split and no other.

    A column whose training rows would all be prepared alike teaches a model nothing: it is left out, and if
    nothing else reads it, it is no input of the graph either (`Preparation.inputs` tells what is).

    Raises:
        PreparationError: the settings do not fit the schema, or no column varies.
    """
    kinds = columns.kinds_of(schema, settings)
    features = graph.Features(
        numeric=_numeric(train, kinds, schema, settings),
        timestamps=_timestamps(train, kinds, settings),
        cyclic=settings.timestamp.cyclic,
        categorical=_categorical(train, kinds, schema, settings),
    )
    sources = features.sources
    inputs = tuple(column for column in schema.inputs if column.name in sources)
    if not inputs:
        raise PreparationError(
            "A model needs at least one input that varies in the training split",
            observed=f"{len(kinds)} input columns ({listed(kinds) or 'none'}) over {train.height} training rows",
            remedy="add a column, lower preparation.categorical.min_count, or check the split",
        )
    model, numeric_names = graph.build(features, inputs)
    categorical_names = tuple(feature.vocabulary.name for feature in features.categorical)
    _check_names((*numeric_names, *categorical_names))
    return Preparation(
        model=model,
        inputs=inputs,
        numeric_names=numeric_names,
        categorical_names=categorical_names,
        vocabularies=tuple(
            tuple(category if isinstance(category, str) else "\0".join(category) for category in known)
            for known in (feature.vocabulary.categories for feature in features.categorical)
        ),
    )


def _numeric(
    train: pl.DataFrame, kinds: Mapping[str, Kind], schema: Schema, settings: PreparationSettings
) -> list[graph.NumericFeature]:
    declared = {feature.name: feature for feature in settings.features}
    found = []

    def add(column: derived.Numeric, plan: NumericPlan) -> None:
        fitted = statistics.measure_numeric(column.values, plan)
        if fitted.useful:
            found.append(graph.NumericFeature(statistics=fitted, node=column.node, sources=column.sources))

    for name, kind in kinds.items():
        if kind in (Kind.NUMERIC, Kind.BOOLEAN):
            feature = declared.get(name)
            column = derived.numeric(feature, schema, train) if feature else derived.raw(name, train)
            add(column, columns.numeric_plan(name, kind, settings))
    for name in (name for name, kind in kinds.items() if kind is Kind.TIMESTAMP):
        if settings.timestamp.elapsed:
            add(derived.elapsed(name, train), _unbounded(f"{name} (elapsed days)"))
        if CalendarPart.YEAR in settings.timestamp.parts:
            add(derived.year(name, train), _unbounded(f"{name} (year)"))
    return found


def _unbounded(name: str) -> NumericPlan:
    """Standardised and not clipped, so that time goes on after the training split; missing: its middle."""
    return NumericPlan(
        name=name,
        missing=Imputation.MEAN,
        missing_value=0.0,
        indicator=False,
        scaling=Scaling.STANDARD,
        quantiles=0,
        clip=None,
        log=False,
    )


def _timestamps(
    train: pl.DataFrame, kinds: Mapping[str, Kind], settings: PreparationSettings
) -> list[timestamp.TimestampStatistics]:
    parts, indicator = settings.timestamp.parts, settings.numeric.missing_indicator
    names = [name for name, kind in kinds.items() if kind is Kind.TIMESTAMP]
    found = [timestamp.measure(name, train[name], parts, indicator) for name in names]
    return [column for column in found if column.useful]


def _categorical(
    train: pl.DataFrame, kinds: Mapping[str, Kind], schema: Schema, settings: PreparationSettings
) -> list[graph.CategoricalFeature]:
    declared = {feature.name: feature for feature in settings.features}
    found = []
    for name in (name for name, kind in kinds.items() if kind is Kind.CATEGORICAL):
        plan = columns.categorical_plan(name, settings)
        made = _cross(declared[name], train, plan, schema) if name in declared else _category(train, plan, schema[name])
        if made.vocabulary.varies:
            found.append(made)
    return found


def _category(train: pl.DataFrame, plan: CategoricalPlan, column: Column) -> graph.CategoricalFeature:
    vocabulary = statistics.measure_categories(train[plan.name], plan)
    return graph.CategoricalFeature(
        vocabulary=vocabulary,
        node=lambda inputs: categorical.encode(inputs[plan.name], categorical.numbered(vocabulary.categories), column),
        sources=(plan.name,),
    )


def _cross(
    feature: FeatureSettings, train: pl.DataFrame, plan: CategoricalPlan, schema: Schema
) -> graph.CategoricalFeature:
    first, second = feature.columns
    columns = (schema[first], schema[second])
    vocabulary = statistics.measure_pairs(train[first], train[second], plan)
    return graph.CategoricalFeature(
        vocabulary=vocabulary,
        node=lambda inputs: categorical.cross(inputs[first], inputs[second], vocabulary, columns),
        sources=(first, second),
    )


def _check_names(names: tuple[str, ...]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PreparationError(
            "Each prepared feature needs a name of its own",
            observed=f"{listed(twice, quoted=True)} comes from two columns",
            remedy="rename one of the columns in the source",
        )
