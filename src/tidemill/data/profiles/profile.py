"""The reference profile: the distributions of the training split, and of answers, that live data is compared with.

Plain values that JSON can hold. Everything in it is a count, a smallest or a largest value over fixed
bins, so profiles of parts over the same bins add up to the profile of the whole:

    {"format": 1, "rows": 3, "columns": {
        "age":  {"kind": "numeric", "missing": 1, "edges": [20.0, 31.0, 65.0], "counts": [0, 1, 1, 0], …},
        "city": {"kind": "categorical", "missing": 0, "categories": {"Rome": 2}, "other": 1},
        "paid": {"kind": "boolean", "missing": 0, "true": 1, "false": 2},
        "seen": {"kind": "timestamp", …as numeric, in microseconds since 1970 UTC}},
     "bursts": …}  (of the training split only, see variation.py)

`seen` lists the categories that the training split has besides those counted one by one; null: too many to list.

Bin i of `counts` holds edges[i-1] <= value < edges[i]; the first is what lies below all edges, the last
what lies at or above the last edge. Infinities are counted there too. On the training split both are empty
but for infinities.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tidemill.data.profiles.variation import variation
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.tables import counted, with_null
from tidemill.errors import SchemaError
from tidemill.settings import Kind

FORMAT = 1
BINS = 20
CATEGORIES = 100
SEEN, SEEN_BYTES = 10_000, 2**18
"""So many categories besides, of so many bytes together, are listed: what is not among them was never seen."""
PROBABILITIES = np.linspace(0, 1, BINS + 1).tolist()
_NO_TIME = -(2**63)
_MANY = 10_000  # values; as Python objects these are found sooner than by Polars, more are not
_BLOCK = 2**17  # numbers that are compared while they lie in the cache

_SUMMED = ("missing", "other", "unseen", "true", "false")

Profile = dict[str, Any]


def profile(train: pl.DataFrame, schema: Schema) -> Profile:
    """Profile of the inputs and the target, over bins chosen from the training split, with its variation in time."""
    table, time = with_null(train), schema.only(Role.TIME)
    columns = [*schema.inputs, *schema.with_role(Role.TARGET)]
    there = set(table.columns)
    bins = {column.name: _bins(column, table[column.name]) for column in columns if column.name in there}
    whole = _count(table, bins)
    for name, entry in whole["columns"].items():
        if entry["kind"] == Kind.CATEGORICAL and entry["other"]:
            entry["seen"] = _seen(table[name])
    ordered = time.name if time and time.name in table.columns else None
    return {**whole, "bursts": variation(table, whole, ordered)}


def profile_like(table: pl.DataFrame, reference: Profile) -> Profile:
    """Profile of other rows over the bins of `reference`: what it has no bin for counts as other, below or above."""
    return _count(table, reference["columns"])


def unseen(values: pl.Series, reference: Profile) -> pl.DataFrame | None:
    """Values of a categorical column that the training split does not have: `value` and `rows`, the commonest first.

    None: the column's reference lists not all that training had.
    """
    seen = _known(reference)
    if seen is None:
        return None
    found = values.alias("value").drop_nulls().value_counts(name="rows")
    return found.filter(~pl.col("value").is_in(["", *seen])).sort("rows", "value", descending=[True, False])


def _known(reference: Profile) -> list[str] | None:
    """All categories of the training split, if the reference has them."""
    more = reference.get("seen", None if reference.get("other") else [])
    return None if more is None else [*reference["categories"], *more]


def _seen(values: pl.Series) -> list[str] | None:
    rest = counted(values)["value"].slice(CATEGORIES)
    few = rest.len() <= SEEN and int(rest.str.len_bytes().sum()) <= SEEN_BYTES
    return rest.to_list() if few else None


def merge(parts: Sequence[Profile]) -> Profile:
    """The profile of all rows of the parts, of which there is one at least.

    Raises:
        SchemaError: they were not counted over the same bins.
    """
    whole = parts[0]
    for part in parts[1:]:
        columns = {name: _merged(name, entry, part["columns"].get(name)) for name, entry in whole["columns"].items()}
        whole = {"format": FORMAT, "rows": whole["rows"] + part["rows"], "columns": columns}
    return whole


def cells(entry: Profile) -> np.ndarray:
    """A column's counts in a row: false and true; categories and others; or all bins. Missing ones are last."""
    if entry["kind"] == Kind.BOOLEAN:
        return np.array([entry["false"], entry["true"], entry["missing"]])
    if entry["kind"] == Kind.CATEGORICAL:
        return np.array([*entry["categories"].values(), entry["other"], entry["missing"]])
    return np.array([*entry["counts"], entry["missing"]])


def _merged(name: str, ours: Profile, theirs: Profile | None) -> Profile:
    if theirs is None or _bins_of(ours) != _bins_of(theirs):
        raise SchemaError(
            "Profiles are merged that were counted over the same bins",
            observed=f"{name!r} over other bins, or not at all",
            remedy="count all parts with profile_like and one reference",
        )
    merged: Profile = {key: ours[key] + theirs[key] for key in _SUMMED if key in ours and key in theirs}
    if "categories" in ours:
        merged["categories"] = {value: rows + theirs["categories"][value] for value, rows in ours["categories"].items()}
    if "counts" in ours:
        merged["counts"] = [one + other for one, other in zip(ours["counts"], theirs["counts"], strict=True)]
        for key, choose in (("minimum", min), ("maximum", max)):
            ends = [part[key] for part in (ours, theirs) if part[key] is not None]
            merged[key] = choose(ends, default=None)
    return {**ours, **merged}


def _bins_of(entry: Profile) -> tuple[Any, ...]:
    return entry["kind"], entry.get("edges"), [*entry.get("categories", ())]


def profile_answers(answers: Mapping[str, np.ndarray], classes: tuple[str, ...]) -> Profile:
    """Distribution of answers: probabilities by class and labels, or values and widths of intervals.

    Args:
        answers: probabilities [rows, classes] and label [rows], or value, lower and upper [rows].
        classes: labels in the order of the probabilities; empty for regression.
    """
    table = answers_table(answers, classes)
    if not classes:
        table = with_null(table)
        edges = {name: _quantile_edges(table[name]) for name in table.columns}
        return _count(table, {name: {"kind": str(Kind.NUMERIC), "edges": found} for name, found in edges.items()})
    bins: Profile = {name: {"kind": str(Kind.NUMERIC), "edges": PROBABILITIES} for name in table.columns[:-1]}
    bins["label"] = {"kind": str(Kind.CATEGORICAL), "categories": dict.fromkeys(classes, 0)}
    return _count(table, bins)


def answers_table(answers: Mapping[str, np.ndarray], classes: tuple[str, ...]) -> pl.DataFrame:
    """What of answers is profiled, see `profile_answers`."""
    if not classes:
        figures = {"value": answers["value"], "width": answers["upper"] - answers["lower"]}
        return pl.DataFrame({name: values.astype(np.float64) for name, values in figures.items()})
    probabilities = answers["probabilities"].astype(np.float64)
    by_class = {f"probability of {name}": probabilities[:, i] for i, name in enumerate(classes)}
    return pl.DataFrame({**by_class, "label": pl.Series(answers["label"].tolist(), dtype=pl.String)})


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
    times = values.drop_nulls().dt.epoch("us").to_numpy()
    if len(times) == 0:
        return []
    first, end = int(times.min()), int(times.max()) + 1
    return sorted({first + (end - first) * step // BINS for step in range(BINS + 1)})


def _count(table: pl.DataFrame, bins: Mapping[str, Profile]) -> Profile:
    columns = {name: _entry(table[name], entry) for name, entry in bins.items()}
    return {"format": FORMAT, "rows": table.height, "columns": columns}


def _entry(values: pl.Series, bins: Profile) -> Profile:
    if bins["kind"] == Kind.CATEGORICAL:
        return _categories(values, bins)
    if bins["kind"] == Kind.BOOLEAN:
        missing, true = values.null_count(), int(values.cast(pl.Boolean).sum())
        return {"kind": bins["kind"], "missing": missing, "true": true, "false": len(values) - missing - true}
    if values.dtype.is_temporal():
        missing, numbers = values.null_count(), values.dt.epoch("us").fill_null(_NO_TIME).to_numpy()
        present = numbers[numbers != _NO_TIME] if missing else numbers
    else:
        present = numbers = values.cast(pl.Float64).to_numpy()  # what is null becomes NaN
        missing = int(np.count_nonzero(np.isnan(numbers)))
    below = _below(numbers, bins["edges"])
    if values.dtype.is_temporal():
        below -= missing
    counts = np.diff([0, *below, len(values) - missing])
    minimum, maximum = _ends(present)
    return {
        "kind": bins["kind"],
        "missing": missing,
        "edges": bins["edges"],
        "counts": counts.tolist(),
        "minimum": minimum,
        "maximum": maximum,
    }


def _categories(values: pl.Series, bins: Profile) -> Profile:
    known, seen = bins["categories"], bins.get("seen")
    found = values.cast(pl.String).alias("value").value_counts(name="rows")
    if found.height > _MANY:
        found = found.filter(pl.first().is_in(["", *known, *(seen or ())]) | pl.first().is_null())
    named = dict(zip(*(column.to_list() for column in found), strict=True))
    missing = named.get(None, 0) + named.get("", 0)
    categories = {name: named.get(name, 0) for name in known}
    other = len(values) - missing - sum(categories.values())
    entry = {"kind": str(Kind.CATEGORICAL), "missing": missing, "categories": categories, "other": other}
    return entry | ({"unseen": other - sum(named.get(name, 0) for name in seen)} if seen is not None else {})


def _below(numbers: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """How many numbers lie below each edge: comparing with all of them is ten times as fast as searching."""
    below = np.zeros(len(edges), dtype=np.int64)
    limits = np.asarray(edges, dtype=numbers.dtype)
    smaller = np.empty(min(_BLOCK, len(numbers)), dtype=bool)
    for begin in range(0, len(numbers), _BLOCK):
        block = numbers[begin : begin + _BLOCK]
        into = smaller[: len(block)]
        for index, limit in enumerate(limits):
            below[index] += np.count_nonzero(np.less(block, limit, out=into))
    return below


def _ends(numbers: np.ndarray) -> tuple[Any, Any]:
    """The smallest and the largest finite number, None where there is none."""
    if not len(numbers):
        return None, None
    ends = np.fmin.reduce(numbers), np.fmax.reduce(numbers)
    if not np.isfinite(ends).all():
        return _ends(numbers[np.isfinite(numbers)])
    return ends[0].item(), ends[1].item()
