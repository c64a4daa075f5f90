"""Settings and tables that the tests of the preparation share."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from tidemill.data.raw import Raw, from_table
from tidemill.data.schema import Column, Role, Schema
from tidemill.preparation.fit import fit
from tidemill.preparation.run import Preparation, Prepared
from tidemill.settings import (
    CategoricalSettings,
    ColumnPreparation,
    FeatureOperation,
    FeatureSettings,
    Imputation,
    Kind,
    NumericSettings,
    PreparationSettings,
    Scaling,
    TimestampSettings,
)

NUMERIC = NumericSettings(
    missing=Imputation.MEDIAN,
    missing_value=0.0,
    missing_indicator=True,
    scaling=Scaling.STANDARD,
    quantiles=1000,
    clip=None,
    log=[],
)
CATEGORICAL = CategoricalSettings(min_count=1, max_categories=1000)
TIMESTAMP = TimestampSettings(parts=[], cyclic=False, elapsed=False)
KINDS = {pl.Float64: Kind.NUMERIC, pl.Boolean: Kind.BOOLEAN, pl.String: Kind.CATEGORICAL, pl.Datetime: Kind.TIMESTAMP}


def settings(
    *,
    numeric: NumericSettings = NUMERIC,
    categorical: CategoricalSettings = CATEGORICAL,
    timestamp: TimestampSettings = TIMESTAMP,
    features: list[FeatureSettings] | None = None,
    columns: dict[str, ColumnPreparation] | None = None,
) -> PreparationSettings:
    return PreparationSettings(
        numeric=numeric, categorical=categorical, timestamp=timestamp, features=features or [], columns=columns or {}
    )


def numeric(**changes: Any) -> NumericSettings:
    return replace(NUMERIC, **changes)


def own(**values: Any) -> ColumnPreparation:
    none = dict.fromkeys(ColumnPreparation.__dataclass_fields__)
    return ColumnPreparation(**(none | values))


def feature(
    name: str,
    operation: FeatureOperation,
    columns: list[str],
    table: dict[str, float] | None = None,
    default: float = 0,
) -> FeatureSettings:
    return FeatureSettings(name=name, operation=operation, columns=columns, table=table or {}, default=default)


def schema_of(table: pl.DataFrame) -> Schema:
    kinds = {name: KINDS[dtype.base_type()] for name, dtype in table.schema.items()}
    return Schema(columns=tuple(Column(name=name, kind=kind, role=Role.FEATURE) for name, kind in kinds.items()))


def fitted(table: pl.DataFrame, asked: PreparationSettings | None = None) -> Preparation:
    return fit(table, schema_of(table), asked or settings())


def raw_of(table: pl.DataFrame) -> Raw:
    return from_table(table, schema_of(table).columns)


def prepare(table: pl.DataFrame, asked: PreparationSettings | None = None) -> tuple[Preparation, Prepared]:
    """Fits on the table and runs over it."""
    preparation = fitted(table, asked)
    return preparation, preparation.run(raw_of(table))


def column(preparation: Preparation, prepared: Prepared, name: str) -> np.ndarray:
    """One prepared feature by its name."""
    if name in preparation.numeric_names:
        return prepared.numeric[:, preparation.numeric_names.index(name)]
    return prepared.categorical[:, preparation.categorical_names.index(name)]
