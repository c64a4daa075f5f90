"""Derived columns, twice: as a Polars series to fit statistics on, and as nodes of the graph.

Both give a raw column, which is then treated like any other of its kind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl
import spox.opset.ai.onnx.v20 as op
from spox import Var

from tidemill.data.schema import Column, Schema
from tidemill.preparation import categorical, constants, timestamp
from tidemill.settings import CalendarPart, FeatureOperation, FeatureSettings, Kind

Node = Callable[[Mapping[str, Var]], Var]
"""From the graph's raw inputs, by name, to one column [N]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Numeric:
    """A numeric column: the training split's values, and float64 with NaN for missing in the graph.

    sources: the raw columns that it is made of.
    """

    values: pl.Series
    node: Node
    sources: tuple[str, ...]


def raw(name: str, train: pl.DataFrame) -> Numeric:
    return Numeric(values=_numbers(train, name), node=lambda inputs: inputs[name], sources=(name,))


def numeric(feature: FeatureSettings, schema: Schema, train: pl.DataFrame) -> Numeric:
    """A ratio, a difference or a lookup."""
    column = schema[feature.columns[0]]
    if feature.operation is FeatureOperation.LOOKUP:
        values, node = _lookup(feature, train, column)
    elif feature.operation is FeatureOperation.RATIO:
        values, node = _ratio(feature, train)
    else:
        values, node = (_hours if column.kind is Kind.TIMESTAMP else _difference)(feature, train)
    return Numeric(values=values, node=node, sources=tuple(feature.columns))


def elapsed(name: str, train: pl.DataFrame) -> Numeric:
    """Days since the earliest timestamp of the training split."""
    ticks = timestamp.ticks(train[name])
    start = ticks.min() or 0
    assert isinstance(start, int)

    def node(inputs: Mapping[str, Var]) -> Var:
        passed = op.sub(timestamp.as_number(inputs[name], inputs[name]), constants.float64(start))
        return op.div(passed, constants.float64(timestamp.MICROSECONDS_PER_DAY))

    values = (ticks.cast(pl.Float64) - start) / timestamp.MICROSECONDS_PER_DAY
    return Numeric(values=values, node=node, sources=(name,))


def year(name: str, train: pl.DataFrame) -> Numeric:
    def node(inputs: Mapping[str, Var]) -> Var:
        return timestamp.as_number(timestamp.Calendar(inputs[name])[CalendarPart.YEAR], inputs[name])

    values = timestamp.part(train[name], CalendarPart.YEAR).cast(pl.Float64)
    return Numeric(values=values, node=node, sources=(name,))


_Made = tuple[pl.Series, Node]


def _ratio(feature: FeatureSettings, train: pl.DataFrame) -> _Made:
    above, below = feature.columns

    def node(inputs: Mapping[str, Var]) -> Var:
        zero = op.equal(inputs[below], constants.float64(0.0))
        return op.where(zero, constants.float64(feature.default), op.div(inputs[above], inputs[below]))

    denominator = _numbers(train, below)
    quotient = _numbers(train, above) / denominator
    return quotient.set(denominator == 0, feature.default), node


def _difference(feature: FeatureSettings, train: pl.DataFrame) -> _Made:
    first, second = feature.columns
    values = _numbers(train, first) - _numbers(train, second)
    return values, lambda inputs: op.sub(inputs[first], inputs[second])


def _hours(feature: FeatureSettings, train: pl.DataFrame) -> _Made:
    """Subtracted as float64, as two far int64 could overflow; exact to the microsecond until the year 2255."""
    first, second = feature.columns

    def node(inputs: Mapping[str, Var]) -> Var:
        moments = [timestamp.as_number(inputs[name], inputs[name]) for name in (first, second)]
        return op.div(op.sub(*moments), constants.float64(timestamp.MICROSECONDS_PER_HOUR))

    moments = [timestamp.ticks(train[name]).cast(pl.Float64) for name in (first, second)]
    return (moments[0] - moments[1]) / timestamp.MICROSECONDS_PER_HOUR, node


def _lookup(feature: FeatureSettings, train: pl.DataFrame, column: Column) -> _Made:
    (name,) = feature.columns
    text = train[name].replace("", None)
    table = categorical.spelled(feature.table, column)
    known = pl.Series(list(table), dtype=pl.String)
    numbers = pl.Series(list(table.values()), dtype=pl.Float64)
    found = text.replace_strict(known, numbers, default=feature.default, return_dtype=pl.Float64)
    values = found.set(text.is_null(), None)
    return values, lambda inputs: categorical.look_up(inputs[name], feature.table, feature.default, column)


def _numbers(train: pl.DataFrame, name: str) -> pl.Series:
    """Float64 with null for what is missing."""
    return train[name].cast(pl.Float64).fill_nan(None)
