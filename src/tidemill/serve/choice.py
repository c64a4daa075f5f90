"""Who answers a record while a canary runs: a hash of the record's key decides, so the same key meets the same version.

Nothing is remembered and nothing is drawn: all replicas choose alike, today and tomorrow. A key that the canary
answers at one share it answers at every greater one.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

_BYTES = 8


def assign(keys: Sequence[str], model: str, share: float) -> np.ndarray:
    """Which records the challenger answers. Shape [keys], bool.

    The first 8 bytes of BLAKE2b (RFC 7693) of "model:key" are a uniform number in [0, 1); below `share` it is the
    challenger's. So `share` is each record's propensity where True, and 1 - `share` where False.
    """
    begun, limit = _begun(model), _limit(share)
    chosen = []
    for key in keys:
        state = begun()
        state.update(key.encode("utf-8", "surrogatepass"))
        chosen.append(state.digest() < limit)
    return np.array(chosen, dtype=bool)


@functools.lru_cache(64)
def _begun(model: str) -> "Callable[[], hashlib.blake2b]":
    """Copies of the hash with the model already in it: half the cost of a new one."""
    return hashlib.blake2b(f"{model}:".encode(), digest_size=_BYTES).copy


def _limit(share: float) -> bytes:
    """Bytes that compare as the numbers do; all digests are below that of 1."""
    return int(share * 2 ** (8 * _BYTES)).to_bytes(_BYTES, "big") if share < 1 else b"\xff" * (_BYTES + 1)
