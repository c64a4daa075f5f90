"""Evidence that live counts over bins come from another distribution than the reference's, itself only a sample.

Under the null hypothesis live and reference rows are draws of one distribution. Given how many of both together
fell into a set of bins, how many of those are live is then hypergeometric, whatever the distribution was: nothing
about it has to be known, and a reference of a few hundred rows is as good a one as a million, only less telling.

Assumes: rows are independent of each other, and each hour's mix is that of the reference's.
Void: where rows come in clusters (a storm is not a thousand independent flights: count clusters, or weigh whole
days); where the mix depends on hour and weekday (give one row of counts for each of them, as `strata`).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidemill.errors import SettingsError
from tidemill.steward.evidence.limits import NOTHING, log_mean, plain, require_positive, require_share

_SIZES = 0.05 * 2.0 ** np.arange(6)
SHIFTS = np.concatenate([-_SIZES, _SIZES])
"""Log odds ratios of the alternatives, over which evidence is averaged: odds 5% higher up to five times as high."""


@dataclass(kw_only=True, slots=True)
class HistogramEvidence:
    """Evidence of one column, over as many looks as one likes, at any live window.

    A look's e-value is the mean, over sets of bins and odds ratios ψ, of ψ^x / E[ψ^X]: x live rows in the set, X
    hypergeometric. Its generating function is bounded by the least of four binomial ones (Hoeffding, Probability
    inequalities for sums of bounded random variables, 1963, theorem 4). Sets are each bin and, where bins are
    ordered, all bins up to each: a shift of location and a spike both show, and which set did.

    Looks share rows of the reference, often live rows too, so that their e-values may depend on each other in any
    way: look j weighs half / ((j − 1 + half)(j + half)). These sum to 1, so the running sum of weighted e-values
    is one e-value for all looks together: P(it ever reaches 1 / alpha) ≤ alpha (Vovk & Wang, Annals of Statistics
    2021). It never falls: after a drift was dealt with, or the reference was renewed, begin anew.

    Attributes:
        reference: counts [bins], or [strata, bins], as the profile has them (missing is a bin).
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

    def look(self, live: Any) -> np.ndarray:
        """Log evidence of this window alone, of every set of bins [sets]; it is added to the running sum.

        Raises:
            SettingsError: the counts do not have the reference's bins or are negative.
        """
        counts = self._counts(live)
        if counts.shape != self.reference.shape:
            raise SettingsError(
                "Live counts have the reference's bins and strata",
                observed=f"{counts.shape} and {self.reference.shape}",
                remedy="count over the bins of the reference profile",
            )
        sets = bin_sets(counts.shape[-1], ordered=self.ordered)
        found = log_mean(set_evidence(counts, self.reference, sets))
        self.looks += 1
        weight = self.half / ((self.looks - 1 + self.half) * (self.looks + self.half))
        self.log_e = float(np.logaddexp(self.log_e, np.log(weight) + log_mean(found)))
        return found

    def distance(self, live: Any) -> float:
        """Effect: the share of rows that would have to move (total variation), averaged over strata by live rows."""
        counts = self._counts(live)
        shares, expected = (part / np.maximum(part.sum(axis=-1, keepdims=True), 1) for part in (counts, self.reference))
        apart = np.abs(shares - expected).sum(axis=-1) / 2
        return float((apart * counts.sum(axis=-1)).sum() / max(counts.sum(), 1))

    def state(self) -> dict[str, Any]:
        """What makes it again: `HistogramEvidence(**state)`."""
        return plain(self)

    def _counts(self, counts: Any) -> np.ndarray:
        found = np.atleast_2d(np.asarray(counts, dtype=np.float64))
        if found.shape[-1] < 2 or not (found >= 0).all():
            raise SettingsError(
                "Counts are 0 or greater, over two bins at least",
                observed=f"{found.tolist()}",
                remedy="count rows over the bins of the reference profile",
            )
        return found


def bin_sets(bins: int, *, ordered: bool) -> np.ndarray:
    """Which bins each set has [sets, bins]. Of two bins, either says all."""
    each = np.eye(bins)[: bins - (bins == 2)]
    return np.concatenate([each, np.tri(bins)[1:-1]]) if ordered else each


def set_evidence(live: np.ndarray, reference: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """Log e-values [..., sets, shifts] of counts [..., strata, bins], for many windows at once.

    Strata are independent given their margins, so their logs add up.
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
    return np.asarray((inside * SHIFTS - bound).sum(axis=-3))


def e_bh(log_e: Any, alpha: float) -> np.ndarray:
    """Which of many columns to name [columns], so that at most a share alpha of those named is expected to be false.

    Wang & Ramdas, False discovery rate control with e-values (JRSS B, 2022): holds however columns depend on each
    other, and at any time for evidence that holds at any time.

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
