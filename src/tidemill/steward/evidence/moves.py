"""What moved, in words: sets of bins as people call them, and a factor by which all values changed."""

from itertools import pairwise

import numpy as np

from tidemill.data.profile import Profile
from tidemill.settings import Kind
from tidemill.steward.evidence.histograms import HistogramEvidence, bin_sets

_ALIKE, _DIFFERENT = 1.15, 1.2
"""All values changed by one factor where none is so many times another's factor, and the factor is not near 1."""


def sets(evidence: HistogramEvidence) -> np.ndarray:
    """Which cells each set has [sets, cells], in the order of `HistogramEvidence.look`."""
    return bin_sets(evidence.reference.shape[-1], ordered=evidence.ordered)


def told(entry: Profile, inside: np.ndarray) -> str:
    """A set of a column's cells (`data.profile.cells`), like "values below 61.5"."""
    if entry["kind"] == Kind.BOOLEAN:
        names = ["false", "true"]
    elif entry["kind"] == Kind.CATEGORICAL:
        names = [*map(repr, entry["categories"]), "rarer values" if entry["other"] else "values never seen before"]
    else:
        edges = entry["edges"]
        if inside.sum() > 1:
            return f"values below {edges[int(inside.sum()) - 1]:g}"
        between = (f"values from {low:g} to {high:g}" for low, high in pairwise(edges))
        names = ["values below all before", *between, "values above all before"][: len(inside) - 1]
    return " and ".join(name for name, chosen in zip([*names, "missing values"], inside, strict=True) if chosen)


def factor(entry: Profile, live: np.ndarray) -> float | None:
    """By which factor all values of a numeric column changed, where they did by one; None otherwise.

    Below each edge lies a known share of the live values; the factor is the edge over the value below which as large a
    share of the reference lies. Edges with a twentieth of the live values on either side count, and three are needed.

    Args:
        live: counts by cell.
    """
    if entry["kind"] != Kind.NUMERIC or len(entry["edges"]) < 3 or not sum(entry["counts"]) or not live[:-1].sum():
        return None
    edges = np.asarray(entry["edges"])
    then, now = (np.cumsum(counts)[:-1] / np.sum(counts) for counts in (entry["counts"], live[:-1]))
    told = (now > 0.05) & (now < 0.95)
    before = np.interp(now[told], then, edges)
    if len(before) < 3 or (before * edges[told] <= 0).any():
        return None
    times = edges[told] / before
    middle = float(np.median(times))
    one = times.max() / times.min() <= _ALIKE and max(middle, 1 / middle) >= _DIFFERENT
    return middle if one else None
