"""Assembles the graph: raw inputs → columns → the two outputs `numeric` and `categorical`.

N rows; the outputs are float32 [N, numeric features] and int64 [N, categorical features].
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import spox
import spox.opset.ai.onnx.v20 as op
from spox import Var

from tidemill.data.cells import values
from tidemill.data.schema import Column
from tidemill.preparation import constants, numeric, timestamp
from tidemill.preparation.derived import Node
from tidemill.preparation.statistics import NumericStatistics, Vocabulary
from tidemill.settings import Kind

_TYPES: dict[Kind, type[np.generic]] = {
    Kind.NUMERIC: np.float64,
    Kind.BOOLEAN: np.float64,
    Kind.CATEGORICAL: np.str_,
    Kind.TIMESTAMP: np.int64,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NumericFeature:
    """`node` gives float64 with NaN for missing; `sources` are the raw columns that it reads."""

    statistics: NumericStatistics
    node: Node
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoricalFeature:
    """`node` gives int64 codes below the vocabulary's cardinality."""

    vocabulary: Vocabulary[str] | Vocabulary[tuple[str, str]]
    node: Node
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What the training split found useful."""

    numeric: Sequence[NumericFeature]
    timestamps: Sequence[timestamp.TimestampStatistics]
    cyclic: bool
    categorical: Sequence[CategoricalFeature]

    @property
    def sources(self) -> set[str]:
        """The raw columns that they read."""
        read = [feature.sources for feature in self.numeric] + [feature.sources for feature in self.categorical]
        return {name for names in read for name in names} | {column.name for column in self.timestamps}


def build(features: Features, inputs: Sequence[Column]) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The graph and the names of its numeric features, in order. `inputs` are the columns that it reads."""
    arguments = {column.name: spox.argument(spox.Tensor(_TYPES[column.kind], ("rows",))) for column in inputs}
    columns = {column.name: _without_marks(arguments[column.name], column) for column in inputs}
    numbers, names = _numeric(features, columns)
    codes = [numeric.stack([feature.node(columns) for feature in features.categorical])] if features.categorical else []
    rows = op.shape((numbers + codes)[0], start=1)
    outputs = {
        "numeric": _side_by_side(numbers, rows, np.float32),
        "categorical": _side_by_side(codes, rows, np.int64),
    }
    model = spox.build(arguments, outputs)
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = "rows"
    model.producer_name = "tidemill"
    onnx.checker.check_model(model, full_check=True)
    return model, names


def _without_marks(argument: Var, column: Column) -> Var:
    """The raw column, with NaN for each number that stands for a missing value, like -999."""
    marks = values.numeric_marks(column) if column.kind is Kind.NUMERIC else []
    for mark in marks:
        argument = op.where(op.equal(argument, constants.float64(mark)), constants.float64(math.nan), argument)
    return argument


def _numeric(features: Features, arguments: Mapping[str, Var]) -> tuple[list[Var], tuple[str, ...]]:
    """Matrices float32 [features, N] to be stacked, and the names of all their rows."""
    matrices: list[Var] = []
    names: list[str] = []
    ordered = sorted(features.numeric, key=lambda feature: numeric.neighbours(feature.statistics))
    if ordered:
        stacked = numeric.stack([feature.node(arguments) for feature in ordered])
        missing = op.isnan(stacked)
        columns = [feature.statistics for feature in ordered]
        if any(column.varies for column in columns):
            matrices.append(numeric.prepare(columns, stacked, missing))
            names += [column.plan.name for column in columns if column.varies]
        if any(column.indicator for column in columns):
            matrices.append(numeric.indicators(columns, missing))
            names += [f"{column.plan.name} (missing)" for column in columns if column.indicator]
    moments = features.timestamps
    if moments:
        raw = numeric.stack([arguments[column.name] for column in moments])
        matrices += timestamp.periodic(moments, raw, timestamp.Calendar(raw), features.cyclic)
        names += timestamp.periodic_names(moments, features.cyclic)
        if any(column.indicator for column in moments):
            matrices.append(timestamp.indicators(moments, raw))
            names += [f"{column.name} (missing)" for column in moments if column.indicator]
    return matrices, tuple(names)


def _side_by_side(matrices_FN: Sequence[Var], rows: Var, kind: type[np.generic]) -> Var:
    """Matrices [features, N] → [N, all features]; without any, [N, 0]."""
    if not matrices_FN:
        shape = op.concat([rows, constants.int64([0])], axis=0)
        return op.constant_of_shape(shape, value=np.zeros(1, dtype=kind))
    joined = op.concat(matrices_FN, axis=0) if len(matrices_FN) > 1 else matrices_FN[0]
    return op.transpose(joined, perm=[1, 0])
