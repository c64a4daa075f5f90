"""Evidence that live counts over bins come from another distribution than the reference's, itself only a sample.

Under the null hypothesis, live rows and reference rows are draws of one distribution. Given how many rows of both
together fell into a set of bins, the number of live rows among them is then hypergeometric, whatever the distribution
was. So nothing about it has to be known, and the error rate holds for a reference of a few hundred rows as for one of
a million; the smaller one only shows less.

Assumes that rows are independent of each other, and that the mix of each hour is that of the reference. Void where rows
come in clusters: a storm is not a thousand independent flights, so count clusters, or weigh whole days. Void also where
the mix depends on hour and weekday: then look at whole weeks.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidemill.errors import SettingsError
from tidemill.steward.evidence.limits import NOTHING, log_mean, require_positive, require_share

_SIZES = 0.05 * 2.0 ** np.arange(6)
SHIFTS = np.concatenate([-_SIZES, _SIZES])
"""Log odds ratios of the alternatives, over which evidence is averaged: odds 5% higher up to five times as high."""


@dataclass(kw_only=True, slots=True)
class HistogramEvidence:
    """Evidence that one column has drifted, over as many looks as one likes, each at any window of live rows.

    The e-value of a look is the mean, over sets of bins and odds ratios ψ, of ψ^x / E[ψ^X], where x is the number of
    live rows in the set and X is hypergeometric. The expectation is bounded by the least of four binomial ones
    (Hoeffding, Probability inequalities for sums of bounded random variables, JASA 1963, theorem 4). The sets are each
    bin and, where bins are ordered, all bins up to each: a shift of location shows as well as a spike, and so does the
    set in which it lies.

    Looks share rows of the reference, and often live rows too, so that their e-values may depend on each other in any
    way. Therefore look j weighs half / ((j − 1 + half)(j + half)). These weights sum to 1, so that the running sum of
    weighted e-values is one e-value for all looks together: P(it ever reaches 1 / alpha) ≤ alpha (Vovk & Wang,
    E-values: calibration, combination and applications, Annals of Statistics 2021). It never falls; so begin anew when
    a drift was dealt with, or the reference was renewed.

    A window that is like the reference, and one that is not, over four bins in order:

    >>> import numpy as np
    >>> evidence = HistogramEvidence(reference=np.array([400, 300, 200, 100]), ordered=True)
    >>> _ = evidence.look([80, 60, 40, 20])
    >>> bool(evidence.log_e >= np.log(1 / 0.05))
    False
    >>> _ = evidence.look([40, 50, 60, 50])
    >>> bool(evidence.log_e >= np.log(1 / 0.05))
    True
    >>> round(evidence.distance([40, 50, 60, 50]), 2)
    0.25

    Attributes:
        reference: counts [bins], as the profile has them (missing is a bin).
        ordered: whether the bins lie along a line.
        half: the looks among which half of the weight is spread.
        log_e: log of the running sum.
    """

    reference: np.ndarray
    ordered: bool
    half: int = 200
    looks: int = 0
    log_e: float = field(default=NOTHING)

    def __post_init__(self) -> None:
        require_positive("half", self.half)
        self.reference = self._counts(self.reference)

    @property
    def sets(self) -> np.ndarray:
        """Which bins each set has [sets, bins], in the order in which `look` returns them."""
        return bin_sets(len(self.reference), ordered=self.ordered)

    def look(self, live: Any) -> np.ndarray:
        """Add a window to the running sum, and return its own log evidence by set of bins [sets].

        Args:
            live: counts, in the shape of the reference's.

        Raises:
            SettingsError: the counts do not have the reference's bins or are negative.
        """
        counts = self._counts(live)
        if counts.shape != self.reference.shape:
            raise SettingsError(
                "Live counts have the reference's bins",
                observed=f"{counts.shape} and {self.reference.shape}",
                remedy="count over the bins of the reference profile",
            )
        found = log_mean(set_evidence(counts, self.reference, self.sets))
        self.looks += 1
        weight = self.half / ((self.looks - 1 + self.half) * (self.looks + self.half))
        self.log_e = float(np.logaddexp(self.log_e, np.log(weight) + log_mean(found)))
        return found

    def distance(self, live: Any) -> float:
        """Return the size of the effect: the share of rows that would have to move for both to be alike.

        It is the total variation distance, between 0 and 1; 0 without live rows.
        """
        counts = self._counts(live)
        shares, expected = (part / max(part.sum(), 1) for part in (counts, self.reference))
        return float(np.abs(shares - expected).sum() / 2) if counts.any() else 0.0

    def _counts(self, counts: Any) -> np.ndarray:
        found = np.asarray(counts, dtype=np.float64)
        if found.shape[-1] < 2 or not (found >= 0).all():
            raise SettingsError(
                "Counts are 0 or greater, over two bins at least",
                observed=f"{found.tolist()}",
                remedy="count rows over the bins of the reference profile",
            )
        return found


def bin_sets(bins: int, *, ordered: bool) -> np.ndarray:
    """Return which bins each set has [sets, bins]: each bin, and where they are ordered all bins up to each.

    Of two bins there is one set, as either says all.

    >>> bin_sets(3, ordered=True).astype(int).tolist()
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]
    """
    each = np.eye(bins)[: bins - (bins == 2)]
    return np.concatenate([each, np.tri(bins)[1:-1]]) if ordered else each


def set_evidence(live: np.ndarray, reference: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """Return log e-values [..., sets, shifts] for many windows at once.

    Args:
        live, reference: counts [..., bins].
        sets: which bins each set has [sets, bins], from `bin_sets`.
    """
    inside = (live @ sets.T)[..., None]
    both = ((live + reference) @ sets.T)[..., None]
    rows = live.sum(axis=-1)[..., None, None]
    everything = np.maximum((live + reference).sum(axis=-1)[..., None, None], 1)
    chosen, share = both / everything, rows / everything
    up, down = np.expm1(SHIFTS), np.expm1(-SHIFTS)
    bound = rows * np.log1p(chosen * up)
    bound = np.minimum(bound, both * SHIFTS + (everything - rows) * np.log1p(chosen * down))
    bound = np.minimum(bound, both * np.log1p(share * up))
    bound = np.minimum(bound, rows * SHIFTS + (everything - both) * np.log1p(share * down))
    return np.asarray(inside * SHIFTS - bound)


def e_bh(log_e: Any, alpha: float) -> np.ndarray:
    """Return which of many columns to name [columns], so that a share of at most alpha of them is expected to be false.

    This is the e-BH procedure of Wang & Ramdas, False discovery rate control with e-values (JRSS B, 2022). It holds
    however the columns depend on each other and, for evidence that holds at any time, at any time.

    An e-value of 30 would do for a single column at 5%. Among four columns it does not; one of 1,000 does.

    >>> import numpy as np
    >>> e_bh(np.log([1000, 30, 1, 0.5]), alpha=0.05).tolist()
    [True, False, False, False]

    Args:
        log_e: log evidence of each column [columns].

    Raises:
        SettingsError: alpha is no share.
    """
    require_share("alpha", alpha)
    logs = np.asarray(log_e, dtype=np.float64)
    ranked = np.sort(logs)[::-1] + np.log(np.arange(1, len(logs) + 1) / max(len(logs), 1))
    passing = np.flatnonzero(ranked >= -np.log(alpha))
    if not len(passing):
        return np.zeros(len(logs), dtype=bool)
    return np.asarray(logs >= np.sort(logs)[::-1][passing[-1]])
