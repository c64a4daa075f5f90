"""What is learnt from the training split, and nothing else: numbers and vocabularies, computed in Polars."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Generic, Literal, TypeVar

import numpy as np
import polars as pl

from tidemill.preparation.columns import CategoricalPlan, NumericPlan
from tidemill.settings import Imputation, Scaling

SMALLEST_SHARE = 1e-7
"""Normal scores end at the quantiles of this share and of 1 − it: ±5.2, as in scikit-learn."""

Category = TypeVar("Category", str, tuple[str, str])


@dataclass(frozen=True, kw_only=True, slots=True)
class Landmarks:
    """Increasing values and the normal score of each: a piecewise-linear map, flat outside."""

    values: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class NumericStatistics:
    """One numeric column.

    fill: what takes the place of a missing value.
    low, high: the finite range, which infinities are replaced by.
    varies: False when every training row would be prepared to the same number.
    indicator: some training rows lack the value, some have it, and an indicator is asked for.
    center, scale: mean and standard deviation after filling and logarithm; 0 and 1 when not standardised.
    """

    plan: NumericPlan
    fill: float
    low: float
    high: float
    varies: bool
    indicator: bool
    center: float = 0.0
    scale: float = 1.0
    landmarks: Landmarks | None = None

    @property
    def useful(self) -> bool:
        return self.varies or self.indicator


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary(Generic[Category]):
    """The categories of one column that get a code of their own (2, 3, …), the most frequent first.

    A category is a text, or two of them for a cross.
    varies: False when every training row would get the same code.
    """

    name: str
    categories: tuple[Category, ...]
    varies: bool


def measure_numeric(values: pl.Series, plan: NumericPlan) -> NumericStatistics:
    """Statistics of one column of the training split; null and NaN are missing, infinities the finite extremes."""
    values = values.cast(pl.Float64).fill_nan(None)
    finite = values.filter(values.is_finite())
    if finite.is_empty():
        return NumericStatistics(plan=plan, fill=0.0, low=0.0, high=0.0, varies=False, indicator=False)
    low, high = _extremes(finite)
    values = values.clip(low, high)
    if plan.missing is Imputation.CONSTANT:
        fill = plan.missing_value
    else:
        fill = _moment(values, "median" if plan.missing is Imputation.MEDIAN else "mean")
    filled = values.fill_null(fill)
    if plan.log:
        filled = filled.sign() * filled.abs().log1p()
    smallest, largest = _extremes(filled)
    center, scale, landmarks = 0.0, 1.0, None
    if smallest < largest and plan.scaling is Scaling.STANDARD:
        center, scale = _moment(filled, "mean"), _moment(filled, "std") or largest - smallest
    elif smallest < largest and plan.scaling is Scaling.QUANTILE:
        landmarks = _landmarks(filled, plan.quantiles)
    return NumericStatistics(
        plan=plan,
        fill=fill,
        low=low,
        high=high,
        varies=smallest < largest,
        indicator=plan.indicator and values.null_count() > 0,
        center=center,
        scale=scale,
        landmarks=landmarks,
    )


def measure_categories(values: pl.Series, plan: CategoricalPlan) -> Vocabulary[str]:
    """The vocabulary of one text column of the training split; null and "" are missing."""
    present = values.filter(values != "").rename("category")
    counts = present.value_counts(name="count")
    kept = _most_frequent(counts, ["category"], plan)
    categories = tuple(kept["category"].to_list())
    return Vocabulary(name=plan.name, categories=categories, varies=_varies(counts, kept, len(values)))


def measure_pairs(first: pl.Series, second: pl.Series, plan: CategoricalPlan) -> Vocabulary[tuple[str, str]]:
    """The vocabulary of a cross; a pair is missing where either of its texts is."""
    table = pl.DataFrame({"first": first, "second": second})
    counts = table.filter(pl.all_horizontal(pl.all() != "")).group_by("first", "second").len("count")
    kept = _most_frequent(counts, ["first", "second"], plan)
    categories = tuple(zip(kept["first"].to_list(), kept["second"].to_list(), strict=True))
    return Vocabulary(name=plan.name, categories=categories, varies=_varies(counts, kept, table.height))


def _most_frequent(counts: pl.DataFrame, by: list[str], plan: CategoricalPlan) -> pl.DataFrame:
    """Ties in frequency are ordered by name, so that the codes do not depend on the order of the rows."""
    enough = counts.filter(pl.col("count") >= plan.min_count)
    return enough.sort("count", *by, descending=[True] + [False] * len(by)).head(plan.max_categories)


def _varies(counts: pl.DataFrame, kept: pl.DataFrame, rows: int) -> bool:
    missing = counts["count"].sum() < rows
    rare = counts.height > kept.height
    return kept.height + missing + rare > 1


def _extremes(values: pl.Series) -> tuple[float, float]:
    low, high = values.min(), values.max()
    assert isinstance(low, float) and isinstance(high, float)
    return low, high


def _moment(values: pl.Series, name: Literal["median", "mean", "std"]) -> float:
    """Median, mean or (population) standard deviation, of finite numbers of any size.

    A power of two brings them to [-1, 1], which costs no precision and neither overflows nor vanishes; counted from
    the smallest, numbers that are large and close together keep their differences.
    """
    low, high = _extremes(values.drop_nulls())
    exponent = max(math.frexp(max(-low, high))[1], -1000)
    unit = math.ldexp(1.0, -exponent)
    start = low * unit
    from_start = values * unit - start
    if name == "std":
        spread = from_start.std(ddof=0)
        assert isinstance(spread, float)
        return math.ldexp(spread, exponent)
    middle = from_start.median() if name == "median" else from_start.mean()
    assert isinstance(middle, float)
    return math.ldexp(start + middle, exponent)


def _landmarks(values: pl.Series, quantiles: int) -> Landmarks:
    """The values at equally spaced quantiles, as in scikit-learn's QuantileTransformer, with their normal scores.

    A value that spans several quantiles gets the score of the middle one. scikit-learn does so too, except for the
    smallest and the largest value, which it sends to the far end of the scale however common they are.
    """
    ordered = values.sort().to_numpy()
    shares = np.linspace(0.0, 1.0, min(quantiles, len(ordered)))
    position = shares * (len(ordered) - 1)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, len(ordered) - 1)
    part = position - below
    at_shares = np.maximum.accumulate(ordered[below] * (1 - part) + ordered[above] * part)
    distinct, first, count = np.unique(at_shares, return_index=True, return_counts=True)
    middle = (shares[first] + shares[first + count - 1]) / 2
    normal = NormalDist()
    scores = [normal.inv_cdf(share) for share in np.clip(middle, SMALLEST_SHARE, 1 - SMALLEST_SHARE)]
    return Landmarks(values=distinct, scores=np.array(scores))
