"""From the reference profile's bins to what a small figure or a line of text can show."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tidemill.data.profiles.profile import BINS
from tidemill.moments import from_microseconds
from tidemill.report.numerals import plain
from tidemill.settings import Kind

BARS = 24
TOP = 8
SPREAD = 40


@dataclass(frozen=True, slots=True)
class Distribution:
    """One column's values on the training split.

    places: numeric and timestamp: edges of even width, one more than bars (timestamps: UTC instants); otherwise None.
    names: categories, most frequent first, where places is None.
    rows: by bar, not counting missing values; numeric: spread over bars, so not whole.
    whole: numeric: there are whole numbers only, like years.
    """

    name: str
    kind: Kind
    missing: float
    places: list[Any] | None
    names: list[str]
    rows: np.ndarray
    text: str
    whole: bool = False


def read(profile: Mapping[str, Any]) -> dict[str, Distribution]:
    """Column → its distribution, in the profile's order (`data/profiles/profile.py` says what a profile holds)."""
    total = max(int(profile.get("rows", 0)), 1)
    return {name: _read(name, entry, total) for name, entry in profile.get("columns", {}).items()}


def _read(name: str, entry: Mapping[str, Any], total: int) -> Distribution:
    kind, missing = Kind(entry["kind"]), entry["missing"] / total
    if kind in (Kind.NUMERIC, Kind.TIMESTAMP):
        return _ordered(name, kind, missing, entry)
    if kind is Kind.BOOLEAN:
        counts = {"true": entry["true"], "false": entry["false"]}
        return Distribution(
            name, kind, missing, None, list(counts), np.array(list(counts.values())), _most(counts, total)
        )
    counts = dict(sorted(entry["categories"].items(), key=lambda item: -item[1]))
    shown = dict(list(counts.items())[:TOP])
    rest = sum(counts.values()) - sum(shown.values()) + entry["other"]
    names = [*shown, f"{len(counts) - len(shown):,} others" if not entry["other"] else "others"] if rest else [*shown]
    rows = np.array([*shown.values(), rest] if rest else [*shown.values()], dtype=np.int64)
    return Distribution(name, kind, missing, None, names, rows, _most(counts, total, more=entry["other"] > 0))


def _ordered(name: str, kind: Kind, missing: float, entry: Mapping[str, Any]) -> Distribution:
    edges, counts = np.asarray(entry["edges"], dtype=np.float64), np.asarray(entry["counts"], dtype=np.float64)
    if len(edges) < 2:
        return Distribution(name, kind, missing, None, [], np.array([]), "no values")
    inner = edges[:-1]  # the last one lies just beyond the largest value
    whole = kind is Kind.NUMERIC and bool((inner == np.round(inner)).all())
    bars, rows = _even_bars(edges, counts[1:-1], whole) if kind is Kind.NUMERIC else (edges, counts[1:-1])
    smallest, largest = entry["minimum"], entry["maximum"]
    if kind is Kind.TIMESTAMP:
        text = f"{_moment(smallest):%Y-%m-%d} to {_moment(largest):%Y-%m-%d}"
        places: list[Any] = [f"{_moment(edge):%Y-%m-%dT%H:%M:%S}" for edge in bars]
    else:
        middle = edges[np.searchsorted(np.cumsum(counts[1:-1]), counts[1:-1].sum() / 2)]
        text = f"{plain(smallest)} to {plain(largest)}, median about {plain(middle)}"
        places = bars.tolist()
    return Distribution(name, kind, missing, places, [], rows, text, whole)


def _even_bars(edges: np.ndarray, counts: np.ndarray, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Edges of even width and rows, from bins that were cut to hold about as many rows each.

    A bin that holds far more has one value many times over, its lower edge; rows of the others are spread evenly. Bars
    of whole numbers hold as many of them each, or uniform years would look as if they had peaks and gaps.
    """
    low, high = _window(edges)
    bars = np.linspace(low, high, BARS + 1)
    if whole:
        low, high = math.floor(low), math.ceil(high)
        step = -(-(high - low) // BARS)
        bars = np.arange(low, high + step, max(step, 1), dtype=np.float64)
    heaped = counts > 2 * counts.sum() / BINS
    steps = (np.arange(SPREAD) + 0.5) / SPREAD
    spread = (edges[:-1, None] + np.diff(edges)[:, None] * steps)[~heaped].ravel()
    where = np.clip(np.concatenate([edges[:-1][heaped], spread]), low, high)
    weights = np.concatenate([counts[heaped], np.repeat(counts[~heaped] / SPREAD, SPREAD)])
    return bars, np.histogram(where, bars, weights=weights)[0]


def _window(edges: np.ndarray) -> tuple[float, float]:
    """All values, unless a few lie so far out that the others would share one bar."""
    inner = edges[min(1, len(edges) - 2)], edges[max(len(edges) - 3, 1)]
    span = inner[1] - inner[0]
    if span <= 0:
        return float(edges[0]), float(edges[-1])
    return float(max(edges[0], inner[0] - 3 * span)), float(min(edges[-1], inner[1] + 3 * span))


def _most(counts: Mapping[str, int], total: int, more: bool = False) -> str:
    """The most frequent values by name."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    number = f"{len(ranked)}{'+' if more else ''} value{'s' if len(ranked) != 1 or more else ''}"
    return f"{number}: " + ", ".join(f"{name or '(empty)'} {rows / total:.0%}" for name, rows in ranked[:3])


def _moment(microseconds: float) -> datetime:
    """Profiles of damaged data can hold instants that no calendar has."""
    try:
        return from_microseconds(int(microseconds))
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if microseconds > 0 else datetime.min.replace(tzinfo=UTC)
