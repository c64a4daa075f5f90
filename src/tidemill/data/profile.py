"""The reference profile: the distributions of the training split, and of answers, that live data is compared with.

Plain values that JSON can hold. Everything in it is a count, a smallest or a largest value over fixed
bins, so profiles of parts over the same bins add up to the profile of the whole:

    {"format": 1, "rows": 3, "columns": {
        "age":  {"kind": "numeric", "missing": 1, "edges": [20.0, 31.0, 65.0], "counts": [0, 1, 1, 0], …},
        "city": {"kind": "categorical", "missing": 0, "categories": {"Rome": 2}, "other": 1},
        "paid": {"kind": "boolean", "missing": 0, "true": 1, "false": 2},
        "seen": {"kind": "timestamp", …as numeric, in microseconds since 1970 UTC}}}

Bin i of `counts` holds edges[i-1] <= value < edges[i]; the first is what lies below all edges, the last
what lies at or above the last edge. Infinities are counted there too. On the training split both are empty
but for infinities.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from tidemill.data.schema import Column, Role, Schema
from tidemill.data.tables import counted, with_null
from tidemill.settings import Kind

FORMAT = 1
BINS = 20
CATEGORIES = 100
PROBABILITIES = np.linspace(0, 1, BINS + 1).tolist()

Profile = dict[str, Any]


def profile(train: pl.DataFrame, schema: Schema) -> Profile:
    """Profile of the inputs and the target, over bins chosen from the training split."""
    table = with_null(train)
    columns = [*schema.inputs, *schema.with_role(Role.TARGET)]
    bins = {column.name: _bins(column, table[column.name]) for column in columns if column.name in table.columns}
    return _count(table, bins)


def profile_like(table: pl.DataFrame, reference: Profile) -> Profile:
    """Profile of other rows over the bins of `reference`: what it has no bin for counts as other, below or above."""
    return _count(with_null(table), reference["columns"])


def profile_answers(answers: Mapping[str, np.ndarray], classes: tuple[str, ...]) -> Profile:
    """Distribution of answers: probabilities by class and labels, or values and widths of intervals.

    Args:
        answers: probabilities [rows, classes] and label [rows], or value, lower and upper [rows].
        classes: labels in the order of the probabilities; empty for regression.
    """
    if not classes:
        figures = {"value": answers["value"], "width": answers["upper"] - answers["lower"]}
        table = with_null(pl.DataFrame({name: values.astype(np.float64) for name, values in figures.items()}))
        return _count(
            table, {name: {"kind": str(Kind.NUMERIC), "edges": _quantile_edges(table[name])} for name in figures}
        )
    probabilities = answers["probabilities"].astype(np.float64)
    by_class = {f"probability of {name}": probabilities[:, i] for i, name in enumerate(classes)}
    bins: Profile = {name: {"kind": str(Kind.NUMERIC), "edges": PROBABILITIES} for name in by_class}
    bins["label"] = {"kind": str(Kind.CATEGORICAL), "categories": dict.fromkeys(classes, 0)}
    return _count(pl.DataFrame({**by_class, "label": answers["label"].tolist()}), bins)


def _bins(column: Column, values: pl.Series) -> Profile:
    """An entry of a profile with its bins and nothing counted yet."""
    entry: Profile = {"kind": str(column.kind)}
    if column.kind is Kind.NUMERIC:
        entry["edges"] = _quantile_edges(values)
    elif column.kind is Kind.TIMESTAMP:
        entry["edges"] = _even_edges(values)
    elif column.kind is Kind.CATEGORICAL:
        entry["categories"] = dict.fromkeys(counted(values)["value"].head(CATEGORIES).to_list(), 0)
    return entry


def _quantile_edges(values: pl.Series) -> list[float]:
    """At most BINS bins of about as many rows each; equal values stay in one bin."""
    finite = values.drop_nulls().to_numpy()
    finite = finite[np.isfinite(finite)]
    if len(finite) == 0:
        return []
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, BINS + 1), method="lower"))
    with np.errstate(over="ignore"):  # nothing lies above the largest float
        edges = np.append(edges, np.nextafter(edges[-1], np.inf))
    return [float(edge) for edge in edges[np.isfinite(edges)]]


def _even_edges(values: pl.Series) -> list[int]:
    """BINS bins of about the same duration, in whole microseconds."""
    times = _plain(values.drop_nulls())
    if len(times) == 0:
        return []
    first, end = int(times.min()), int(times.max()) + 1
    return sorted({first + (end - first) * step // BINS for step in range(BINS + 1)})


def _count(table: pl.DataFrame, bins: Mapping[str, Profile]) -> Profile:
    columns = {name: _entry(table[name], entry) for name, entry in bins.items()}
    return {"format": FORMAT, "rows": table.height, "columns": columns}


def _entry(values: pl.Series, bins: Profile) -> Profile:
    present = values.drop_nulls()
    entry: Profile = {"kind": bins["kind"], "missing": len(values) - len(present)}
    if bins["kind"] == Kind.BOOLEAN:
        true = int(present.cast(pl.Boolean).sum())
        return {**entry, "true": true, "false": len(present) - true}
    if bins["kind"] == Kind.CATEGORICAL:
        found = dict(counted(present.cast(pl.String)).iter_rows())
        known = {name: int(found.get(name, 0)) for name in bins["categories"]}
        return {**entry, "categories": known, "other": len(present) - sum(known.values())}
    numbers = _plain(present)
    counts = np.bincount(np.searchsorted(bins["edges"], numbers, side="right"), minlength=len(bins["edges"]) + 1)
    finite = numbers[np.isfinite(numbers)]
    return {
        **entry,
        "edges": bins["edges"],
        "counts": counts.tolist(),
        "minimum": finite.min().item() if len(finite) else None,
        "maximum": finite.max().item() if len(finite) else None,
    }


def _plain(values: pl.Series) -> np.ndarray:
    """Timestamps as int64 microseconds, numbers as they are."""
    return (values.dt.epoch("us") if values.dtype.is_temporal() else values).to_numpy()
