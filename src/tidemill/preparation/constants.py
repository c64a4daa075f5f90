"""Constants for the graph, one spelling each."""

from collections.abc import Sequence

import numpy as np
import spox.opset.ai.onnx.v20 as op
from spox import Var


def float64(values: object) -> Var:
    return op.const(np.array(values, dtype=np.float64))


def int64(values: object) -> Var:
    return op.const(np.array(values, dtype=np.int64))


def int32(values: object) -> Var:
    return op.const(np.array(values, dtype=np.int32))


def column(values: Sequence[float]) -> Var:
    """float64 [len(values), 1]: one number for each row of a matrix that holds a column of the table per row."""
    return float64(values if len(values) == 0 else np.reshape(np.array(values, dtype=np.float64), (-1, 1)))
