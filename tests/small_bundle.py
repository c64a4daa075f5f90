"""What the fixtures `small` and `small_multiclass` give: a real bundle, and what it was made of."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tidemill.data.schema import Schema
from tidemill.data.target import Target


@dataclass(frozen=True, kw_only=True)
class Small:
    """A bundle's folder and what it was made of."""

    folder: Path
    table: pl.DataFrame
    schema: Schema
    target: Target
    network: object
    preparation: object
