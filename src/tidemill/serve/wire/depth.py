"""How deep JSON is nested, seen before it is parsed.

Typed decoders (msgspec with a type and no unknown fields) go no deeper than their type and need no check. A decoder of
any JSON goes as deep as the interpreter's stack, a thousand levels or more by version, and what then walks through the
result (`repr`, comparison) may find less stack than the decoder did: a request that ends in a fault of ours.
"""

import gc
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from tidemill.errors import RequestError

LIMIT = 32

_SHORT = 2**16
"""Bytes: a body up to this holds too few values to matter."""

T = TypeVar("T")

_PLAIN = bytes(set(range(256)) - set(b"[]{}"))
_OTHERS = bytes(set(_PLAIN) - set(b'"'))
_CHUNK = 2**20
_BEGINS = b",[{"
"""A value of JSON stands first in a list or an object, or behind a comma."""
_BUT_BEGINS = bytes(set(range(256)) - set(_BEGINS + b'"'))
_STEPS = np.zeros(256, np.int8)
_STEPS[[*b"[{"]] = 1
_STEPS[[*b"]}"]] = -1


def parsed(body: bytes, parse: Callable[[bytes], T]) -> T:
    """What `parse` makes of JSON that is nested no deeper than the limit.

    Garbage is not looked for meanwhile: JSON has no cycles, and walking again and again through the millions of small
    lists of one body held a replica for 1.8 seconds instead of .3.

    Raises:
        RequestError: as `check`. And whatever `parse` raises.
    """
    check(body)
    enabled = gc.isenabled()
    gc.disable()
    try:
        return parse(body)
    finally:
        if enabled:
            gc.enable()


def check(body: bytes) -> None:
    """Pass JSON of at most `LIMIT` levels; whether it is JSON at all is the decoder's to say.

    Raises:
        RequestError: 400, it is nested deeper.
    """
    if (
        len(body.translate(None, _PLAIN)) <= 2 * LIMIT
    ):  # too few brackets, those in texts counted, to open and close more
        return
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if _depth(body.translate(None, _OTHERS)) > LIMIT:
        rule = f"A request's JSON is nested at most {LIMIT} levels deep"
        error = RequestError(rule, observed="deeper", remedy="send plain rows")
        error.status = 400
        raise error


def too_many(body: bytes, most: int) -> bool:
    """Whether JSON holds more values than that: one byte or two can stand for an object of a hundred.

    It stops at the first one too many. Signs in texts are no values, which is looked at only where there are many.
    """
    if len(body) <= _SHORT or not _may_be_too_many(body, most):
        return False
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    found = quotes = 0
    for begin in range(0, len(body), _CHUNK // 4):
        marks = np.frombuffer(body[begin : begin + _CHUNK // 4].translate(None, _BUT_BEGINS), np.uint8)
        quote = marks == ord('"')
        inside = (quotes + np.cumsum(quote, dtype=np.int64)) % 2
        found += int(np.count_nonzero(~quote & (inside == 0)))
        quotes += int(np.count_nonzero(quote))
        if found > most:
            return True
    return False


def _may_be_too_many(body: bytes, most: int) -> bool:
    found = 0
    for begin in range(0, len(body), _CHUNK):
        found += sum(body.count(sign, begin, begin + _CHUNK) for sign in _BEGINS)
        if found > most:
            return True
    return False


def _depth(marks: bytes) -> int:
    """The deepest level of brackets outside of texts; counted in chunks, so that a long body needs little memory."""
    deepest = level = quotes = 0
    for begin in range(0, len(marks), _CHUNK):
        chunk = np.frombuffer(marks, np.uint8, min(_CHUNK, len(marks) - begin), begin)
        passed = quotes + np.cumsum(chunk == ord('"'), dtype=np.int64)
        levels = level + np.cumsum(np.where(passed % 2, 0, _STEPS[chunk]), dtype=np.int64)
        deepest = max(deepest, int(levels.max()))
        level, quotes = int(levels[-1]), int(passed[-1])
    return deepest
