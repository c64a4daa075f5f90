"""The group `preparation`: what is done to each kind of column before a network sees it."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from tidemill.composition import Conflict, Rule
from tidemill.settings.rules import AtLeastOne, Positive


class Imputation(StrEnum):
    MEDIAN = "median"
    MEAN = "mean"
    CONSTANT = "constant"


class Scaling(StrEnum):
    NONE = "none"
    STANDARD = "standard"
    QUANTILE = "quantile"


class CalendarPart(StrEnum):
    """Parts of a timestamp in UTC. Weekday 0 is Monday."""

    MINUTE_OF_DAY = "minute_of_day"
    HOUR = "hour"
    WEEKDAY = "weekday"
    DAY_OF_MONTH = "day_of_month"
    DAY_OF_YEAR = "day_of_year"
    MONTH = "month"
    YEAR = "year"


class FeatureOperation(StrEnum):
    """Derived features: a cross joins two categorical columns, the others are numeric."""

    CROSS = "cross"
    RATIO = "ratio"
    DIFFERENCE = "difference"
    LOOKUP = "lookup"


@dataclass(kw_only=True, slots=True)
class NumericSettings:
    missing: Imputation
    missing_value: float
    """Used when missing=constant."""
    missing_indicator: bool
    """Add a 0/1 feature for each column that has missing values in the training split."""
    scaling: Scaling
    quantiles: Annotated[int, Rule("between 2 and 10,000", lambda value: 2 <= value <= 10_000)]
    """scaling=quantile: landmarks of the transform to a normal distribution."""
    clip: Annotated[float, Positive] | None
    """After scaling, clip to ± this many units; null does not clip."""
    log: list[str]
    """Columns replaced by sign(x)·log(1 + |x|) first."""


@dataclass(kw_only=True, slots=True)
class CategoricalSettings:
    min_count: Annotated[int, AtLeastOne]
    """Categories seen less often in the training split share one 'rare' code."""
    max_categories: Annotated[int, AtLeastOne]
    """The most frequent are kept, the others are rare."""


@dataclass(kw_only=True, slots=True)
class TimestampSettings:
    parts: list[CalendarPart]
    cyclic: bool
    """Add sine and cosine of every part that has a period."""
    elapsed: bool
    """Add days since the earliest training timestamp: lets a model extrapolate in time, for better or worse."""


@dataclass(kw_only=True, slots=True)
class FeatureSettings:
    """A derived feature. `columns` are raw columns: two of them, or one for a lookup."""

    name: str
    operation: FeatureOperation
    columns: list[str]
    table: dict[str, float]
    """operation=lookup: category → number."""
    default: float
    """operation=lookup: for categories that the table lacks; ratio: for a zero denominator."""

    def conflicts(self) -> Iterator[Conflict]:
        needed = 1 if self.operation is FeatureOperation.LOOKUP else 2
        if len(self.columns) != needed:
            yield Conflict("columns", self.columns, f"must name {needed}, for a {self.operation}")


@dataclass(kw_only=True, slots=True)
class ColumnPreparation:
    """What differs for one column; null takes the general setting."""

    missing: Imputation | None
    missing_value: float | None
    scaling: Scaling | None
    clip: Annotated[float, Positive] | None
    log: bool | None
    min_count: Annotated[int, AtLeastOne] | None
    max_categories: Annotated[int, AtLeastOne] | None


@dataclass(kw_only=True, slots=True)
class PreparationSettings:
    numeric: NumericSettings
    categorical: CategoricalSettings
    timestamp: TimestampSettings
    features: list[FeatureSettings]
    columns: dict[str, ColumnPreparation]
