"""Categorical columns in the graph: text → int64 code. 0 is missing, 1 rare or unseen, 2… the vocabulary."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import spox.opset.ai.onnx.ml.v4 as ml
import spox.opset.ai.onnx.v20 as op
from spox import Var

from tidemill.data.schema import Column
from tidemill.preparation import constants
from tidemill.preparation.statistics import Vocabulary

MISSING, UNSEEN, FIRST = 0, 1, 2
_WHOLE, _WHOLE_WITH_FRACTION = re.compile(r"-?\d+", re.ASCII), re.compile(r"(-?\d+)\.0+", re.ASCII)
T = TypeVar("T", int, float)


def spelled(numbers: Mapping[str, T], column: Column) -> dict[str, T]:
    """The numbers of texts, and of the other spellings of each: "3.0" of the category "3", "True" of "true".

    At every door values are read before they come here; a graph that is run by itself gets them as they are written.
    """
    keys = dict(numbers)
    for text, number in numbers.items():
        for other in _other_spellings(text, column):
            keys.setdefault(other, number)
    return keys


def _other_spellings(text: str, column: Column) -> tuple[str, ...]:
    if column.numeric_categories and _WHOLE.fullmatch(text):
        return (f"{text}.0",)
    if column.numeric_categories and (whole := _WHOLE_WITH_FRACTION.fullmatch(text)):
        return (whole[1],)
    if text.lower() in ("true", "false"):
        return (text.lower(), text.capitalize(), text.upper())
    return ()


def encode(text: Var, codes: Mapping[str, int], column: Column) -> Var:
    keys = dict.fromkeys(("", *column.missing_marks), MISSING) | spelled(codes, column)
    return ml.label_encoder(text, keys_strings=tuple(keys), values_int64s=tuple(keys.values()), default_int64=UNSEEN)


def cross(first: Var, second: Var, vocabulary: Vocabulary[tuple[str, str]], columns: Sequence[Column]) -> Var:
    """Codes of pairs, by way of a number for each of the two texts: joined texts could be taken for one another."""
    firsts, seconds = (numbered(sorted({pair[i] for pair in vocabulary.categories})) for i in (0, 1))
    width = FIRST + len(seconds)
    row, column = encode(first, firsts, columns[0]), encode(second, seconds, columns[1])
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


def numbered(categories: Sequence[str]) -> dict[str, int]:
    """A vocabulary's codes."""
    return {text: FIRST + i for i, text in enumerate(categories)}


def look_up(text: Var, table: Mapping[str, float], default: float, column: Column) -> Var:
    """float64: the table's number, the default for what it lacks, NaN for a missing text."""
    keys = dict.fromkeys(("", *column.missing_marks), math.nan) | spelled(table, column)
    return ml.label_encoder(
        text,
        keys_tensor=np.array(list(keys), dtype=np.str_),
        values_tensor=np.array(list(keys.values()), dtype=np.float64),
        default_tensor=np.array([default], dtype=np.float64),
    )
