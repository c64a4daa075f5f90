"""A drift of a column in words: names of sets of bins, and a factor by which all values changed.

`HistogramEvidence` says how strongly each set of bins speaks for a drift. This module says what such a set is called,
and whether the drift is one of units, as when minutes became seconds, rather than one of the world.
"""

from itertools import pairwise

import numpy as np

from tidemill.data.profiles.profile import Profile
from tidemill.settings import Kind

_ALIKE, _DIFFERENT = 1.15, 1.2
"""All values changed by one factor where none is so many times another's factor, and the factor is not near 1."""


def set_name(entry: Profile, inside: np.ndarray) -> str:
    """Return what a set of a column's cells (`data.profiles.profile.cells`) is called, such as "values below 61.5".

    Args:
        entry: the column in the reference profile.
        inside: which cells the set has, the last of them for missing values [cells].

    >>> import numpy as np
    >>> delay = {"kind": "numeric", "edges": [0.0, 15.0, 60.0], "counts": [0, 80, 20, 0]}
    >>> set_name(delay, np.array([True, True, False, False, False]))
    'values below 15'
    >>> set_name(delay, np.array([False, False, False, False, True]))
    'missing values'
    """
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


def common_factor(entry: Profile, live: np.ndarray) -> float | None:
    """Return the factor by which all values of a numeric column changed, or None where there is not one for all.

    Below each edge lies a known share of the live values. The factor at this edge is the edge over the value below
    which as large a share of the reference lies. Edges count that have a twentieth of the live values on either side,
    and three of them are needed.

    Values that were minutes come in half minutes, so each is twice as large:

    >>> import numpy as np
    >>> minutes = {"kind": "numeric", "edges": [0, 10, 20, 30, 40, 80], "counts": [0, 40, 30, 20, 10, 0, 0]}
    >>> common_factor(minutes, np.array([0, 20, 20, 15, 15, 30, 0, 0]))
    2.0

    Args:
        entry: the column in the reference profile.
        live: counts by cell, the last of them of missing values [cells].
    """
    if entry["kind"] != Kind.NUMERIC or len(entry["edges"]) < 3 or not sum(entry["counts"]) or not live[:-1].sum():
        return None
    edges = np.asarray(entry["edges"])
    then, now = (np.cumsum(counts)[:-1] / np.sum(counts) for counts in (entry["counts"], live[:-1]))
    inner = (now > 0.05) & (now < 0.95)
    before = np.interp(now[inner], then, edges)
    if len(before) < 3 or (before * edges[inner] <= 0).any():
        return None
    times = edges[inner] / before
    middle = float(np.median(times))
    one = times.max() / times.min() <= _ALIKE and max(middle, 1 / middle) >= _DIFFERENT
    return middle if one else None
