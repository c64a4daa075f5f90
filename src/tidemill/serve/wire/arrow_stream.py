"""Looks through an Arrow IPC stream before anything decodes it, so that what it claims to hold can be believed.

A few bytes of a stream can stand for gigabytes (compressed buffers, lengths without data) or for types nested
without end, which end a decoder's process and not just its call. So only flat columns of known types pass,
and every length is held against the bytes that are there.

Format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format, Message.fbs and Schema.fbs of the same
project; https://flatbuffers.dev/internals for how tables lie in the bytes.
"""

import operator
import struct
from dataclasses import dataclass
from functools import lru_cache

_MARK = 0xFFFFFFFF  # begins every message
_SCHEMA, _DICTIONARY, _RECORDS = 1, 2, 3  # kinds of message
_TEXT, _DECIMAL, _TIMESTAMP, _LARGE_TEXT, _TEXT_VIEW = 5, 7, 10, 20, 24
_TEXTS = {_TEXT, _LARGE_TEXT, _TEXT_VIEW}
TYPES = {
    1: "null", 2: "int", 3: "float", 4: "binary", _TEXT: "text", 6: "bool", _DECIMAL: "decimal", 8: "date", 9: "time",
    _TIMESTAMP: "timestamp", 11: "interval", 12: "list", 13: "struct", 14: "union", 15: "fixed-size binary",
    16: "fixed-size list", 17: "map", 18: "duration", 19: "binary", _LARGE_TEXT: "text", 21: "list",
    22: "run-end encoded", 23: "binary", _TEXT_VIEW: "text",
}  # fmt: skip
_READ = {1, 2, 3, 6, _DECIMAL, 8, 9, _TIMESTAMP, 18, *_TEXTS}
_MESSAGES = 1024
"""Batches of a stream; each costs time, however few rows it has."""
_LONG = struct.Struct("<q")
_UINT = struct.Struct("<I")
_INT32 = struct.Struct("<i")
_USHORT = struct.Struct("<H")
_PREFIX = struct.Struct("<II")


class Malformed(Exception):  # noqa: N818 — becomes a RequestError where the rule is known
    """The bytes are not such a stream; says why."""


class Refused(Exception):  # noqa: N818
    """It is such a stream, with a column of a type that no model takes; says which."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What a stream holds.

    size: bytes of its buffers once decompressed; a dictionary counts for each column and batch that reads it.
    shared: whether texts may share bytes, so that together they can be longer than `size`.
    zones: where the names of time zones lie.
    """

    rows: int
    size: int
    shared: bool
    zones: tuple[int, ...]


def outline(body: bytes) -> Outline:
    """Look through all messages of a stream.

    Raises:
        Malformed: it is cut short, contradicts itself, or is none.
        Refused: a column is nested or of a type without use here.
    """
    try:
        return _outline(body)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise Malformed("its metadata point outside of it") from error


def _outline(body: bytes) -> Outline:
    view = memoryview(body)
    place, rows, size, fields, shared, messages = 0, 0, 0, -1, False, 0
    zones: tuple[int, ...] = ()
    encoded: tuple[int, ...] = ()
    dictionaries: dict[int, int] = {}
    while place < len(body):
        messages += 1
        if messages > _MESSAGES + max(fields, 0):
            raise Malformed(f"it has more than {_MESSAGES} batches")
        mark, length = _PREFIX.unpack_from(body, place)
        if mark != _MARK:
            raise Malformed(f"no message begins at byte {place}")
        if length == 0:  # the end
            break
        place += 8
        begin = place + length
        if begin > len(body):
            raise Malformed(f"a message at byte {place} is cut short")
        metadata = body[place:begin]
        kind, header, length = _message(metadata)
        place = begin + length
        if length < 0 or place > len(body):
            raise Malformed(f"the data of a message at byte {begin} are cut short")
        if kind == _SCHEMA and fields < 0:
            fields, shared, inside, encoded = _schema(metadata)
            zones = tuple(begin - len(metadata) + zone for zone in inside)
        elif kind == _RECORDS and fields >= 0:
            count, bytes_ = _batch(metadata, header, view[begin:place], fields)
            rows, size = rows + count, size + bytes_ + sum(dictionaries.get(number, 0) for number in encoded)
        elif kind == _DICTIONARY and fields >= 0:
            count, bytes_ = _batch(metadata, _table(metadata, header, 1), view[begin:place], 1)
            if count > len(body):
                raise Malformed("a dictionary has more entries than the stream has bytes")
            number = _slot(metadata, header, 0)
            dictionaries[_LONG.unpack_from(metadata, number)[0] if number else 0] = bytes_
            size += bytes_
        else:
            raise Malformed(f"a message of the kind {kind} is out of place")
    if fields < 0:
        raise Malformed("it has no schema")
    return Outline(rows, size, shared, zones)


@dataclass(frozen=True, slots=True)
class Places:
    """A stream of one batch: its schema message, its batch's message without the data, and where lengths stand in that.

    body: of the length of the data; rows: of theirs; nodes, buffers: of the lists of columns and buffers.
    counts: of columns and of buffers.
    """

    schema: bytes
    batch: bytes
    body: int
    rows: int
    nodes: int
    buffers: int
    counts: tuple[int, int]


def places(stream: bytes) -> Places:
    """Where lengths stand in a stream of one batch that is known to be right."""
    second = 8 + _PREFIX.unpack_from(stream)[1]
    metadata = stream[second + 8 : second + 8 + _PREFIX.unpack_from(stream, second)[1]]
    root = _UINT.unpack_from(metadata)[0]
    header = _table(metadata, root, 2)
    nodes, buffers = _vector(metadata, header, 1, 16), _vector(metadata, header, 2, 16)
    return Places(
        schema=stream[:second],
        batch=stream[second : second + 8] + metadata,
        body=8 + _slot(metadata, root, 3),
        rows=8 + _slot(metadata, header, 0),
        nodes=8 + nodes.start,
        buffers=8 + buffers.start,
        counts=(len(nodes), len(buffers)),
    )


def _message(metadata: bytes) -> tuple[int, int, int]:
    """Kind, place of the header, and length of the data that follow."""
    root = _UINT.unpack_from(metadata)[0]
    kind, length = _slot(metadata, root, 1), _slot(metadata, root, 3)
    header = _table(metadata, root, 2)
    return metadata[kind] if kind else 0, header, _LONG.unpack_from(metadata, length)[0] if length else 0


@lru_cache(maxsize=32)  # a client sends the same schema with every request
def _schema(metadata: bytes) -> tuple[int, bool, tuple[int, ...], tuple[int, ...]]:
    """How many columns there are, whether their texts may share bytes, where names of time zones lie, and for each
    column that is encoded by a dictionary, the number of that."""
    schema = _table(metadata, _UINT.unpack_from(metadata)[0], 2)
    endianness = _slot(metadata, schema, 0)
    if endianness and metadata[endianness]:
        raise Malformed("its numbers are big-endian")
    names = set()
    shared, zones, dictionaries = False, [], []
    places = _vector(metadata, schema, 1)
    for place in places:
        field = place + _UINT.unpack_from(metadata, place)[0]
        name, kind = _name(metadata, field), _kind(metadata, field)
        if name in names:
            raise Malformed(f"two columns are called {name[:60]!r}")
        names.add(name)
        encoded = bool(_slot(metadata, field, 4))  # by a dictionary
        if encoded:
            number = _slot(metadata, _table(metadata, field, 4), 0)
            dictionaries.append(_LONG.unpack_from(metadata, number)[0] if number else 0)
        if kind not in _READ or len(_vector(metadata, field, 5)) or (encoded and kind not in _TEXTS):
            observed = "dictionary of " * encoded + TYPES.get(kind, "an unknown type")
            raise Refused(f"column {name[:60]!r}: {observed}")
        shared = shared or encoded or kind == _TEXT_VIEW
        type_ = _table(metadata, field, 3)
        if kind == _DECIMAL and (_int(metadata, type_, 2, 128) > 128 or _int(metadata, type_, 1, 0) < 0):
            raise Refused(f"column {name[:60]!r}: decimal of more than 128 bits, or of a negative scale")
        if kind == _TIMESTAMP and _slot(metadata, type_, 1):
            zones.append(_table(metadata, type_, 1))
    return len(places), shared, tuple(zones), tuple(dictionaries)


def _kind(metadata: bytes, field: int) -> int:
    place = _slot(metadata, field, 2)
    return metadata[place] if place else 0


def _name(metadata: bytes, field: int) -> str:
    if not _slot(metadata, field, 0):
        return ""
    place = _table(metadata, field, 0)
    length = _UINT.unpack_from(metadata, place)[0]
    return metadata[place + 4 : place + 4 + length].decode()


def _batch(metadata: bytes, batch: int, data: memoryview, fields: int) -> tuple[int, int]:
    """Rows of a batch, and bytes of its buffers once decompressed."""
    length = _slot(metadata, batch, 0)
    rows: int = _LONG.unpack_from(metadata, length)[0] if length else 0
    nodes = _longs(metadata, batch, 1)
    nulls = nodes[1::2]
    if len(nulls) != fields or rows < 0 or (nodes and ({*nodes[::2]} != {rows} or min(nulls) < 0 or max(nulls) > rows)):
        raise Malformed("the lengths of its columns differ")
    buffers = _longs(metadata, batch, 2)
    places, sizes = buffers[::2], buffers[1::2]
    if buffers and (min(buffers) < 0 or max(map(operator.add, places, sizes)) > len(data)):
        raise Malformed("its buffers lie outside of its data")
    if not _slot(metadata, batch, 3):
        return rows, sum(sizes)
    size = 0
    for place, stored in zip(places, sizes, strict=True):
        claim = _LONG.unpack_from(data, place)[0] if stored else 0
        if claim < -1:
            raise Malformed("a compressed buffer has no length")
        size += stored if claim == -1 else claim
    return rows, size


def _slot(metadata: bytes, table: int, number: int) -> int:
    """Where a table's field lies; 0 where it is left out."""
    vtable = table - _INT32.unpack_from(metadata, table)[0]
    if vtable < 0:
        raise IndexError
    if 4 + 2 * number >= _USHORT.unpack_from(metadata, vtable)[0]:
        return 0
    place: int = _USHORT.unpack_from(metadata, vtable + 4 + 2 * number)[0]
    return table + place if place else 0


def _int(metadata: bytes, table: int, number: int, default: int) -> int:
    place = _slot(metadata, table, number)
    found: int = _INT32.unpack_from(metadata, place)[0] if place else default
    return found


def _table(metadata: bytes, table: int, number: int) -> int:
    place = _slot(metadata, table, number)
    if not place:
        raise IndexError
    return place + int(_UINT.unpack_from(metadata, place)[0])


def _vector(metadata: bytes, table: int, number: int, width: int = 4) -> range:
    """Places of a vector's elements."""
    place = _slot(metadata, table, number)
    if not place:
        return range(0)
    place += _UINT.unpack_from(metadata, place)[0]
    count = _UINT.unpack_from(metadata, place)[0]
    if place + 4 + count * width > len(metadata):
        raise IndexError
    return range(place + 4, place + 4 + count * width, width)


def _longs(metadata: bytes, table: int, number: int) -> tuple[int, ...]:
    """A vector of pairs of int64, flat."""
    places = _vector(metadata, table, number, 16)
    return struct.unpack_from(f"<{2 * len(places)}q", metadata, places.start)
