"""Categorical columns in the graph: text → int64 code. 0 is missing, 1 rare or unseen, 2… the vocabulary."""

import math
from collections.abc import Sequence

import numpy as np
import spox.opset.ai.onnx.ml.v4 as ml
import spox.opset.ai.onnx.v20 as op
from spox import Var

from tidemill.preparation import constants
from tidemill.preparation.statistics import Vocabulary

MISSING, UNSEEN, FIRST = 0, 1, 2


def encode(text: Var, categories: Sequence[str]) -> Var:
    return ml.label_encoder(
        text,
        keys_strings=("", *categories),
        values_int64s=(MISSING, *range(FIRST, FIRST + len(categories))),
        default_int64=UNSEEN,
    )


def cross(first: Var, second: Var, vocabulary: Vocabulary[tuple[str, str]]) -> Var:
    """Codes of pairs, by way of a number for each of the two texts: joined texts could be taken for one another."""
    firsts = {text: FIRST + i for i, text in enumerate(sorted({pair[0] for pair in vocabulary.categories}))}
    seconds = {text: FIRST + i for i, text in enumerate(sorted({pair[1] for pair in vocabulary.categories}))}
    width = FIRST + len(seconds)
    row, column = encode(first, list(firsts)), encode(second, list(seconds))
    cell = op.add(op.mul(row, constants.int64(width)), column)
    keys = [firsts[pair[0]] * width + seconds[pair[1]] for pair in vocabulary.categories]
    code = ml.label_encoder(
        cell,
        keys_int64s=(MISSING, *keys),
        values_int64s=(MISSING, *range(FIRST, FIRST + len(keys))),
        default_int64=UNSEEN,
    )
    absent = op.equal(op.mul(row, column), constants.int64(0))
    return op.where(absent, constants.int64(MISSING), code)


def look_up(text: Var, table: dict[str, float], default: float) -> Var:
    """float64: the table's number, the default for what it lacks, NaN for a missing text."""
    return ml.label_encoder(
        text,
        keys_tensor=np.array(["", *table], dtype=np.str_),
        values_tensor=np.array([math.nan, *table.values()], dtype=np.float64),
        default_tensor=np.array([default], dtype=np.float64),
    )
