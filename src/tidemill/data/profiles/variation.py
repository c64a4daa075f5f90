"""How much consecutive rows of the training split differ from it as a whole: as much is no fault in a live period.

Rows come in clusters: a sensor is down for a day, a storm lasts three. Of all runs of a given length, in order of time
where there is one, the largest figure is kept (plain values, as the profile's; lists go by `rows`):

    {"rows": [32, 128, …], "columns": {"wind": {"missing": […], "moved": […], "outside": […]}, "city": {"other": […]}}}

missing, other: share of a run's rows; outside: share outside the range of all rows before the run (below it, of a
timestamp), in the later half of runs; moved: total variation between a run's cells (`profile.cells`) and those of all
rows. Of all but `outside`, what chance alone makes of so few rows is taken off. Categories are those that `comparable`
leaves.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from tidemill.settings import Kind

RUNS = (32, 128, 512, 2048, 8192)
_FEWEST = 12
"""Runs of a length that are worth a largest figure."""
_ROWS = 1_000_000
"""The last so many rows are looked at."""

_DEVIATIONS = 4.0

Variation = dict[str, Any]


def variation(table: pl.DataFrame, profile: Mapping[str, Any], time: str | None) -> Variation:
    """Variation among the rows that the profile was counted on. time: the column of their order, if there is one."""
    order = np.argsort(table[time].to_physical().to_numpy(), kind="stable") if time else np.arange(table.height)
    order = order[-_ROWS:]
    lengths = [length for length in RUNS if len(order) >= _FEWEST * length]
    columns = {
        name: _column(table[name][order], comparable(entry), lengths) for name, entry in profile["columns"].items()
    }
    return {"rows": lengths, "columns": columns}


def shifted_share(counts: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The share of rows that changed cells, less what chance makes of so few rows on average [...].

    Args:
        counts: [..., cells].
        reference: [cells].
    """
    rows, everything = counts.sum(axis=-1, keepdims=True), max(reference.sum(), 1)
    before = reference / everything
    apart = np.abs(counts / np.maximum(rows, 1) - before).sum(axis=-1) / 2
    spread = before * (1 - before) * (1 / np.maximum(rows, 1) + 1 / everything)
    chance = np.sqrt(spread / (2 * np.pi)).sum(axis=-1)
    return np.where(rows[..., 0] > 0, np.maximum(apart - chance, 0.0), 0.0)


def largest_figure(found: Mapping[str, Any] | None, column: str, what: str, rows: int) -> float | None:
    """The largest figure of runs that are as long as `rows`, or the next shorter; None: there is none."""
    figures = (found or {}).get("columns", {}).get(column, {}).get(what)
    if not found or not figures:
        return None
    lengths = [length for length in found["rows"] if length <= rows]
    return float(figures[max(len(lengths) - 1, 0)])


def comparable(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry with those categories among the others that chance made some of the most frequent ones.

    A profile names the most frequent categories only. Near the least frequent of these, training had more rows of
    each that was named than is usual, and had it been otherwise, another one had been named.
    """
    if not entry.get("other") or not entry.get("categories"):
        return entry
    cut_off = min(entry["categories"].values())
    enough = cut_off + _DEVIATIONS * cut_off**0.5
    kept = {name: rows for name, rows in entry["categories"].items() if rows >= enough}
    return {
        **entry,
        "categories": kept,
        "other": entry["other"] + sum(entry["categories"].values()) - sum(kept.values()),
    }


def _column(values: pl.Series, entry: Mapping[str, Any], lengths: list[int]) -> Variation:
    if not lengths:
        return {}
    codes, cells = cell_numbers(values, entry)
    counts = _counts(codes, cells, lengths[0])
    whole = np.bincount(codes, minlength=cells)
    found: Variation = {"missing": [], "moved": []}
    if entry["kind"] == Kind.CATEGORICAL:
        found["other"] = []
    for length in lengths:
        step = length // lengths[0]
        runs = len(counts) // step
        runs_counted = counts[: runs * step].reshape(runs, step, cells).sum(axis=1)
        found["missing"].append(_most(runs_counted[:, -1], whole[-1] / len(codes), length))
        found["moved"].append(float(shifted_share(runs_counted, whole).max()))
        if "other" in found:
            found["other"].append(_most(runs_counted[:, -2], whole[-2] / len(codes), length))
    if entry.get("edges"):
        numbers = values.to_physical().cast(pl.Float64).to_numpy()
        found["outside"] = [_outside(numbers, length, entry["kind"] == Kind.TIMESTAMP) for length in lengths]
    return found


def _most(found: np.ndarray, share: float, length: int) -> float:
    """The largest share of a run, less three deviations of chance."""
    return max(float(found.max() / length - 3 * np.sqrt(share * (1 - share) / length)), 0.0)


def cell_numbers(values: pl.Series, entry: Mapping[str, Any]) -> tuple[np.ndarray, int]:
    """Which of `profile.cells` each row belongs to [rows], and how many there are."""
    if entry["kind"] == Kind.BOOLEAN:
        return values.cast(pl.Boolean).cast(pl.Int64).fill_null(2).to_numpy(), 3
    if entry["kind"] == Kind.CATEGORICAL:
        known = list(entry["categories"])
        codes = {None: len(known) + 1, "": len(known) + 1, **{name: code for code, name in enumerate(known)}}
        numbered = values.cast(pl.String).replace_strict(codes, default=len(known), return_dtype=pl.Int64)
        return numbered.to_numpy(), len(known) + 2
    edges = np.asarray(entry["edges"])
    if values.dtype.is_temporal():
        numbers, missing = values.dt.epoch("us").fill_null(0).to_numpy(), values.is_null().to_numpy()
    else:
        numbers = values.cast(pl.Float64).to_numpy()
        missing = np.isnan(numbers)
    found = np.searchsorted(edges, numbers, side="right")
    return np.where(missing, len(edges) + 1, found), len(edges) + 2


def _counts(codes: np.ndarray, cells: int, length: int) -> np.ndarray:
    """Rows of each cell, run after run [runs, cells]."""
    runs = len(codes) // length
    cell_of_run = codes[: runs * length] + cells * np.repeat(np.arange(runs), length)
    return np.bincount(cell_of_run, minlength=runs * cells).reshape(runs, cells)


def _outside(numbers: np.ndarray, length: int, only_below: bool) -> float:
    runs = len(numbers) // length
    rows = numbers[: runs * length].reshape(runs, length)
    lowest, highest = np.fmin.accumulate(np.fmin.reduce(rows, 1)), np.fmax.accumulate(np.fmax.reduce(rows, 1))
    later = slice(runs // 2, runs)
    before = slice(runs // 2 - 1, runs - 1)
    outside = rows[later] < lowest[before, None]
    if not only_below:
        outside |= rows[later] > highest[before, None]
    return float(outside.mean(axis=1).max())
