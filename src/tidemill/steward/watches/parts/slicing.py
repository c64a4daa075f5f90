"""Slices of live rows: by category, truth value or range of one input column, as many at most as were fixed before.

How many there may be is known before the first row comes, so that an alarm's chance can be shared out among them.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from tidemill.data.schema import Role
from tidemill.errors import SettingsError
from tidemill.settings import Kind
from tidemill.steward.watch import LONGEST, Watched

MISSING = "missing"
OTHER = "other"
NOWHERE = -1


@dataclass(kw_only=True, slots=True)
class Cut:
    """The slices of one column.

    values: of the slices, `OTHER` and `MISSING` behind them. edges: between ranges, none for categories.
    free: how many categories may still be named, in order of appearance, where the profile does not know the column.
    """

    column: str
    kind: Kind
    values: list[str]
    edges: list[float]
    free: int = 0

    @property
    def names(self) -> list[str]:
        """Of all slices that there are by now, by their codes."""
        return [OTHER, MISSING, *self.values]

    @property
    def most(self) -> int:
        """Slices that there may ever be."""
        return len(self.names) + self.free

    def codes(self, rows: pl.DataFrame) -> np.ndarray:
        """The slice of each row [rows]; NOWHERE where its inputs are not known."""
        inputs = rows["inputs"]
        if not isinstance(inputs.dtype, pl.Struct) or self.column not in [item.name for item in inputs.dtype.fields]:
            return np.full(rows.height, NOWHERE)
        values = inputs.struct.field(self.column)
        found = self._ranges(values) if self.kind is Kind.NUMERIC else self._categories(values.cast(pl.String))
        return np.where(inputs.is_null().to_numpy(), NOWHERE, found)

    def _ranges(self, values: pl.Series) -> np.ndarray:
        numbers = values.cast(pl.Float64).fill_nan(None)
        places = 2 + np.searchsorted(self.edges, numbers.fill_null(0.0).to_numpy(), side="right")
        return np.where(numbers.is_null().to_numpy(), 1, places)

    def _categories(self, values: pl.Series) -> np.ndarray:
        if self.free:
            new = values.unique(maintain_order=True).drop_nulls()
            more = [value for value in new.to_list() if value and len(value) <= LONGEST and value not in self.values][
                : self.free
            ]
            self.values += more
            self.free -= len(more)
        ranks = values.cast(pl.Enum(self.values), strict=False).to_physical().cast(pl.Int64) + 2
        missing = (values.is_null() | (values == "")).fill_null(True)
        return np.where(missing.to_numpy(), 1, ranks.fill_null(0).to_numpy())


def cut(watched: Watched, column: str, *, most: int, bins: int, key: str) -> Cut:
    """The slices of a column that the schema has.

    Args:
        most: categories; the most frequent of the reference profile.
        bins: ranges of a number, of about as many rows each in the reference profile.
        key: the setting that named the column.

    Raises:
        SettingsError: there is no such column, or it cannot be cut.
    """
    kinds = {found.name: found.kind for found in watched.manifest.schema.columns if found.role is not Role.TARGET}
    entry: Mapping[str, Any] | None = watched.profile["inputs"]["columns"].get(column)
    kind = kinds.get(column)
    if kind is Kind.NUMERIC and entry is not None:
        edges = _cuts(entry, bins)
        return Cut(column=column, kind=kind, values=_ranges(edges), edges=edges)
    if kind is Kind.BOOLEAN:
        return Cut(column=column, kind=kind, values=["false", "true"], edges=[])
    if kind is Kind.CATEGORICAL and entry is not None:
        ranked = sorted(entry["categories"], key=entry["categories"].__getitem__, reverse=True)
        return Cut(column=column, kind=kind, values=[value for value in ranked if value][:most], edges=[])
    if kind is Kind.CATEGORICAL:
        return Cut(column=column, kind=kind, values=[], edges=[], free=most)
    near = difflib.get_close_matches(column, kinds, n=1)
    raise SettingsError(
        f"{key} names columns with categories or truth values, and numbers that the model reads",
        observed=f"{column!r}, " + ("no column of the schema" if kind is None else f"{kind} and not in the profile"),
        remedy=f"did you mean {near[0]}?" if kind is None and near else f"correct {key}",
    )


def _cuts(entry: Mapping[str, Any], bins: int) -> list[float]:
    """Edges of the profile between which about as many of its rows lie."""
    edges, counts = np.asarray(entry["edges"]), np.asarray(entry["counts"], dtype=float)
    below = np.cumsum(counts)[: len(edges)]  # rows below each edge
    shares = below / max(counts.sum(), 1)
    inner = np.flatnonzero((shares > 0) & (shares < 1))
    chosen = {int(inner[np.argmin(np.abs(shares[inner] - step / bins))]) for step in range(1, bins) if len(inner)}
    return [float(edges[place]) for place in sorted(chosen)]


def _ranges(edges: list[float]) -> list[str]:
    if not edges:
        return ["any"]
    texts = [f"{edge:.6g}" for edge in edges]
    return [f"below {texts[0]}", *(f"{low} to {high}" for low, high in pairwise(texts)), f"{texts[-1]} or more"]
