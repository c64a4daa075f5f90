"""Inputs as small numbers, and by how much more often inputs like these come now than they did before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

from tidemill.settings import Kind

MISSING = 0
OTHER = 1
_FIRST = 2  # code of a column's first bin or category
_CATEGORIES = 10
_COLUMNS = 100
"""More are left out: an alarm about drift looks at all columns, a weight at what there are rows enough for."""

_STEPS = 30
_RIDGE = 5.0  # rows' worth of doubt that a column's odds differ at all
_MOST = 50.0
"""Largest weight of a row: where inputs are unlike all that was seen, a few rows must not speak for all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Coder:
    """Codes of a reference profile's columns: bins of numbers, frequent categories, truth values.

    columns: name → edges of bins, or names of categories.
    """

    columns: Mapping[str, np.ndarray | list[str]]

    @classmethod
    def of(cls, profile: Mapping[str, Any], inputs: Sequence[str]) -> "Coder":
        """Of the inputs that a profile has; timestamps are left out, since their present is never their past."""
        columns: dict[str, np.ndarray | list[str]] = {}
        entries = profile["inputs"]["columns"]
        for name, entry in [(name, entries[name]) for name in inputs if name in entries][:_COLUMNS]:
            if entry["kind"] == Kind.NUMERIC and len(entry["edges"]) > 1:
                columns[name] = np.asarray(entry["edges"])
            elif entry["kind"] == Kind.BOOLEAN:
                columns[name] = ["false", "true"]
            elif entry["kind"] == Kind.CATEGORICAL:
                ranked = sorted(entry["categories"], key=entry["categories"].__getitem__, reverse=True)
                columns[name] = [category for category in ranked if category][:_CATEGORIES]
        return cls(columns=columns)

    def codes(self, rows: pl.DataFrame) -> np.ndarray:
        """One code a column [rows, columns], uint8; MISSING also where a column or all inputs are absent."""
        inputs = rows["inputs"]
        found = np.full((rows.height, len(self.columns)), MISSING, dtype=np.uint8)
        given = {item.name for item in inputs.dtype.fields} if isinstance(inputs.dtype, pl.Struct) else set()
        for index, (name, bins) in enumerate(self.columns.items()):
            if name not in given:
                continue
            values = inputs.struct.field(name)
            if isinstance(bins, list):
                ranks = values.cast(pl.String).cast(pl.Enum(bins), strict=False).to_physical().cast(pl.Int64) + _FIRST
                missing = values.is_null() | (values.cast(pl.String) == "").fill_null(True)
                found[:, index] = np.where(missing.to_numpy(), MISSING, ranks.fill_null(OTHER).to_numpy())
            else:
                numbers = values.cast(pl.Float64, strict=False).fill_nan(None)
                places = np.searchsorted(bins, numbers.fill_null(0.0).to_numpy(), side="right") + _FIRST
                found[:, index] = np.where(numbers.is_null().to_numpy(), MISSING, places)
        return found

    def design(self, codes: np.ndarray) -> np.ndarray:
        """Codes as columns of a regression [rows, d], of size 1 or so.

        Numbers are normal scores of their bins (so that the tilt from one normal distribution to a shifted one is
        linear in them) and their squares, beside whether they are missing; others are one-hot.
        """
        parts = []
        for index, bins in enumerate(self.columns.values()):
            code = codes[:, index]
            if isinstance(bins, list):
                parts.append((code[:, None] == np.arange(_FIRST + len(bins))).astype(np.float64))
            else:
                parts.append(_scores(len(bins) + 1)[code])
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(codes), 0))


@cache
def _scores(bins: int) -> np.ndarray:
    """Columns of each code of a number [codes, 3]."""
    score = np.array([NormalDist().inv_cdf((place + 0.5) / bins) for place in range(bins)]) / 2
    table = np.column_stack([score, np.square(score), np.zeros(bins)])
    return np.concatenate([[[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], table])


def weights(past: np.ndarray, present: np.ndarray) -> np.ndarray:
    """How many times as often rows like each past one come now [past rows], from 0 to 50; 1 where nothing moved.

    The odds of a logistic regression that tells present from past (Bickel, Brückner & Scheffer, Discriminative
    learning under covariate shift, JMLR 2009), with a ridge; by steps under the fixed bound of its curvature (Böhning &
    Lindsay, Monotonicity of quadratic-approximation algorithms, AISM 1988), which needs one factorisation only.

    Args:
        past, present: designs [rows, d], without a column of ones.
    """
    design = np.concatenate([past, present])
    design = np.column_stack([np.ones(len(design)), design])
    target = np.arange(len(design)) >= len(past)
    ridge = np.full(design.shape[1], _RIDGE)
    ridge[0] = 0.0
    curvature = np.linalg.inv(design.T @ design / 4 + np.diag(ridge + 1e-9))
    found = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ found, -30, 30)))
        found += curvature @ (design.T @ (target - chance) - ridge * found)
    odds = np.exp(np.clip(design[: len(past)] @ found, -30, 30))
    return np.asarray(np.minimum(odds * len(past) / len(present), _MOST))
