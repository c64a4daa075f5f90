"""Who answers a record while a canary runs: a hash of the record's key decides, so the same key meets the same version.

Nothing is remembered and nothing is drawn: all replicas choose alike, today and tomorrow. A key that the canary
answers at one share it answers at every greater one.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

_SPACE = 2**64


def assign(keys: Sequence[str], model: str, share: float) -> np.ndarray:
    """Which records the challenger answers. Shape [keys], bool.

    The first 8 bytes of BLAKE2b (RFC 7693) of "model:key" are a uniform number in [0, 1); below `share` it is the
    challenger's. So `share` is each record's propensity where True, and 1 - `share` where False.
    """
    limit = _limit(share)
    if len(keys) == 1:
        return np.array([_number(keys[0], _begun(model)) < limit])
    begun = _begun(model)
    return np.array([_number(key, begun) < limit for key in keys], dtype=bool)


def _begun(model: str) -> "hashlib.blake2b":
    return hashlib.blake2b(f"{model}:".encode(), digest_size=8)


def _number(key: str, begun: "hashlib.blake2b") -> int:
    state = begun.copy()
    state.update(key.encode("utf-8", "surrogatepass"))
    return int.from_bytes(state.digest(), "big")


def _limit(share: float) -> int:
    return int(share * _SPACE)
