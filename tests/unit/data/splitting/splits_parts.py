"""Tables and settings to split."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from checked_tables import split_settings as settings

from tidemill.data.schema import Column, Role, Schema
from tidemill.data.target import Target
from tidemill.settings import Kind, Objective

__all__ = ["BINARY", "DAY", "SCHEMA", "schema", "settings", "table"]
BINARY = Target(name="y", objective=Objective.BINARY, classes=("a", "b"))
DAY = datetime(2013, 1, 1)


def schema(**roles: tuple[Kind, Role]) -> Schema:
    return Schema(columns=tuple(Column(name=name, kind=kind, role=role) for name, (kind, role) in roles.items()))


SCHEMA = schema(
    row=(Kind.NUMERIC, Role.FEATURE),
    g=(Kind.CATEGORICAL, Role.GROUP),
    t=(Kind.TIMESTAMP, Role.TIME),
    y=(Kind.CATEGORICAL, Role.TARGET),
)


def table(n: int, groups: int = 10) -> pl.DataFrame:
    generator = np.random.default_rng(7)
    return pl.DataFrame(
        {
            "row": np.arange(n, dtype=float),
            "g": [f"g{i % groups}" for i in range(n)],
            "t": pl.Series([DAY + timedelta(hours=i) for i in range(n)], dtype=pl.Datetime("us", "UTC")),
            "y": np.where(generator.random(n) < 0.3, "a", "b"),
        }
    )
