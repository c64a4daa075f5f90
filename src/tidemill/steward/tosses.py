"""Tosses of a canary stage: which records chance sent to one of two models, and which of them are independent.

A hash of its key sends a record (serve/choice.py), so a key that comes again is no new toss: whatever is peculiar to it
would speak for or against the same model each time. So it counts once in a stage, when it comes first.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from tidemill.ledger.record import Role
from tidemill.steward.sampling import packed, unpacked

_NEAR = 1e-9


def tossed(rows: pl.DataFrame, share: float) -> pl.DataFrame:
    """The rows that were sent by a toss of this share: none that were pinned, or sent before replicas took it up."""
    canary = pl.col("role") == Role.CANARY.value
    chance = pl.when(canary).then(pl.col("propensity")).otherwise(1 - pl.col("propensity"))
    return rows.filter((chance - share).abs() < _NEAR)


def keys_of(rows: pl.DataFrame, key: str | None) -> pl.Series:
    """What the hash was of: the value of the schema's key column, or the record's own id."""
    fields = rows.schema["inputs"]
    if key is None or not isinstance(fields, pl.Struct) or key not in fields.to_schema():
        return rows["id"]
    return rows.select(pl.coalesce(pl.col("inputs").struct.field(key).cast(pl.String), "id")).to_series()


def _none() -> np.ndarray:
    return np.zeros(0, dtype=np.uint64)


@dataclass(kw_only=True, slots=True)
class Seen:
    """The keys that were counted in a stage, as 8 bytes of their hash (BLAKE2b, RFC 7693), in order."""

    hashes: np.ndarray = field(default_factory=_none)

    def first(self, keys: pl.Series) -> np.ndarray:
        """Which of these keys, all different, come for the first time [keys]; from now on they are seen."""
        digests = b"".join(hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)
        hashes = np.frombuffer(digests, dtype="<u8")
        new = ~np.isin(hashes, self.hashes)
        self.hashes = np.union1d(self.hashes, hashes[new])
        return np.asarray(new)

    def state(self) -> list[Any]:
        """As JSON holds it: `restored(state)`."""
        return packed(self.hashes)


def restored(state: Any) -> Seen:
    """What `state` was taken of."""
    return Seen(hashes=unpacked(state))
