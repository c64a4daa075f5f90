"""What a bundle's graph may be: one self-contained file of standard operators.

Both sides go by it: the export refuses to make anything else, the predictor to load it. The file's bytes are walked
along protobuf's wire format instead of being parsed: a parser copies every weight and holds the interpreter for as long
(seen: 0.3 s for 128 MiB, in which a replica answers nobody), while a walk passes over what holds no message.
"""

from collections.abc import Iterator
from functools import cache
from mmap import mmap
from typing import Any

import onnx

from tidemill.errors import BundleError, listed

STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
"""Protobuf's wire types that ONNX uses: https://protobuf.dev/programming-guides/encoding."""
_LONGEST = 64  # bits of a number

Content = bytes | mmap
Value = int | bytes
Message = tuple[str, dict[str, list[Value]]]
"""Its type, and of its fields those that are looked at: what stands in the file, however often."""
_LOOKED_AT = {"NodeProto": ("domain",), "TensorProto": ("name", "data_location", "external_data")}


def check(content: Content) -> None:
    """Pass a graph that needs nothing but this file and a standard ONNX runtime.

    Args:
        content: of model.onnx.

    Raises:
        BundleError: the graph has custom operators, or weights in another file.
        ValueError: it is no protobuf message.
    """
    foreign, outside = set(), []
    for kind, fields in messages(content):
        if kind == "NodeProto":
            foreign |= {_text(domain) for domain in fields.get("domain", ())} - {*STANDARD_DOMAINS}
        elif kind == "TensorProto" and (any(fields.get("data_location", ())) or "external_data" in fields):
            outside.append(_text(fields.get("name", [b""])[-1]))
    if foreign:
        raise BundleError(
            "A model's graph holds standard ONNX operators only",
            observed=f"operators of {listed(sorted(foreign), quoted=True)}",
            remedy="use a model that exports to standard operators; do not load graphs from elsewhere",
        )
    if outside:
        raise BundleError(
            "A model's weights lie in model.onnx itself",
            observed=f"{min(outside)!r} and {len(set(outside)) - 1} more are references to other files",
            remedy="save the graph with its weights inside",
        )


def messages(content: Content) -> Iterator[Message]:
    """Every message in the file: whatever place of it holds a graph or a tensor, and whatever it is declared to be.

    Raises:
        ValueError: a field is cut short or of a wire type that ONNX does not use.
    """
    waiting = [(onnx.ModelProto.DESCRIPTOR, 0, len(content))]
    while waiting:
        kind, at, end = waiting.pop()
        known = _fields(kind)
        found: dict[str, list[Value]] = {}
        while at < end:
            tag, at = _number(content, at)
            wire, value = tag & 7, 0
            start = at
            if wire == _VARINT:
                value, at = _number(content, at)
            elif wire == _BYTES:
                size, start = _number(content, at)
                at = start + size
            elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
                at += 8 if wire == _EIGHT_BYTES else 4
            else:
                raise ValueError(f"wire type {wire} at byte {start}")
            if at > end:
                raise ValueError(f"a field ends at byte {at}, its message at {end}")
            field = known.get(tag >> 3)
            if field is None:
                continue
            name, inner = field
            if inner is not None and wire == _BYTES:
                waiting.append((inner, start, at))
            if name in _LOOKED_AT.get(kind.name, ()):
                found.setdefault(name, []).append(content[start:at] if wire == _BYTES else value)
        yield kind.name, found


@cache
def _fields(kind: Any) -> dict[int, tuple[str, Any]]:
    """By number, the fields that hold messages or are looked at: names, and the messages' descriptors or None."""
    looked_at = _LOOKED_AT.get(kind.name, ())
    chosen = [field for field in kind.fields if field.message_type is not None or field.name in looked_at]
    return {field.number: (field.name, field.message_type) for field in chosen}


def _number(content: Content, at: int) -> tuple[int, int]:
    """The number that begins there, and where the next thing begins."""
    value = shift = 0
    while True:
        if at >= len(content) or shift >= _LONGEST:
            raise ValueError(f"a number that does not end, before byte {at}")
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _text(value: Value) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
