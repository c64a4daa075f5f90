"""What a steward keeps between looks, as plain values that JSON holds, and back: by the types that declare it.

A part that remembers something declares it as a dataclass, once; `plain` and `restored` do the rest. Arrays stay the
same to the last bit, and what is stored is taken only if it has exactly the fields of its type.
"""

import base64
import zlib
from typing import Any, TypeVar

import msgspec
import numpy as np

from tidemill.errors import LedgerError

T = TypeVar("T")
_SHORT = 64
"""Values of an array that are written as numbers, so that people can read them in the book; more are packed."""


def plain(state: Any) -> Any:
    """Return the state as JSON can hold it.

    >>> restored(dict[str, np.ndarray], plain({"rows": np.array([3, 4])}))
    {'rows': array([3, 4])}
    """
    return msgspec.to_builtins(state, enc_hook=_written)


def restored(kind: type[T], stored: Any, *, strict: bool = True) -> T:
    """Return the state that `stored` is the `plain` form of.

    Args:
        strict: False for what earlier releases wrote into the book, which has not all of today's fields.

    Raises:
        LedgerError: it is none of this type.
    """
    try:
        state = msgspec.convert(stored, kind, dec_hook=_read)
        odd = _difference(stored, plain(state), "$") if strict else ""
    except (ValueError, TypeError, zlib.error) as error:
        odd = str(error)
    if odd:
        raise LedgerError(
            "What a steward kept has the form of this release",
            observed=f"{odd} ({getattr(kind, '__name__', kind)})",
            remedy="delete steward/state.json in the model's folder of the ledger: all of it is made again from there",
        )
    return state


def _written(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if value.dtype == np.float64 and value.size <= _SHORT and np.isfinite(value).all():
        return value.tolist()
    return [value.dtype.str, list(value.shape), base64.b64encode(zlib.compress(value.tobytes())).decode()]


def _read(kind: type, value: Any) -> np.ndarray:
    if isinstance(value, list) and value and isinstance(value[0], str):
        dtype, shape, text = value
        return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=dtype).reshape(shape).copy()
    return np.asarray(value, dtype=np.float64)


def _difference(stored: Any, again: Any, place: str) -> str:
    """Where fields are missing or too many, which alone would be filled up or left out; "" where all are the same."""
    if isinstance(stored, dict) and isinstance(again, dict):
        if stored.keys() != again.keys():
            return f"fields {sorted(stored.keys() ^ again.keys())} differ at {place}"
        return next(filter(None, (_difference(stored[name], again[name], f"{place}.{name}") for name in stored)), "")
    if isinstance(stored, list) and isinstance(again, list):
        parts = enumerate(zip(stored, again, strict=True))
        return next(filter(None, (_difference(*pair, f"{place}[{index}]") for index, pair in parts)), "")
    return ""
