"""Tensors of the Open Inference Protocol: datatypes, and their values as JSON, as binary data and as arrays.

Binary data is little-endian, row-major, without padding; a BYTES element is its length (4 bytes, unsigned) and then the
bytes; BOOL is one byte, 0 or 1. Source: Triton's binary tensor data extension.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from tidemill.data.scalars import EXACT
from tidemill.errors import RequestError
from tidemill.serve.wire.refusals import refused

DTYPES = {
    "BOOL": np.dtype("?"),
    **{f"INT{size}": np.dtype(f"<i{size // 8}") for size in (8, 16, 32, 64)},
    **{f"UINT{size}": np.dtype(f"<u{size // 8}") for size in (8, 16, 32, 64)},
    **{f"FP{size}": np.dtype(f"<f{size // 8}") for size in (16, 32, 64)},
    "BYTES": np.dtype("O"),
}
"""Datatype → NumPy's. BYTES are UTF-8 texts here; BF16 is not taken."""

_LENGTH = struct.Struct("<I")
_INTEGERS = {name: np.iinfo(dtype) for name, dtype in DTYPES.items() if dtype.kind in "iu"}
_NONE = type(None)
_KINDS: dict[str, set[type]] = {
    "b": {bool, _NONE},
    "i": {int, _NONE},
    "u": {int, _NONE},
    "f": {float, int, _NONE},
    "O": {str, _NONE},
}


def from_binary(datatype: str, data: bytes | memoryview, count: int, name: str) -> np.ndarray:
    """`count` elements; texts as an object array of str. The array is a copy of its own.

    Raises:
        RequestError: 400, the data are not `count` elements; 422, a BYTES element is not UTF-8, a BOOL neither 0 nor 1.
    """
    if datatype == "BYTES":
        return _texts(bytes(data), count, name)
    dtype = DTYPES[datatype]
    if len(data) != count * dtype.itemsize:
        rule = f"{count} elements of {datatype} are {count * dtype.itemsize} bytes"
        raise refused(400, rule, f"input {name!r}: {len(data)} bytes", "send as many elements as the shape says")
    if datatype == "BOOL":
        flags = np.frombuffer(data, np.uint8)
        if flags.size and flags.max() > 1:
            row = int((flags > 1).argmax())
            raise _value(name, row, "BOOL", f"the byte {flags[row]}", "send 0 or 1")
        return flags.astype(np.bool_)
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))


def to_binary(values: np.ndarray, datatype: str) -> bytes:
    if datatype != "BYTES":
        return values.astype(DTYPES[datatype], copy=False).tobytes()
    parts: list[bytes] = []
    for text in values.tolist():
        encoded = text.encode()
        parts += (_LENGTH.pack(len(encoded)), encoded)
    return b"".join(parts)


def from_json(datatype: str, values: list[Any], name: str) -> np.ndarray | list[Any]:
    """An array, or the list itself where null is among the values.

    Raises:
        RequestError: 422, a value is not of the datatype or out of its range.
    """
    dtype = DTYPES[datatype]
    kinds = set(map(type, values))
    allowed = _KINDS[dtype.kind]
    if not kinds <= allowed:
        row = next(row for row, value in enumerate(values) if type(value) not in allowed)
        raise _value(name, row, datatype, _shown(values[row]), f"send values of {datatype}, or null")
    if int in kinds:
        _in_range(datatype, values, name)
    if datatype in ("FP16", "FP32"):
        values = _rounded(dtype, values, name)
    if _NONE in kinds:
        return values
    if datatype == "BYTES":
        return texts_array(values)
    return np.array(values, dtype.newbyteorder("="))


def texts_array(values: Sequence[str]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _texts(data: bytes, count: int, name: str) -> np.ndarray:
    found: list[str] = []
    at, end = 0, len(data)
    for row in range(count):
        begin = at + 4
        if begin > end:
            raise _frame(name, row, f"{end - at} bytes are left where 4 give the length")
        at = begin + _LENGTH.unpack_from(data, at)[0]
        if at > end:
            raise _frame(name, row, f"the length is {at - begin} where {end - begin} bytes are left")
        try:
            found.append(data[begin:at].decode())
        except UnicodeDecodeError as error:
            raise _value(name, row, "BYTES", f"byte {error.start} is not UTF-8", "send text in UTF-8") from error
    if at != end:
        raise _frame(name, count - 1, f"{end - at} bytes follow it")
    return texts_array(found)


def _in_range(datatype: str, values: list[Any], name: str) -> None:
    """Whole numbers in JSON have no bounds of their own."""
    info = _INTEGERS.get(datatype)
    low, high = (int(info.min), int(info.max)) if info else (-EXACT, EXACT)
    for row, value in enumerate(values):
        if type(value) is int and not low <= value <= high:
            remedy = "use a wider datatype" if info else "send it as a float, with a point or an exponent"
            raise _value(name, row, datatype, f"{_shown(value)}, out of {low} … {high}", remedy)


def _rounded(dtype: np.dtype[Any], values: list[Any], name: str) -> list[Any]:
    """What a client that sends binary data would have sent: the same answer whichever way a number came."""
    with np.errstate(over="ignore"):
        found = np.array([np.nan if value is None else value for value in values], np.float64)
        rounded = found.astype(dtype).astype(np.float64)
    beyond = np.isinf(rounded) & np.isfinite(found)
    if beyond.any():
        row = int(beyond.argmax())
        raise _value(name, row, f"FP{dtype.itemsize * 8}", _shown(values[row]), "use FP64")
    return [None if value is None else number for value, number in zip(values, rounded.tolist(), strict=True)]


def _frame(name: str, row: int, observed: str) -> RequestError:
    rule = "Each BYTES element is its length in 4 bytes, little-endian, and then the bytes"
    return refused(
        400, rule, f"input {name!r}, row {row}: {observed}", "make the lengths agree with the data and the shape"
    )


def _value(name: str, row: int, datatype: str, observed: str, remedy: str) -> RequestError:
    return refused(422, f"The values are of the datatype {datatype}", f"input {name!r}, row {row}: {observed}", remedy)


def _shown(value: object) -> str:
    """Never the whole of it: a list may nest deeply, a number have thousands of digits."""
    if type(value) is int and abs(value) >= 2**64:
        return "a number of more than 64 bits"
    text = repr(value) if isinstance(value, int | float | str) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
