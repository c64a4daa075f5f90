"""Tosses of a canary stage: which records chance sent to one of two models, and which of them are independent.

A hash of its key sends a record (serve/answering/canary.py), so a key that comes again is no new toss: whatever is
peculiar to it would speak for or against the same model each time. So it counts once in a stage, when it comes first.
In another stage it is tossed anew, whatever it met before.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from tidemill.ledger.record import Role

_NEAR = 1e-9


def tossed(rows: pl.DataFrame, share: float) -> pl.DataFrame:
    """The rows that were sent by a toss of this share: none that were pinned, or sent before replicas took it up."""
    canary = pl.col("role") == Role.CANARY.value
    chance = pl.when(canary).then(pl.col("propensity")).otherwise(1 - pl.col("propensity"))
    return rows.filter((chance - share).abs() < _NEAR, pl.col("toss").is_not_null())


def _none() -> np.ndarray:
    return np.zeros(0, dtype=np.uint64)


@dataclass(kw_only=True, slots=True)
class Seen:
    """The tosses that were counted in a stage, as the first 8 bytes of their digests, in order."""

    digests: np.ndarray = field(default_factory=_none)

    def first(self, tosses: pl.Series) -> np.ndarray:
        """Which of these, all different, come for the first time [tosses]; from now on they are seen."""
        found = np.array([int(toss[:16], 16) for toss in tosses], dtype=np.uint64)
        new = ~np.isin(found, self.digests)
        self.digests = np.union1d(self.digests, found[new])
        return np.asarray(new)
