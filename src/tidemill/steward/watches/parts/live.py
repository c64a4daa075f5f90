"""Rows of the ledger as the reference profile knows them: a column for each that it has, missing ones null."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from tidemill.data.cells.values import DTYPES
from tidemill.data.profiles.variation import comparable
from tidemill.settings import Kind
from tidemill.steward.watch import Watched


def watched(version: Watched, unwatched: Collection[str], *, moments: bool) -> dict[str, Any]:
    """The reference's columns that requests hold and that are to be watched. moments: timestamps among them."""
    inputs = {column.name for column in version.manifest.schema.inputs}
    return {
        name: comparable(entry)
        for name, entry in version.profile["inputs"]["columns"].items()
        if name in inputs and name not in unwatched and entry["kind"] in DTYPES
        if moments or entry["kind"] != Kind.TIMESTAMP
    }


def unreadable(rows: pl.DataFrame) -> int:
    """How many rows have inputs that could not be read."""
    return rows["inputs"].null_count() if _given(rows) else rows.height


def inputs(rows: pl.DataFrame, columns: Mapping[str, Any]) -> pl.DataFrame:
    """The inputs of the rows that could be read.

    A column is left out where the ledger holds something else than its values: a digest, by the type or the name.
    """
    if not _given(rows):
        return pl.DataFrame(schema={name: DTYPES[Kind(entry["kind"])] for name, entry in columns.items()})
    given = rows["inputs"]
    frame = (given.drop_nulls() if given.null_count() else given).struct.unnest()
    covered = {name.partition(" (")[0] for name in frame.columns if name.endswith(")")}
    found = []
    for name, entry in columns.items():
        kind = Kind(entry["kind"])
        if name not in frame.columns:
            if name not in covered:
                found.append(pl.Series(name, [None], DTYPES[kind]).new_from_index(0, frame.height))
        elif frame.schema[name] == pl.Null():
            found.append(frame[name].cast(DTYPES[kind]))
        elif _fits(frame.schema[name], kind):
            found.append(frame[name])
    return pl.DataFrame(found)


def answers(rows: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """The answers as `data.profiles.profile.profile_answers` counts them. classes: empty for regression."""
    if not classes:
        width = (pl.col("upper") - pl.col("lower")).alias("width")  # in float32, as the reference had it
        return rows.select(pl.col("value").cast(pl.Float64), width.cast(pl.Float64))
    probability = pl.col("probabilities").list
    by_class = (
        probability.get(index, null_on_oob=True).cast(pl.Float64).alias(f"probability of {name}")
        for index, name in enumerate(classes)
    )
    return rows.select(*by_class, pl.col("label").cast(pl.String))


def _given(rows: pl.DataFrame) -> bool:
    return isinstance(rows.schema.get("inputs"), pl.Struct)


def _fits(dtype: pl.DataType, kind: Kind) -> bool:
    if kind is Kind.NUMERIC:
        return dtype.is_numeric()
    if kind is Kind.TIMESTAMP:
        return dtype.is_temporal()
    return dtype == pl.Boolean() if kind is Kind.BOOLEAN else not (dtype.is_numeric() or dtype.is_temporal())
