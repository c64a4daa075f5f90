"""The bytes of one entry in a write-ahead segment: a checked frame of a MessagePack header and the inputs as they came.

    magic 4 | body's length u32 | header's length u32 | CRC-32 u32 | header | inputs        (little-endian)

The CRC-32 (zlib's) covers header and inputs and starts from the header's length. The magic holds a byte that no UTF-8
text has, so that the search for the next frame behind a damaged one cannot be led astray by what clients sent.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from tidemill.ledger.record import Answered, Described, Form, Label, Role

Entry = Answered | Label | Described

MAGIC = b"TM\xf5\x01"
_PREFIX = struct.Struct("<4sIII")
_ANSWERED, _LABEL, _DESCRIBED = 1, 2, 3
_ROLES = {role.value: role for role in Role}
_FORMS = {form.value: form for form in Form}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


@dataclass(slots=True)
class Damage:
    """What of a segment could not be read.

    Args:
        gaps: unreadable places with readable frames behind them, or whole frames whose checksum is wrong.
        skipped: bytes in these gaps.
        torn: bytes of an unfinished frame at the end: a write that was cut off, and so never acknowledged.
    """

    gaps: int = 0
    skipped: int = 0
    torn: int = 0


def answered(entry: Answered) -> bytes:
    arrays = [
        (name, array.dtype.char, array.shape, array.tobytes())
        if array.dtype.kind in "fiub"
        else (name, "O", array.shape, array.tolist())
        for name, array in entry.answers.items()
    ]
    header = (
        _ANSWERED,
        entry.id,
        entry.at,
        entry.version,
        entry.role,
        entry.propensity,
        entry.latency,
        entry.form,
        entry.rows,
        arrays,
        *_given(entry.tosses, entry.client),
    )
    return _framed(_encode(header), entry.inputs)


def packed(raw: Mapping[str, Any]) -> bytes:
    """Rows as an entry's inputs have those that did not come as JSON: see `Form.COLUMNS`."""
    return _encode({name: _plain(values) for name, values in raw.items()})


def _plain(values: Any) -> Any:
    """Numbers and times as the bytes of their array, which costs nothing; texts one by one."""
    if not isinstance(values, np.ndarray):
        return values
    return values.tolist() if values.dtype == object else values.tobytes()


def label(entry: Label) -> bytes:
    more = _given(entry.key, entry.client)
    return _framed(_encode((_LABEL, entry.id, entry.label, entry.at, entry.event_at, *more)))


def _given(first: Any, second: Any) -> tuple[Any, ...]:
    """The last two fields of an entry, which are left out where there is nothing in them."""
    if second is not None:
        return first, second
    return () if first is None else (first,)


def described(entry: Described) -> bytes:
    return _framed(_encode((_DESCRIBED, entry.version, entry.schema, entry.objective, entry.classes)))


def _framed(header: bytes, inputs: bytes = b"") -> bytes:
    size = len(header)
    crc = zlib.crc32(inputs, zlib.crc32(header, size))
    return b"".join((_PREFIX.pack(MAGIC, size + len(inputs), size, crc), header, inputs))


def entries(content: bytes, damage: Damage) -> Iterator[Entry]:
    """Every readable entry of a segment, in order; what is not readable is counted in `damage`."""
    position, end = 0, len(content)
    while position < end:
        found = _at(content, position)
        if found is not None:
            entry, position = found
            yield entry
            continue
        following = _next(content, position)
        if following is None and not _complete(content, position):
            damage.torn += end - position
            return
        damage.gaps += 1
        damage.skipped += (following or end) - position
        position = following or end


def _at(content: bytes, position: int) -> tuple[Entry, int] | None:
    """The entry of the frame that begins here, and where the next one begins."""
    begin = position + _PREFIX.size
    if begin > len(content):
        return None
    magic, length, size, crc = _PREFIX.unpack_from(content, position)
    split, end = begin + size, begin + length
    if magic != MAGIC or end > len(content) or split > end:
        return None
    header, inputs = content[begin:split], content[split:end]
    if zlib.crc32(inputs, zlib.crc32(header, size)) != crc:
        return None
    return _entry(_decode(header), inputs), end


def _next(content: bytes, position: int) -> int | None:
    """Where the next readable frame begins."""
    while (position := content.find(MAGIC, position + 1)) >= 0:
        if _at(content, position) is not None:
            return position
    return None


def _complete(content: bytes, position: int) -> bool:
    """Whether a whole frame ends the segment here, though its checksum is wrong."""
    if position + _PREFIX.size > len(content):
        return False
    magic, length, _, _ = _PREFIX.unpack_from(content, position)
    return bool(magic == MAGIC and position + _PREFIX.size + length <= len(content))


def _entry(header: list[Any], inputs: bytes) -> Entry:
    tag = header[0]
    if tag == _ANSWERED:
        _, id, at, version, role, propensity, latency, form, rows, arrays, *more = header
        answers = {name: _array(char, shape, values) for name, char, shape, values in arrays}
        which = None if rows is None else tuple(rows)
        tosses = tuple(more[0]) if more and more[0] is not None else None
        client = more[1] if len(more) > 1 else None
        return Answered(
            id, at, version, _ROLES[role], propensity, latency, _FORMS[form], inputs, which, answers, tosses, client
        )
    if tag == _LABEL:
        return Label(*header[1:])
    _, version, schema, objective, classes = header
    return Described(version, schema, objective, tuple(classes))


def _array(char: str, shape: list[int], values: Any) -> np.ndarray:
    if char == "O":
        array = np.empty(shape, np.object_)
        array[:] = values
        return array
    array = np.frombuffer(values, char)
    return array if len(shape) == 1 else array.reshape(shape)
