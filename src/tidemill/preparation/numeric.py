"""Numeric columns in the graph: fill, indicate, take the logarithm, scale, clip.

F is the number of columns, N of rows. Everything is done on one float64 matrix [F, N], a column of the
table per row, so that each operation runs once and over contiguous memory; the last step casts to float32.
"""

import math
import sys
from collections.abc import Callable, Sequence

import numpy as np
import spox.opset.ai.onnx.v20 as op
from spox import Var

from tidemill.preparation import constants
from tidemill.preparation.statistics import Landmarks, NumericStatistics


def neighbours(column: NumericStatistics) -> tuple[bool, bool, bool]:
    """A key to sort by: columns that are treated alike become neighbours, those that do not vary the last."""
    return not column.varies, column.landmarks is not None, column.plan.log


def stack(columns: Sequence[Var]) -> Var:
    """1-D inputs [N] of one type → [F, N]."""
    joined = op.concat(columns, axis=0) if len(columns) > 1 else columns[0]
    return op.reshape(joined, constants.int64([len(columns), -1]))


def rows(matrix: Var, chosen: Sequence[int], of: int) -> Var:
    """The chosen ones of a matrix's `of` rows."""
    return matrix if list(chosen) == list(range(of)) else op.gather(matrix, constants.int64(chosen), axis=0)


def indicators(columns: Sequence[NumericStatistics], missing_FN: Var) -> Var:
    """float32 [columns with an indicator, N]: 1 where the value is missing."""
    chosen = [i for i, column in enumerate(columns) if column.indicator]
    return op.cast(rows(missing_FN, chosen, len(columns)), to=np.float32)


def prepare(columns: Sequence[NumericStatistics], values_FN: Var, missing_FN: Var) -> Var:
    """float32 [columns that vary, N], always finite. `columns` are sorted as `neighbours`."""
    of = len(columns)
    columns = [column for column in columns if column.varies]
    x, missing = (rows(matrix, range(len(columns)), of) for matrix in (values_FN, missing_FN))
    x = op.where(missing, constants.column([column.fill for column in columns]), x)
    x = _where(x, [column.plan.log for column in columns], lambda part, _: _signed_log(part))
    linear = [column.landmarks is None for column in columns]
    x = _where(x, linear, lambda part, chosen: _standardise(part, [columns[i] for i in chosen]))
    x = _where(x, [not flag for flag in linear], lambda part, chosen: _normal(part, [columns[i] for i in chosen]))
    return _clip(_bounded(op.cast(x, to=np.float32), columns), [column.plan.clip for column in columns])


def _bounded(x_FN: Var, columns: Sequence[NumericStatistics]) -> Var:
    """Infinity, and what float32 is too small for, becomes the extreme of the training split, prepared alike."""
    for sign in (1, -1):
        extremes = np.array([[_prepared(column, sign)] for column in columns], dtype=np.float32)
        x_FN = op.where(op.equal(x_FN, op.const(np.float32(sign * math.inf))), op.const(extremes), x_FN)
    return x_FN


def _prepared(column: NumericStatistics, sign: int) -> float:
    """The column's largest or smallest training value, as the graph prepares it; 0 where landmarks bound it anyway."""
    if column.landmarks is not None:
        return 0.0
    value = column.high if sign > 0 else column.low
    if column.plan.log:
        value = math.copysign(math.log1p(abs(value)), value)
    largest = float(np.finfo(np.float32).max)
    return min(max((value - column.center) * _factor(column), -largest), largest)


def _where(x_FN: Var, flags: Sequence[bool], change: Callable[[Var, list[int]], Var]) -> Var:
    """Changes the flagged rows of the matrix, in runs of neighbours, and leaves the others."""
    parts, start = [], 0
    while start < len(flags):
        stop = start
        while stop < len(flags) and flags[stop] == flags[start]:
            stop += 1
        chosen = list(range(start, stop))
        part = rows(x_FN, chosen, len(flags))
        parts.append(change(part, chosen) if flags[start] else part)
        start = stop
    return op.concat(parts, axis=0) if len(parts) > 1 else parts[0]


def _signed_log(x: Var) -> Var:
    return op.mul(op.sign(x), op.log(op.add(op.abs(x), constants.float64(1.0))))


def _standardise(x_FN: Var, columns: Sequence[NumericStatistics]) -> Var:
    """Multiplies, as division takes four times as long; the reciprocal of a scale near 0 is kept finite."""
    if all(column.center == 0 and column.scale == 1 for column in columns):
        return x_FN
    centered = op.sub(x_FN, constants.column([column.center for column in columns]))
    return op.mul(centered, constants.column([_factor(column) for column in columns]))


def _factor(column: NumericStatistics) -> float:
    return min(1 / column.scale, sys.float_info.max)


def _normal(x_FN: Var, columns: Sequence[NumericStatistics]) -> Var:
    """Maps values to normal scores along the landmarks.

    A binary search, unrolled, finds for all elements at once the last landmark that is not above the value: ten steps
    for 1,000 landmarks. Each looks its pivot up in a table of its own, which fits the processor's cache, and appends
    a binary digit to what has been found. One row takes as long as there are operations (here five a step), many rows
    as long as the elements take: comparing with 32 pivots at once, twice, would save half of the time of one row and
    cost three times that of 500; choosing with Where costs five times it.
    """
    fitted = [column.landmarks for column in columns if column.landmarks is not None]
    width = 2 ** max(len(landmarks.values) - 1 for landmarks in fitted).bit_length()
    values, scores, slopes = _tables(fitted, width)
    x = op.max([x_FN, constants.column([landmarks.values[0] for landmarks in fitted])])
    x = op.min([x, constants.column([landmarks.values[-1] for landmarks in fitted])])
    at = op.cast(op.less_or_equal(constants.float64(values[:, width // 2, None]), x), to=np.int32)
    for stride in (width >> level for level in range(1, width.bit_length() - 1)):
        pivots = constants.float64(values[:, stride // 2 :: stride])
        reached = op.less_or_equal(op.gather_elements(pivots, at, axis=1), x)
        at = op.add(op.add(at, at), op.cast(reached, to=np.int32))
    beyond = op.sub(x, op.gather_elements(op.const(values), at, axis=1))
    rise = op.mul(beyond, op.gather_elements(op.const(slopes), at, axis=1))
    return op.add(op.gather_elements(op.const(scores), at, axis=1), rise)


def _tables(fitted: Sequence[Landmarks], width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, scores and slopes to the next landmark, [F, width]; no value reaches what fills a row up."""
    values = np.full((len(fitted), width), np.inf)
    scores, slopes = np.zeros_like(values), np.zeros_like(values)
    for i, landmarks in enumerate(fitted):
        count = len(landmarks.values)
        values[i, :count], scores[i, :count] = landmarks.values, landmarks.scores
        with np.errstate(over="ignore"):
            slope = np.diff(landmarks.scores) / np.diff(landmarks.values)
        slopes[i, : count - 1] = np.where(np.isfinite(slope), slope, 0.0)
    return values, scores, slopes


def _clip(x_FN: Var, limits: Sequence[float | None]) -> Var:
    """float32; None does not clip."""
    if all(limit is None for limit in limits):
        return x_FN
    high = np.array([[math.inf if limit is None else limit] for limit in limits], dtype=np.float32)
    if len(set(limits)) == 1:
        return op.clip(x_FN, op.const(-high[0, 0]), op.const(high[0, 0]))
    return op.max([op.min([x_FN, op.const(high)]), op.const(-high)])
