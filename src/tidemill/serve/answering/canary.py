"""Who answers a record while a canary runs: a hash of the record's key decides, so the same key meets the same version.

Nothing is remembered and nothing is drawn: all replicas choose alike, today and tomorrow. The hash is keyed with a
secret of the registry's, so that no client can look for keys that go where it wants them to. Each stage of each
challenger has a hash of its own: what a key did at one share says nothing of where it is sent at the next, so that
evidence of stages may be multiplied although keys return (steward/trial/tosses.py).
"""

import functools
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

_BYTES = 8


def assign(
    keys: Sequence[str], model: str, challenger: str, share: float, secret: bytes = b""
) -> tuple[np.ndarray, tuple[bytes, ...]]:
    """Which records the challenger answers, [keys] bool, and each key's toss.

    8 bytes of BLAKE2b (RFC 7693), keyed with `secret`, of "model:challenger:share:key" are its toss: a uniform number
    in [0, 1). Where it is below `share`, the challenger answers. So `share` is a record's propensity where True, and
    1 - `share` where False.

    Args:
        challenger: its version. share: written as short as it can be read back, like 0.1.
        secret: at most 64 bytes, the same for all replicas; without one anybody can compute where a key goes.
    """
    begun, limit = _begun(f"{model}:{challenger}:{share!r}:", secret), _limit(share)
    tosses = []
    for key in keys:
        state = begun()
        state.update(key.encode("utf-8", "surrogatepass"))
        tosses.append(state.digest())
    return np.array([toss < limit for toss in tosses], dtype=bool), tuple(tosses)


@functools.lru_cache(64)
def _begun(stage: str, secret: bytes) -> "Callable[[], hashlib.blake2b]":
    """Copies of the hash with the stage already in it: half the cost of a new one."""
    return hashlib.blake2b(stage.encode(), digest_size=_BYTES, key=secret).copy


def _limit(share: float) -> bytes:
    """Bytes that compare as the numbers do; all digests are below that of 1."""
    return int(share * 2 ** (8 * _BYTES)).to_bytes(_BYTES, "big") if share < 1 else b"\xff" * (_BYTES + 1)
